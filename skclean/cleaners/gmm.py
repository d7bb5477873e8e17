"""GMMCleaner: the rule of REED and DivideMix."""

import numpy as np

from skclean._array import take_rows
from skclean.cleaners._evidence import EvidenceCleaner
from skclean.decision.loss_mixture import (
    LEAST,
    LossMixture,
    cross_entropy,
    effective_threshold,
    fit_loss_mixture,
)
from skclean.decision.summary import refined_transition


class GMMCleaner(EvidenceCleaner):
    """Keep the labels whose loss belongs to the smaller component of a two-Gaussian mixture.

    The rule of REED 4.2 and DivideMix: the cross-entropy of the given labels is brought to [0, 1]
    and a mixture of two Gaussians is fitted to it; a label is clean if the posterior of the
    component of smaller mean is above the threshold. Labels judged wrong are withheld (status
    unknown); `CredibilityRelabeler` behind this step gives them new ones. At low noise the rule
    flags too much, and it misses pair noise: `TransitionCleaner` does neither.

    Parameters
    ----------
    threshold : float in [0, 1], default=0.5
        Labels with a greater `clean_proba` are kept; tau_clean of REED. Moved into the range of
        the posteriors where all would fall on one side.
    estimator : classifier with predict_proba, or None, default=None
        Whose losses are judged. None takes the probabilities of the container where it has some,
        else `LeaveOneOutRidge`.
    cv : int, splitter or None, default=None
        Folds in which `estimator` is fitted; None judges rows by an estimator that saw them
        (`LeaveOneOutRidge` excepted).
    class_aware : bool, default=False
        Whether every given class has a mixture of its own, as in CPC. A class that one Gaussian
        explains as well is judged by that of all rows.
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
    clean_proba_ : ndarray of shape (n,)
        Probability that the given label is right; NaN in rows without one.
    label_distributions_ : ndarray of shape (n, C)
        Class probabilities of the evidence.
    transduction_ : ndarray of shape (n,)
        The given label where it was kept, else the class of greatest probability.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged.
    transition_matrix_ : ndarray of shape (C, C)
        P(given = column | true = row), a label judged wrong counting for its predicted classes.
    threshold_ : float
        The threshold in use.
    mixture_ : LossMixture
    evidence_ : Evidence
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do. If not,
        nothing can be said about them.

    Warns
    -----
    NothingToSeparateWarning
        If one Gaussian explains the losses as well as two: every label is kept then.

    References
    ----------
    Zhang et al., "Decoupling Representation and Classifier for Noisy Label Learning" (REED), 2020;
    Li et al., "DivideMix", ICLR 2020.

    Examples
    --------
    >>> from skclean import GMMCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> samples = GMMCleaner().fit_transform(digits.data, digits.target_noisy)
    >>> bool((samples.labels == digits.target)[samples.known].mean() > 0.97)
    True
    """

    _parameter_constraints: dict = {
        **EvidenceCleaner._parameter_constraints,
        "class_aware": ["boolean"],
    }

    def __init__(
        self,
        threshold=0.5,
        estimator=None,
        cv=None,
        *,
        class_aware=False,
        missing_label="auto",
        random_state=0,
        n_jobs=None,
        device=None,
    ):
        self.threshold = threshold
        self.estimator = estimator
        self.cv = cv
        self.class_aware = class_aware
        self.missing_label = missing_label
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def _assess(self, given, proba):
        return self._fit_mixture(cross_entropy(proba, given), given)[1]

    def _fit_mixture(self, loss, given) -> tuple[LossMixture, np.ndarray]:
        mixture = fit_loss_mixture(loss, given, self.class_aware)
        if not mixture.separated:
            self._warn_inseparable()
        return mixture, mixture.clean_proba(loss, given)

    def _fit_samples(self, samples, groups):
        self._fit_evidence(samples, groups, floor=LEAST)
        proba = self.evidence_.proba()
        self.mixture_, clean = self._fit_mixture(*_losses(proba, samples.given))
        self.threshold_ = float(self.threshold)
        if self.mixture_.separated:
            self.threshold_ = effective_threshold(self.threshold, clean)
        purified = self._purify(samples, proba)
        self.transition_matrix_ = refined_transition(
            purified.given, purified.proba, purified.clean_proba
        )
        return purified

    def _transform_samples(self, samples):
        scores = self.evidence_.predict(samples, type(self).__name__)
        return self._purify(samples, self.evidence_.proba(scores))

    def _purify(self, samples, proba):
        """Verdicts by the fitted mixture."""
        given = samples._given_codes()
        clean, rows = np.full(len(given), np.nan), np.flatnonzero(given >= 0)
        if len(rows):
            clean[rows] = self.mixture_.clean_proba(*_losses(proba, given))
        return self._withhold(samples, proba, clean, self.threshold_)


def _losses(proba, given):
    """Cross-entropy of the given labels and the labels, of the rows that have one."""
    rows = np.flatnonzero(given >= 0)
    return take_rows(cross_entropy(proba, np.maximum(given, 0)), rows), given[rows]
