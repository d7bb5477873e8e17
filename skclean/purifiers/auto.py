"""AutoPurifier: the purifier to start with."""

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold

from skclean._blocks import best_class, few_rows, sum_blocks
from skclean._validation import Interval, StrOptions
from skclean.base import BaseCleaner
from skclean.cleaners._evidence import part_of_fit
from skclean.cleaners.transition import TransitionCleaner
from skclean.decision.status import judged_status
from skclean.decision.summary import settled, soft_transition
from skclean.decision.transition import SUPPORT_ROWS
from skclean.decision.transition_doubt import SUPPORT_SEPARATIONS
from skclean.evidence.leave_one_out import LeaveOneOutRidge
from skclean.purifiers.least_squares import LeastSquaresMetaPurifier

#: Candidates are compared on at most about that many rows, or rows of a class.
_MAX_ROWS, _CLASS_ROWS = 5000, 50
#: Noise in few rows has to make the labels likelier by so many nats in all beyond those that
#: `TransitionCleaner` asks for, where the classes make up these shares of the variance of the
#: scores, and in between by a line; by the less, the more rows there are, down to none at the
#: number up to which it asks for any, or at so many a class where scores are more than one cloud.
_SURE_SEPARATIONS, _SURE_NATS, _SURE_CLASS_ROWS = (0.85, 0.9), (7.0, 0.0), 300
#: Where the classes make up less than that share, noise in fewer rows a class than that has to make
#: the labels likelier by so many nats: what depends on the row alone would pass for noise.
_WEAK_SEPARATION, _WEAK_NATS = 0.5, 100.0
#: With fewer trusted rows, their accuracy tells too little.
_MIN_TRUSTED = 20
#: With that many trusted rows a class, noise is believed as `TransitionCleaner` does.
_TRUSTED_OF_CLASS = 3


@dataclass(frozen=True)
class Candidate:
    """What was measured of a candidate.

    Attributes
    ----------
    name : str
    log_likelihood : float
        Mean leave-one-out log-likelihood of the given labels, in nats; NaN if it has none, minus
        infinity if its evidence does not predict them.
    trusted_accuracy : float
        Share of the trusted rows, their labels hidden, that are predicted rightly; NaN if not
        measured.
    """

    name: str
    log_likelihood: float
    trusted_accuracy: float


class AutoPurifier(BaseCleaner):
    """Choose a purifier by what can be measured on the data, and clean only where it pays.

    Candidates are compared by the leave-one-out likelihood of the given labels, in which trusted
    ones count past the noise. Where one has no likelihood, 20 or more trusted rows decide, whose
    labels are hidden from the candidates fold by fold: the first stays unless another predicts
    more of them rightly, by more than a standard error of the difference. Labels are left alone
    where the features do not predict them, where rows are so few that overlapping classes may pass
    for wrong labels, or where the chosen purifier expects to mend less than `min_gain` of them.
    Probabilities in a container are not used by the default candidates, as a warning says.

    Parameters
    ----------
    candidates : list of (str, cleaner) or None, default=None
        None takes `LeastSquaresMetaPurifier` with the evidence of a Gaussian kernel and of a linear
        one. Where candidates without ``log_likelihood_`` meet fewer than 20 trusted rows, the first
        of all is taken.
    threshold : float in [0, 1], "f1" or None, default=None
        That of every candidate that has one, by the candidate's own meaning; None leaves each its
        own, 0.5 in the default ones. "f1" is for the default candidates and for
        `TransitionCleaner`; others refuse it. It has no part in which candidate is chosen, but
        labels of which too few would be mended by it are left alone, whatever it is.
    min_gain : float in [0, 1], default=0.01
        Share of the labels whose mending is worth it.
    cv : int, default=3
        Folds of the trusted rows.
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`, as in `LabelledSamples`.
    random_state : int, RandomState instance or None, default=0
        Draws the folds.
    device : {"cpu", "cuda"} or None, default=None
        Where the work is done. None: where the features are. "cuda" takes NumPy features to the
        current GPU by CuPy, in their own precision; the results are NumPy arrays all the same.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.
    purifier_ : cleaner
        The one chosen, fitted to all rows.
    threshold_ : float or None
        The threshold in use; None where labels are left alone, or `purifier_` has none.
    choice_ : str
        Its name.
    left_alone_ : bool
        Whether the labels stay as given.
    expected_gain_ : float
        Share of the labelled rows that the chosen purifier expects to mend.
    candidates_ : list of Candidate
        What was measured.
    reason_ : str
        Why it chose so, in a few sentences.
    clean_proba_ : ndarray of shape (n,)
        Probability that the given label is right; NaN in rows without one.
    label_distributions_ : ndarray of shape (n, C)
        Purified soft labels.
    transduction_ : ndarray of shape (n,)
        Purified labels.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged.
    transition_matrix_ : ndarray of shape (C, C)
        P(given = column | true = row).
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do.

    Examples
    --------
    >>> from skclean import AutoPurifier
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.3, random_state=0)
    >>> purifier = AutoPurifier().fit(digits.data, digits.target_noisy)
    >>> purifier.choice_, purifier.left_alone_
    ('kernel', False)
    >>> clean = AutoPurifier().fit(digits.data, digits.target)
    >>> print(clean.reason_.splitlines()[-1])
    The labels are left alone: fewer than 1 % would be mended.
    """

    _parameter_constraints: dict = {
        "candidates": [list, None],
        "threshold": [*TransitionCleaner._parameter_constraints["threshold"], None],
        "min_gain": [Interval(Real, 0, 1, closed="both")],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "missing_label": "no_validation",
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "cuda"}), None],
    }

    def __init__(
        self,
        candidates=None,
        *,
        threshold=None,
        min_gain=0.01,
        cv=3,
        missing_label="auto",
        random_state=0,
        device=None,
    ):
        self.candidates = candidates
        self.threshold = threshold
        self.min_gain = min_gain
        self.cv = cv
        self.missing_label = missing_label
        self.random_state = random_state
        self.device = device

    def _fit_samples(self, samples, groups):
        candidates = [(name, self._at_threshold(c)) for name, c in self._open_candidates()]
        size = max(_MAX_ROWS, _CLASS_ROWS * len(samples.classes))
        part, of_part = part_of_fit(samples, groups, size)
        fitted = [_fitted(c, part, of_part) for _, c in candidates]
        hits = None
        if any(np.isnan(_log_likelihood(c)) for c, _ in fitted):
            hits = self._trusted_hits(part, of_part, candidates)
        self.candidates_ = [
            Candidate(
                name,
                _log_likelihood(c),
                np.nan if hits is None else float(hits[i].mean()),
            )
            for i, ((name, _), (c, _)) in enumerate(zip(candidates, fitted, strict=True))
        ]
        place, why = _choose(self.candidates_, hits)
        self.choice_, (self.purifier_, purified) = candidates[place][0], fitted[place]
        del fitted
        if part is not samples:
            self.purifier_, purified = _fitted(candidates[place][1], samples, groups)
        self.informative_ = getattr(self.purifier_, "informative_", True)
        self.expected_gain_ = _expected_gain(purified)
        self._doubtful = _doubtful(self.purifier_, samples)
        self._doubted_share = getattr(self.purifier_, "_doubted_share", 0.0)
        if self._doubtful and purified.clean_proba is not None:
            wrong = 1 - float(np.nanmean(purified.clean_proba))
            self._doubted_share = max(self._doubted_share, wrong)
        self.left_alone_ = bool(
            not self.informative_ or self._doubtful or self.expected_gain_ < self.min_gain
        )
        self.threshold_ = None if self.left_alone_ else getattr(self.purifier_, "threshold_", None)
        self.transition_matrix_ = getattr(self.purifier_, "transition_matrix_", None)
        if self.transition_matrix_ is None:
            self.transition_matrix_ = soft_transition(samples.given, purified.proba)
        self.reason_ = "\n".join([*self._describe(samples, purified), why, self._verdict()])
        return self._leave_alone(purified) if self.left_alone_ else purified

    def _transform_samples(self, samples):
        purified = self.purifier_._transform_inside(samples)
        return self._leave_alone(purified) if self.left_alone_ else purified

    def _cleaners_inside(self):
        return [self.purifier_]

    @property
    def _proba_advice(self):
        advice = [candidate._proba_advice for _, candidate in self._open_candidates()]
        return advice[0] if all(advice) else ""

    def _open_candidates(self):
        if self.candidates is None:
            linear = LeastSquaresMetaPurifier(estimator=LeaveOneOutRidge("linear"))
            return [("kernel", LeastSquaresMetaPurifier()), ("linear", linear)]
        wrong = [c for c in self.candidates if not (isinstance(c, tuple) and len(c) == 2)]
        wrong += [c for c in self.candidates if not wrong and not isinstance(c[1], BaseCleaner)]
        if wrong or not self.candidates:
            raise ValueError(
                "AutoPurifier: expected candidates as pairs of a name and a cleaner, got "
                f"{wrong[0] if wrong else self.candidates!r}; do pass e.g. "
                "[('transition', TransitionCleaner())]."
            )
        return self.candidates

    def _at_threshold(self, candidate):
        if self.threshold is None or "threshold" not in candidate.get_params(deep=False):
            return candidate
        return clone(candidate).set_params(threshold=self.threshold)

    def _trusted_hits(self, samples, groups, candidates):
        """Which trusted rows each candidate predicts rightly while they are hidden, (k, m)."""
        rows = np.array([]) if samples.trusted is None else np.flatnonzero(samples.trusted)
        if len(rows) < _MIN_TRUSTED or len(candidates) == 1:
            return None
        hits = np.empty((len(candidates), len(rows)), dtype=bool)
        folds = KFold(min(self.cv, len(rows)), shuffle=True, random_state=self.random_state)
        for _, held in folds.split(rows):
            given, trusted = samples.given.copy(), samples.trusted.copy()
            given[rows[held]], trusted[rows[held]] = -1, False
            hidden = samples._replace(given=given, trusted=trusted)
            for i, (_, candidate) in enumerate(candidates):
                _, found = _fitted(candidate, hidden, groups)
                best = few_rows(found.proba, rows[held]).argmax(axis=1)
                hits[i, held] = best == samples.given[rows[held]]
        return hits

    def _describe(self, samples, purified):
        trusted = 0 if samples.trusted is None else int(samples.trusted.sum())
        wrong = 1 - np.nanmean(purified.clean_proba) if purified.clean_proba is not None else np.nan
        T = self.transition_matrix_
        size = np.bincount(best_class(purified.proba), minlength=len(T))
        off = (T - np.diag(np.diag(T))) * size[:, None]
        share = off.max(axis=1).sum() / max(off.sum(), 1e-12)
        pattern = "mostly one class for another" if share > 0.5 else "spread over the classes"
        said = [
            f"{len(samples)} rows, {samples.n_features} features, {len(samples.classes)} classes, "
            f"{trusted} trusted rows."
        ]
        told = self.informative_ and not self._doubtful and self.purifier_._tells_how_many
        if told and np.isfinite(wrong):
            pattern = "" if len(T) == 2 else f", {pattern}"
            said.append(f"About {100 * wrong:.1f} % of the labels are wrong{pattern}.")
        return said

    def _verdict(self):
        if not self.informative_:
            return "The labels are left alone: the features do not predict them."
        if self.expected_gain_ < self.min_gain:
            least = f"{100 * self.min_gain:g} %"
            return f"The labels are left alone: fewer than {least} would be mended."
        if self._doubtful:
            return "The labels are left alone: the evidence is too weak to tell which are wrong."
        return f"About {100 * self.expected_gain_:.1f} % of the labels are mended."

    def _leave_alone(self, samples: Any) -> Any:
        """The given labels where there are any, hard and soft, with what is known about them."""
        given = samples._given_codes()
        proba = settled(samples.proba, given)
        return samples.with_labels(
            proba=proba,
            label_codes=np.where(given >= 0, given, best_class(proba)),
            status=judged_status(np.ones(len(given)), given, samples.trusted, 0.5),
        )


def _fitted(candidate, samples, groups):
    """A clone of the candidate, fitted, and the rows it purified."""
    purifier = clone(candidate)
    with warnings.catch_warnings():
        # Of a candidate's settings the user may know nothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return purifier, purifier._fit_inside(samples, groups)


def _choose(candidates, hits):
    """Place of the chosen candidate, and a sentence that says why."""
    first = candidates[0].name
    if len(candidates) == 1:
        return 0, f"'{first}' is the only candidate."
    if hits is not None:
        scores, what = hits.astype(float), "accuracy on hidden trusted rows"
        means = scores.mean(axis=1)
        best = int(np.argmax(means))
        difference = scores[best] - scores[0]
        sure = difference.mean() > difference.std() / len(difference) ** 0.5
        shown = ", ".join(f"{c.name} {m:.3f}" for c, m in zip(candidates, means, strict=True))
    else:
        what = "leave-one-out log-likelihood of the given labels"
        means = np.array([c.log_likelihood for c in candidates])
        if np.isnan(means).any():
            return 0, f"'{first}' is the first, and nothing tells which is better."
        if np.isneginf(means).all():
            return 0, "The features predict the given labels for none of the candidates."
        best, sure = int(np.argmax(means)), True
        shown = ", ".join(
            f"{c.name} {m:.4f}" if np.isfinite(m) else f"{c.name}, which predicts them not at all"
            for c, m in zip(candidates, means, strict=True)
        )
    chosen = best if sure else 0
    return chosen, f"'{candidates[chosen].name}' was chosen by {what}: {shown}."


def _log_likelihood(purifier):
    """Of evidence that tells nothing, it is worthless: without its own label a row stands out."""
    informative = getattr(purifier, "informative_", True)
    return float(getattr(purifier, "log_likelihood_", np.nan)) if informative else -np.inf


def _doubtful(purifier, samples):
    """Whether the evidence is too weak to tell wrong labels from overlapping classes."""
    support, needed, separation = getattr(purifier, "_support", (np.inf, 0.0, 1.0))
    trusted = np.zeros(len(samples), bool) if samples.trusted is None else samples.trusted
    of_class = np.bincount(samples.given[trusted], minlength=len(samples.classes))
    n = np.count_nonzero(samples.given >= 0)
    if of_class.min() >= _TRUSTED_OF_CLASS:
        return support < needed
    enough = _SURE_CLASS_ROWS * len(samples.classes)
    if separation < _WEAK_SEPARATION and n < enough and trusted.sum() < _MIN_TRUSTED:
        return support < _WEAK_NATS
    enough = SUPPORT_ROWS if separation < SUPPORT_SEPARATIONS[0] else min(enough, SUPPORT_ROWS)
    more = np.interp(separation, _SURE_SEPARATIONS, _SURE_NATS) * max(1 - n / enough, 0)
    return support < needed + more


def _expected_gain(samples):
    """Share of the labelled rows whose label the purifier expects to mend."""

    def gain(proba, given, label):
        rows = np.arange(len(given))
        mended = np.where(given < 0, 0, proba[rows, label] - proba[rows, given])
        return (float(mended.sum(dtype=np.float64)),)

    total = sum_blocks(gain, samples.proba, samples.given, samples.label_codes)[0]
    return float(total / np.count_nonzero(samples.given >= 0))
