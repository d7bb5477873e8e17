"""OpenSetFilter: rows that belong to none of the classes."""

from typing import Any

import numpy as np

from skclean._array import array_namespace, take_rows, to_numpy
from skclean._blocks import best_class, map_rows, on_host, own_column
from skclean._fields import UNKNOWN
from skclean.cleaners._evidence import EvidenceCleaner
from skclean.decision.open_set import (
    FEW_CLASSES,
    fit_open_set,
    lowest_margin,
    lowest_quarter,
    lowest_signs,
)
from skclean.decision.status import judged_status
from skclean.evidence.gaussian import fit_shared_gaussian

_TINY = 1e-12


class OpenSetFilter(EvidenceCleaner):
    """Withhold the labels of rows that belong to no class: images or texts from elsewhere.

    Three signals tell how typical a row is of any class: the size of its leave-one-out scores, the
    Mahalanobis distance to the nearest class under Gaussians with one shrunk covariance, and how
    much nearer that is than the mean of all rows. What they are worth, and how many rows are from
    elsewhere, the given labels tell: those of such rows have nothing to do with the scores, so
    that they fall in the lowest quarter of them as often as labels drawn at random (see
    `skclean.decision.open_set`). Where such rows do not make the labels surely likelier, none is
    flagged.

    Labels, statuses and probabilities of an earlier step are kept, but for the rows that turn
    unknown. A cleaner judges all given labels anew, so put this step behind the cleaner and the
    relabeler, directly before the classifier; alone it flags rows from elsewhere, not wrong labels.
    With up to seven classes, rows between two of them are not taken for rows from elsewhere, so
    that rows from elsewhere which lie there are not found. Rows from elsewhere whose labels follow
    from their features are a part of the class, for all that can be seen.

    Parameters
    ----------
    threshold : float in [0, 1], default=0.5
        Rows of no greater `in_distribution_proba` turn unknown.
    estimator : classifier with predict_proba, or None, default=None
        The evidence. None takes the probabilities of the container where it has some that no
        cleaner made, else `LeaveOneOutRidge`.
    cv : int, splitter or None, default=None
        Folds in which `estimator` is fitted; set it for every estimator but `LeaveOneOutRidge`.
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`, as in `LabelledSamples`.
    random_state : int, RandomState instance or None, default=0
        Shuffles the folds of `cv`.
    n_jobs : int or None, default=None
        Processes for the folds of `cv`.
    device : {"cpu", "cuda"} or None, default=None
        Where the work is done. None: where the features are. "cuda" takes NumPy features to the
        current GPU by CuPy, in their own precision; the results are NumPy arrays all the same.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.
    in_distribution_proba_ : ndarray of shape (n,)
        Probability that the row belongs to one of the classes; 1 in trusted rows.
    open_share_ : float
        Mean of ``1 - in_distribution_proba_``.
    label_distributions_ : ndarray of shape (n, C)
        Soft labels of the earlier step, else class probabilities of the evidence.
    transduction_ : ndarray of shape (n,)
        Labels of the earlier step, else the given ones; the likeliest class in rows unknown.
    model_ : OpenSetModel
    gaussian_ : SharedGaussian
    evidence_ : Evidence
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do. If not,
        nothing can be said about the rows.

    References
    ----------
    Zhang et al., "Distilling Effective Supervision from Severe Label Noise" (IEG), CVPR 2020,
    table 5: the noise. Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution
    Samples", NeurIPS 2018: the Gaussians. Storey, "A direct approach to false discovery rates",
    2002, equation 6: the share of random labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skclean import OpenSetFilter
    >>> from skclean.datasets import load_noisy_digits, make_openset_noise
    >>> digits = load_noisy_digits(noise_rate=0.0, random_state=0)
    >>> given, _ = make_openset_noise(digits.target, [3, 7], random_state=0)
    >>> samples = OpenSetFilter().fit_transform(digits.data, given)
    >>> flagged, foreign = samples.status == "unknown", np.isin(digits.target, [3, 7])
    >>> bool((flagged == foreign).mean() > 0.95)
    True
    """

    def __init__(
        self,
        threshold=0.5,
        estimator=None,
        cv=None,
        *,
        missing_label="auto",
        random_state=0,
        n_jobs=None,
        device=None,
    ):
        self.threshold = threshold
        self.estimator = estimator
        self.cv = cv
        self.missing_label = missing_label
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def assess(self, given: np.ndarray, proba: Any, features: Any = None) -> np.ndarray:
        """Probability that each row belongs to a class, by the probabilities of any classifier.

        Parameters
        ----------
        given : ndarray of shape (n,), int
            Labels in 0 to C - 1, -1 where missing.
        proba : array of shape (n, C)
            NumPy, CuPy or torch; should not have seen the given labels.
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
        return super().assess(given, proba, features)

    def _assess(self, given, proba):
        share = np.bincount(given, minlength=proba.shape[1]) / max(len(given), 1)
        signals = _size(proba)[:, None]
        signs = None
        if len(share) <= FEW_CLASSES:
            signs = lowest_margin(to_numpy(proba).astype(np.float64))[:, None]
        model = fit_open_set(signals, *lowest_quarter(proba, given, share), signs)
        return model.in_distribution_proba(signals, _own(proba, given), share[given])

    def _fit_samples(self, samples, groups):
        self._fit_evidence(samples, groups)
        evidence, given = self.evidence_, samples.given
        proba = evidence.proba()
        counts = np.bincount(given[given >= 0], minlength=len(samples.classes))
        self._share = counts / counts.sum()
        self.gaussian_ = fit_shared_gaussian(samples.features, given, len(counts))
        nearest, relative = self.gaussian_.distances(samples.features, given)
        self._farthest = float(nearest.max())
        signals = self._signals(evidence.scores, proba, nearest, relative)
        judged = given >= 0
        if samples.trusted is not None and not samples.trusted[judged].all():
            judged = judged & ~samples.trusted
        low, mass = lowest_quarter(evidence.scores, np.maximum(given, 0), self._share)
        signs = None
        if len(counts) <= FEW_CLASSES:
            to_class = self.gaussian_.class_distances(samples.features, given)[judged]
            scores = take_rows(evidence.scores, np.flatnonzero(judged))
            signs = lowest_signs(scores, to_class, given[judged], self._share)
        self.model_ = fit_open_set(signals[judged], low[judged], mass[judged], signs)
        inside = self._in_distribution(signals, proba, given)
        purified = self._filter(samples, proba, inside)
        self.in_distribution_proba_ = purified.in_distribution_proba
        self.open_share_ = float(1 - np.mean(self.in_distribution_proba_))
        return purified

    def _transform_samples(self, samples):
        scores = self.evidence_.predict(samples, type(self).__name__)
        proba = self.evidence_.proba(scores)
        nearest, relative = self.gaussian_.distances(samples.features)
        given = samples._given_codes()
        signals = self._signals(scores, proba, nearest, relative)
        inside = self._in_distribution(signals, proba, given)
        # What lies beyond all that the fit has seen needs no label to tell.
        inside[nearest > self._farthest] = 0
        return self._filter(samples, proba, inside)

    def _signals(self, scores, proba, nearest, relative):
        """The signals of typical rows, shape (n, 3)."""
        size = _size(scores if self.evidence_.raw else proba)
        return np.stack([size, -nearest, -relative], axis=1)

    def _in_distribution(self, signals, proba, given):
        own = _own(proba, np.maximum(given, 0))
        own[given < 0] = np.nan
        return self.model_.in_distribution_proba(signals, own, self._share[given])

    def _filter(self, samples: Any, proba: Any, inside: np.ndarray) -> Any:
        """The container with its labels, or the given ones, withheld in rows from elsewhere."""
        if samples.trusted is not None:
            inside[samples.trusted] = 1
        given = samples._given_codes()
        codes = samples.label_codes if samples.purified else given
        if samples.proba is None or not samples.purified:
            soft = on_host(proba)
        else:
            soft = samples.proba
        codes = np.where(codes < 0, best_class(soft), codes)
        if samples.status_codes is None:
            status = judged_status(codes == given, given, samples.trusted, 0.5, codes)
        else:
            status = samples.status_codes.copy()
        outside = inside <= self.threshold
        if samples.trusted is not None:
            outside &= ~samples.trusted
        status[outside] = UNKNOWN
        return samples.with_labels(
            proba=soft, label_codes=codes, status=status, in_distribution_proba=inside
        )


def _size(scores):
    """Log sum_c s_c^2 of rows (n, C), shape (n,)."""

    def energy(scores):
        xp = array_namespace(scores)
        return to_numpy(xp.sum(xp.astype(scores, xp.float64) ** 2, axis=1))

    return np.log(np.maximum(map_rows(energy, scores), _TINY))


def _own(proba, given):
    """Probability (n,) of the given labels."""
    return to_numpy(own_column(proba, given)).astype(np.float64)
