"""RankingCleaner: stage 1 of the two-stage approach."""

import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skclean._array import take_rows
from skclean._blocks import few_rows, map_rows
from skclean._validation import Interval
from skclean.cleaners._evidence import EvidenceCleaner
from skclean.decision.transition import fit_transition
from skclean.evidence.fit import Evidence, log_proba
from skclean.evidence.ranking import agreement, fit_trusted_judges, rank_cutoffs, rank_proba


class RankingCleaner(EvidenceCleaner):
    """Keep the few labels of each class that are most surely right.

    The two-stage approach, section 3.1: a label that the prediction contradicts is removed; within
    each class the rest is ranked by its probability, and labels of at least `confidence` are kept,
    or the first of the ranking where those are fewer than `min_share` of the class. All others are
    withheld (status unknown), for a semi-supervised step to learn without them.

    With trusted rows, in place of this: one binary classifier a class, trained on the trusted rows,
    judges the labels of its class, and those that it rejects are withheld. It sees the evidence
    of the noisy labels beside the features, so that a few trusted rows go far. Where a class has
    no trusted row, its labels are ranked, and those of the others must pass both ways.

    Where more than half of a class carries one wrong label, nothing but trusted rows can tell which
    of the two is right.

    Parameters
    ----------
    confidence : float in [0, 1], default=0.9
        Labels of at least this probability are kept.
    min_share : float in [0, 1], default=0.1
        Least share of the rows of a given class that is kept, as far as predictions agree. Rows of
        the same probability as the last one kept are kept too.
    calibrate : bool, default=True
        Whether the ranking goes by the probability that a row of such scores is of the class and
        labelled so, by the model of `TransitionCleaner`; the prediction is its likeliest class.
        False ranks by the probabilities of the evidence, as in the paper, whose one temperature
        makes a class that is often mistaken for another look sure of it; so it is where the
        evidence tells nothing of the labels, as the model then finds every row alike.
    estimator : classifier with predict_proba, or None, default=None
        The evidence. None takes the probabilities of the container where it has some, else
        `LeaveOneOutRidge`.
    cv : int, splitter or None, default=None
        Folds in which `estimator` is fitted; None judges rows by an estimator that saw them
        (`LeaveOneOutRidge` excepted).
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
        Above 1/2 exactly in the labels kept, and rising along the ranking of a class: the odds of
        the given label against those of the last one kept. Where trusted rows judge, probability
        that the label is right, by their class frequencies. NaN in rows without a label.
    label_distributions_ : ndarray of shape (n, C)
        Class probabilities of the evidence.
    transduction_ : ndarray of shape (n,)
        The given label where it was kept, else the class of greatest probability.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged; more than the share of wrong labels, as
        most right ones are withheld too.
    cutoffs_ : ndarray of shape (C,)
        Least probability of the labels kept in each class.
    model_ : TransitionModel or None
        None if not calibrated.
    judges_ : TrustedJudges or None
        None where no trusted rows are there, or too few to judge by.
    evidence_ : Evidence
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do. If not,
        nothing can be said about them.

    References
    ----------
    Ding et al., "A Semi-Supervised Two-Stage Approach to Learning from Noisy Labels", WACV 2018,
    section 3.1.

    Examples
    --------
    >>> from skclean import RankingCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> samples = RankingCleaner().fit_transform(digits.data, digits.target_noisy)
    >>> bool((samples.labels == digits.target)[samples.known].mean() > 0.99)
    True
    """

    _tells_how_many = False
    _parameter_constraints: dict = {
        **{k: v for k, v in EvidenceCleaner._parameter_constraints.items() if k != "threshold"},
        "confidence": [Interval(Real, 0, 1, closed="both")],
        "min_share": [Interval(Real, 0, 1, closed="both")],
        "calibrate": ["boolean"],
    }

    def __init__(
        self,
        confidence=0.9,
        min_share=0.1,
        calibrate=True,
        estimator=None,
        cv=None,
        *,
        missing_label="auto",
        random_state=0,
        n_jobs=None,
        device=None,
    ):
        self.confidence = confidence
        self.min_share = min_share
        self.calibrate = calibrate
        self.estimator = estimator
        self.cv = cv
        self.missing_label = missing_label
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def _assess(self, given, proba):
        scores, model = log_proba(proba), None
        if self.calibrate and Evidence(scores, 1.0, None, "assessed").informative(given):
            model = _fit_model(scores, given, log_proba=True)
        own, share = _agreement(model, scores, proba, given)
        cutoffs = self._cutoffs(own, share, given, proba.shape[1])
        return rank_proba(own, share, cutoffs[given])

    def _cutoffs(self, own, share, given, n_classes):
        agrees = share >= 0.5
        return rank_cutoffs(own, agrees, given, n_classes, self.confidence, self.min_share)

    def _fit_samples(self, samples, groups):
        self._fit_evidence(samples, groups)
        scores, given, trusted = self.evidence_.scores, samples.given, samples.trusted
        doubtful = given >= 0
        calibrate = self.calibrate and self.informative_
        logs = not self.evidence_.raw
        self.model_ = _fit_model(scores, given, trusted, log_proba=logs) if calibrate else None
        self.judges_ = None
        if trusted is not None and trusted.any():
            sure = np.flatnonzero(trusted)
            self.judges_ = fit_trusted_judges(
                few_rows(samples.features, sure),
                few_rows(scores, sure),
                given[sure],
                None if groups is None else groups[sure],
            )
            if not trusted[doubtful].all():
                doubtful &= ~trusted
        proba = self.evidence_.proba()
        own, share = _agreement(self.model_, scores, proba, given)
        self.cutoffs_ = self._cutoffs(
            own[doubtful], share[doubtful], given[doubtful], len(samples.classes)
        )
        return self._purify(samples, scores, proba, own, share)

    def _transform_samples(self, samples):
        scores = self.evidence_.predict(samples, type(self).__name__)
        proba = self.evidence_.proba(scores)
        given = samples._given_codes()
        own, share = _agreement(self.model_, scores, proba, given)
        return self._purify(samples, scores, proba, own, share)

    def _purify(self, samples: Any, scores: Any, proba: Any, own, share) -> Any:
        """Verdicts by the cutoffs, or by the judges where there are some."""
        given = samples._given_codes()
        clean = rank_proba(own, share, self.cutoffs_[given])
        if self.judges_ is not None:
            judged = self.judges_.clean_proba(samples.features, scores, np.maximum(given, 0))
            # Judges that never saw a class do not know its rows under the label of another.
            clean = judged if self.judges_.judged.all() else np.fmin(judged, clean)
        return self._withhold(samples, proba, clean, 0.5)


def _fit_model(scores, given, trusted=None, log_proba=False):
    """The noise-transition model of the rows with a label."""
    rows = np.flatnonzero(given >= 0)
    if len(rows) < len(given):
        scores = take_rows(scores, rows)
    with warnings.catch_warnings():
        # The last decimals of the likelihood do not change a ranking.
        warnings.simplefilter("ignore", ConvergenceWarning)
        sure = None if trusted is None else trusted[rows]
        return fit_transition(scores, given[rows], sure, log_proba=log_proba)[0]


def _agreement(model, scores, proba, given):
    """`agreement` with `proba`, or with the q of a model: then P(true = given = k) = q_k T_kk."""
    given = np.maximum(given, 0)
    if model is None:
        return agreement(proba, given)
    own, share = map_rows(lambda s, k: agreement(model.class_proba(s), k), scores, given)
    return own * np.diag(model.transition)[given], share
