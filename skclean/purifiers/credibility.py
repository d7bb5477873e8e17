"""CredibilityRelabeler: new labels for the rows whose label is wrong."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import clone

from skclean._blocks import map_rows
from skclean._fields import CORRECTED, KEPT, PREDICTED, TRUSTED, UNKNOWN
from skclean._validation import HasMethods, Interval, StrOptions
from skclean.base import BaseCleaner
from skclean.cleaners.gmm import GMMCleaner
from skclean.decision.loss_mixture import normalise
from skclean.decision.summary import settled, soft_transition
from skclean.linalg.mixture import fit_two_gaussians


class CredibilityRelabeler(BaseCleaner):
    """Give rows whose label is wrong the predicted one where the prediction is credible.

    REED 4.2: a mixture of two Gaussians is fitted to the greatest class probability of every row;
    `right_proba` is the posterior of the component of greater mean. A row that the cleaner judged
    wrong takes the predicted label where `right_proba` is above the threshold; elsewhere its label
    is withheld (status unknown). Rows that came without a label are treated the same.

    Parameters
    ----------
    threshold : float in [0, 1], default=0.5
        tau_right of REED.
    cleaner : cleaner or None, default=None
        Judges the labels where they come without a verdict, that is for (X, y) or a container that
        no cleaner has seen; None takes `GMMCleaner()`. Behind a cleaner in a Pipeline it is not
        used.
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`, as in `LabelledSamples`.
    device : {"cpu", "cuda"} or None, default=None
        Where the work is done. None: where the features are. "cuda" takes NumPy features to the
        current GPU by CuPy, in their own precision; the results are NumPy arrays all the same.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.
    right_proba_ : ndarray of shape (n,)
        Probability that the predicted label is right.
    clean_proba_ : ndarray of shape (n,)
        That of the cleaner.
    label_distributions_ : ndarray of shape (n, C)
        Soft labels: one-hot in rows kept or trusted, else the class probabilities.
    transduction_ : ndarray of shape (n,)
        Purified labels.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged.
    transition_matrix_ : ndarray of shape (C, C)
        P(given = column | true = row), counted over the purified soft labels.
    mixture_ : TwoGaussians
    cleaner_ : cleaner or None
        The fitted cleaner, None where the labels came with a verdict.
    informative_ : bool
        That of the cleaner; True where there is none.

    References
    ----------
    Zhang et al., "Decoupling Representation and Classifier for Noisy Label Learning" (REED), 2020.

    Examples
    --------
    >>> from skclean import CredibilityRelabeler, TransitionCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> relabeler = CredibilityRelabeler(cleaner=TransitionCleaner())
    >>> samples = relabeler.fit_transform(digits.data, digits.target_noisy)
    >>> bool((samples.labels == digits.target)[samples.known].mean() > 0.98)
    True
    """

    _parameter_constraints: dict = {
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "cleaner": [HasMethods(["fit_transform", "transform"]), None],
        "missing_label": "no_validation",
        "device": [StrOptions({"cpu", "cuda"}), None],
    }

    def __init__(self, threshold=0.5, cleaner=None, *, missing_label="auto", device=None):
        self.threshold = threshold
        self.cleaner = cleaner
        self.missing_label = missing_label
        self.device = device

    def _fit_samples(self, samples, groups):
        self.cleaner_ = None
        if samples.status_codes is None:
            self.cleaner_ = GMMCleaner() if self.cleaner is None else clone(self.cleaner)
            if isinstance(self.cleaner_, BaseCleaner):
                samples = self.cleaner_._fit_inside(samples, groups)
            else:
                samples = self.cleaner_.fit_transform(samples, groups=groups)
        self.informative_ = getattr(self.cleaner_, "informative_", True)
        _check_proba(samples)
        top, best = map_rows(_top, samples.proba)
        self._range = float(top.min()), float(top.max())
        self.mixture_ = fit_two_gaussians(normalise(top, *self._range))
        purified = self._relabel(samples, top, best, judged=(KEPT, TRUSTED))
        self.transition_matrix_ = soft_transition(samples.given, purified.proba)
        return purified

    def _transform_samples(self, samples):
        if samples.status_codes is None:
            if self.cleaner_ is None:
                raise ValueError(
                    f"{type(self).__name__}: expected rows judged by a cleaner, as in the fit, got "
                    "bare ones; do put the cleaner before this step in one Pipeline."
                )
            inside = self._cleaners_inside()
            judge = inside[0]._transform_inside if inside else self.cleaner_.transform
            samples = judge(samples)
        _check_proba(samples)
        top, best = map_rows(_top, samples.proba)
        return self._relabel(samples, top, best, judged=(KEPT, TRUSTED, PREDICTED))

    @property
    def _proba_advice(self):
        return getattr(self.cleaner, "_proba_advice", "")

    def _cleaners_inside(self):
        return [self.cleaner_] if isinstance(self.cleaner_, BaseCleaner) else []

    def _relabel(self, samples: Any, top: Any, best: Any, judged: tuple) -> Any:
        """New labels in the rows that are not of a status in `judged`."""
        top, right = normalise(top, *self._range), np.ones(len(top))
        if self.mixture_.n_components == 2:
            # The posterior of two unequal variances turns back beyond one of the means.
            right = 1 - self.mixture_.smaller_proba(np.clip(top, *self.mixture_.means))
        status, given = samples.status_codes.copy(), samples._given_codes()
        wrong = ~np.isin(status, judged)
        credible = right > self.threshold
        status[wrong] = np.where(credible, CORRECTED, UNKNOWN)[wrong]
        # Judged wrong, and predicted all the same: the two agree on the label.
        status[wrong & credible & (best == given)] = KEPT
        status[wrong & credible & (given < 0)] = PREDICTED
        kept = np.isin(status, (KEPT, TRUSTED))
        soft = settled(samples.proba, np.where(kept, given, -1))
        return samples._replace(
            proba=soft,
            label_codes=np.where(kept, given, best),
            status_codes=status,
            right_proba=right,
        )


def _top(proba):
    """The greatest probability of each row, and its class."""
    return proba.max(axis=1).astype(np.float64), proba.argmax(axis=1)


def _check_proba(samples):
    if samples.proba is None:
        raise ValueError(
            "CredibilityRelabeler: expected proba beside the status of the rows, got none; do pass "
            "LabelledSamples(..., proba=...), or leave status out to have the labels judged."
        )
