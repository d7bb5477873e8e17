"""What cleaners share whose evidence comes from a classifier."""

from numbers import Integral, Real
from typing import Any

import numpy as np

from skclean._array import array_namespace, is_numpy, take_rows
from skclean._blocks import held, on_host
from skclean._validation import HasMethods, Interval, StrOptions
from skclean._warnings import warn
from skclean.base import BaseCleaner
from skclean.decision.status import judged_status
from skclean.decision.transition import rows_of_fit
from skclean.evidence.fit import fit_evidence
from skclean.evidence.leave_one_out import LeaveOneOutRidge
from skclean.exceptions import NothingToSeparateWarning


class EvidenceCleaner(BaseCleaner):
    """A cleaner with the parameters `threshold`, `estimator`, `cv`, `random_state` and `n_jobs`."""

    _parameter_constraints: dict = {
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "estimator": [HasMethods(["fit"]), None],
        "cv": ["cv_object"],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "device": [StrOptions({"cpu", "cuda"}), None],
    }

    def assess(self, given: np.ndarray, proba: Any, features: Any = None) -> np.ndarray:
        """Probability that each given label is right, by the probabilities of any classifier.

        Parameters
        ----------
        given : ndarray of shape (n,), int
            Labels in 0 to C - 1, -1 where missing.
        proba : array-like of shape (n, C)
            NumPy, CuPy or torch.
        features : None
            Not used.

        Returns
        -------
        ndarray of shape (n,)
            NaN where the label is missing.

        Raises
        ------
        ValueError
            If a parameter, a label or a probability is out of range, or shapes do not match.
        """
        proba = np.asarray(proba) if is_numpy(proba) else proba
        given = self._check_assessed(given, proba)
        clean, rows = np.full(len(given), np.nan), np.flatnonzero(given >= 0)
        if len(rows):
            clean[rows] = self._assess(given[rows], take_rows(proba, rows))
        return clean

    @property
    def _proba_advice(self):
        return "" if self.estimator is None else "set estimator=None"

    def _assess(self, given: np.ndarray, proba: Any) -> np.ndarray:
        """`assess` for checked arguments without missing labels: what a subclass says."""
        raise NotImplementedError(f"{type(self).__name__} must define _assess")

    def _fit_evidence(self, samples, groups, **options):
        """Score the rows of the fit; sets `evidence_`."""
        self.evidence_ = self._new_evidence(samples, groups, **options)
        self.informative_ = self.evidence_.informative(samples.given)

    def _new_evidence(self, samples, groups, **options):
        """Evidence of rows; `options` are weight, soft labels and floor of `fit_evidence`."""
        if self.device == "cuda" and not isinstance(self.estimator, LeaveOneOutRidge | None):
            raise ValueError(
                f"{type(self).__name__}: expected LeaveOneOutRidge as the estimator beside "
                f"device='cuda', got a {type(self.estimator).__name__}; do leave device out, or "
                "pass features that the estimator takes, e.g. CuPy's under array_api_dispatch."
            )
        return fit_evidence(
            samples,
            self.estimator,
            self.cv,
            groups,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            name=type(self).__name__,
            **options,
        )

    def _withhold(self, samples: Any, proba: Any, clean: np.ndarray, threshold: float) -> Any:
        """The container with class probabilities, its labels of no greater `clean` withheld."""
        given, trusted = samples._given_codes(), samples.trusted
        clean[given < 0] = np.nan
        if trusted is not None:
            clean[trusted] = 1
        return samples.with_labels(
            proba=on_host(proba),
            status=judged_status(clean, given, trusted, threshold),
            clean_proba=clean,
            right_proba=None,
        )

    def _warn_inseparable(self):
        warn(
            f"{type(self).__name__}: one Gaussian explains the losses as well as two, so there "
            "is nothing to separate; every label is kept.",
            NothingToSeparateWarning,
        )

    def _check_assessed(self, given: Any, proba: Any) -> np.ndarray:
        """Parameters and arguments of `assess`, checked; the given labels as int64."""
        self._validate_params()
        name, given = type(self).__name__, np.asarray(given)
        table = proba.ndim == 2 and proba.shape[1] > 1
        if not table or given.shape != (proba.shape[0],) or given.dtype.kind not in "iu":
            raise ValueError(
                f"{name}: expected given integers of shape (n,) and proba of shape (n, C) for two "
                f"or more classes, got {given.dtype} {given.shape} and {tuple(proba.shape)}; do "
                "pass positions."
            )
        if len(given) and not -1 <= given.min() <= given.max() < proba.shape[1]:
            raise ValueError(
                f"{name}: expected given labels from -1 (missing) to {proba.shape[1] - 1}, got "
                f"{given.min()} to {given.max()}; do pass positions of the columns of proba."
            )
        xp = array_namespace(proba)
        sums = xp.sum(proba, axis=1, dtype=xp.float64)
        # Written so that NaN fails.
        good = (xp.min(proba, axis=1) >= 0) & (xp.abs(sums - 1) < 1e-3)
        if not bool(xp.all(good)):
            raise ValueError(
                f"{name}: expected proba of at least 0 in rows that sum to 1, got others; do pass "
                "the output of a softmax."
            )
        return given.astype(np.int64)


def part_of_fit(samples: Any, groups: np.ndarray | None, n_rows: int) -> tuple[Any, Any]:
    """About `n_rows` rows of a container at most, in memory, and their groups.

    Every class and every trusted row is among them; a container of fewer rows comes back itself.
    """
    if len(samples) <= n_rows:
        return samples, groups
    part = samples[rows := rows_of_fit(samples.given, samples.trusted, n_rows)]
    part = part._replace(features=held(part.features), proba=held(part.proba))
    return part, None if groups is None else groups[rows]
