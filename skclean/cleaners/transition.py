"""TransitionCleaner: the library's own cleaner."""

from copy import copy
from dataclasses import replace
from numbers import Integral, Real

import numpy as np

from skclean._array import take_rows, to_numpy
from skclean._blocks import held, map_rows, on_host, own_column, put_rows, sum_blocks
from skclean._threads import python_threads
from skclean._validation import Interval, StrOptions
from skclean._warnings import warn
from skclean.cleaners._evidence import EvidenceCleaner, part_of_fit
from skclean.decision.f1_threshold import f1_threshold
from skclean.decision.status import judged_status
from skclean.decision.summary import settled
from skclean.decision.transition import alike_nats, fit_transition, rows_of_fit
from skclean.decision.transition_doubt import surely_trusted
from skclean.decision.transition_fit import TINY
from skclean.decision.transition_support import fit_supported
from skclean.evidence.fit import Evidence, log_proba

#: Where no more of the rows are expected to be given another class than their own, all is found.
_SURE = 5e-4
#: Features are asked what noise they find in the labels of about so many rows, and values, at most.
_FEATURE_ROWS, _FEATURE_VALUES = 20_000, 1 << 25


class TransitionCleaner(EvidenceCleaner):
    """Find wrong labels, their noise pattern and the right labels by maximum likelihood.

    Every row is scored by a least-squares fit that has not seen its label. Scores and given label
    are independent given the true class, so together they identify the noise-transition matrix,
    the class probabilities and with them the posterior of the true class of each row: see
    `skclean.decision.transition` for the model. One default serves symmetric, pair, asymmetric
    and human noise, and clean labels. Of few rows, noise is only believed where the likelihood
    bears it out, and where the features do not predict the labels these stay as they are. In a
    training, a right label that is doubted costs little, as its row stays: `assess`, which expects
    probabilities that have not seen the given labels, believes noise of few rows that explains the
    labels as well as overlap of the classes does.

    Parameters
    ----------
    threshold : float in [0, 1] or "f1", default=0.5
        Labels with a greater `clean_proba` are kept. The others take the class of greatest
        posterior (status corrected); if that is the given label, status unknown, as it is where the
        features say so little that less noise explains the labels nearly as well, and by that the
        label would stay. At 0.5 the purified labels are likeliest to be right. "f1" takes the
        threshold at which the flagged labels have the greatest F1 that `clean_proba` lets expect,
        for labels that someone will look at: where noise is hard to tell from ambiguity, it flags
        more of both.
    estimator : classifier with predict_proba, or None, default=None
        The evidence. None takes the probabilities of the container where it has some, else
        `LeaveOneOutRidge`. Of a classifier's probabilities, they themselves, their square roots and
        their logarithms are tried, and the likeliest taken. Where the features explain the given
        labels better than they do, as a warning says, the noise pattern is that of the features:
        what a classifier misses that is too sure of itself would pass for noise.
    cv : int, splitter or None, default=None
        Folds in which `estimator` is fitted. Evidence from rows that it was fitted to makes wrong
        labels look right: set it for every estimator but `LeaveOneOutRidge`.
    n_refits : int, default=0
        Times that the least squares of the default evidence are fitted anew, to the posteriors
        found, with the noise pattern held. That gives better labels under pair noise and much
        noise, in twice the time; with fewer than some thousand rows, `clean_proba` becomes too
        sure of itself, as the posteriors of a row's neighbours have seen its label. Posteriors that
        are sure of every row are not fitted to.
    max_iter : int, default=30
        Most rounds of a fit of the model.
    tol : float, default=1e-4
        A round that changes the mean log-likelihood of the given labels by less, in nats, ends it.
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
        Posterior probability that the given label is right; NaN in rows without one.
    label_distributions_ : ndarray of shape (n, C)
        Posterior of the true class: by less noise where the given label is likeliest by that
        alone, so that its probability is more than `clean_proba_` there.
    transduction_ : ndarray of shape (n,)
        Purified labels.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged: about 0, too, where the labels do not
        bear noise out, which `audit` tells from clean labels.
    threshold_ : float
        The threshold used.
    transition_matrix_ : ndarray of shape (C, C)
        P(given = column | true = row).
    log_likelihood_ : float
        Mean leave-one-out log-likelihood of the given labels, in nats.
    n_iter_ : int
    converged_ : bool
    evidence_ : Evidence
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do, or noise
        is believed in. If not, nothing can be said about them.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` rounds were not enough.
    UserWarning
        If `estimator` judges the labels that it was fitted to, as `cv` is None, or is set beside
        probabilities of the user's in the container, which are not used then; or if the features
        explain the given labels better than the probabilities do.

    Examples
    --------
    >>> from skclean import TransitionCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> cleaner = TransitionCleaner().fit(digits.data, digits.target_noisy)
    >>> bool((cleaner.transduction_ == digits.target).mean() > 0.98)
    True
    """

    _parameter_constraints: dict = {
        **EvidenceCleaner._parameter_constraints,
        "threshold": [Interval(Real, 0, 1, closed="both"), StrOptions({"f1"})],
        "n_refits": [Interval(Integral, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        threshold=0.5,
        estimator=None,
        cv=None,
        *,
        n_refits=0,
        max_iter=30,
        tol=1e-4,
        missing_label="auto",
        random_state=0,
        n_jobs=None,
        device=None,
    ):
        self.threshold = threshold
        self.estimator = estimator
        self.cv = cv
        self.n_refits = n_refits
        self.max_iter = max_iter
        self.tol = tol
        self.missing_label = missing_label
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def _assess(self, given, proba):
        evidence = Evidence(log_proba(proba), 1.0, None, "probabilities to assess")
        _, gamma = fit_supported(
            evidence.scores,
            given,
            temperature=evidence.fitted_temperature(given),
            informative=evidence.informative(given),
            log_proba=True,
            lenient=True,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        return to_numpy(own_column(gamma, given))

    def _fit_samples(self, samples, groups):
        posterior, weight = self._fit_first(samples, groups)
        self.transition_matrix_ = self.model_.transition
        self._support = self.model_.support, self.model_.needed, self.model_.separation
        self._doubted_share = self._doubted(samples.given)
        self.log_likelihood_ = self.model_.log_likelihood
        self.n_iter_, self.converged_ = self.model_.n_iter, self.model_.converged
        # Posteriors of a model that was not fitted have nothing to teach, nor do sure ones: labels
        # that they leave, few of each class perhaps, would be explained by curves and not by noise.
        teach = self.evidence_.raw and self.n_iter_ and _doubt(posterior) > _SURE
        for _ in range(self.n_refits if teach else 0):
            self.evidence_ = None  # One of them at a time.
            self.evidence_ = self._new_evidence(samples, groups, soft=posterior, weight=weight)
            posterior = self._fit_model(samples, self.transition_matrix_)
        return self._purify(samples, posterior, self.model_)

    def _fit_first(self, samples, groups):
        """Evidence and model from the given labels: posterior (n, C), weights of rows or None."""
        self.evidence_ = self._new_evidence(samples, groups)
        if self.evidence_.in_sample:
            name = type(self.estimator).__name__
            warn(
                f"{type(self).__name__}: expected evidence that has not seen the given labels, got "
                f"the probabilities of a {name} that was fitted to them, by which wrong labels "
                "look right; do set cv=5."
            )
        posterior = self._fit_model(samples)
        if self.evidence_.raw or self.evidence_.in_sample or not self.informative_:
            return posterior, None
        return self._with_noise_of_features(samples, groups, posterior), None

    def _with_noise_of_features(self, samples, groups, posterior):
        """The posterior (n, C), or that by the T of the features, if these explain labels better.

        What a classifier misses that is too sure of itself, it explains as noise. A classifier of
        other labels, however, misses noise that the features tell: trusted rows decide, then, if
        they clearly tell for it.
        """
        name = type(self).__name__
        size = min(_FEATURE_ROWS, _FEATURE_VALUES // samples.n_features)
        part, of_part = part_of_fit(samples, groups, size)
        if of_part is not None and len(np.unique(of_part[part.given >= 0])) < 2:
            return posterior
        if part.proba is not None and part.proba.shape == part.features.shape:
            if np.allclose(to_numpy(part.features), to_numpy(part.proba)):
                return posterior
        alone, by_proba = TransitionCleaner(max_iter=self.max_iter, tol=self.tol), self
        alone._fit_inside(part._replace(proba=None), of_part)
        if part is not samples:
            # Of other rows, with more trusted ones among them, labels are more or less likely.
            rows = rows_of_fit(samples.given, samples.trusted, size)
            by_proba = copy(self)
            scores = held(take_rows(self.evidence_.scores, rows))
            by_proba.evidence_ = replace(self.evidence_, scores=scores)
            by_proba._fit_model(part)
        model, before = alone.model_, by_proba.model_.log_likelihood
        n = np.count_nonzero(part.given >= 0)
        if not alone.informative_ or n * (model.log_likelihood - before) < alike_nats(n):
            return posterior
        if surely_trusted(part.trusted, part.given, len(part.classes)):
            sure = np.flatnonzero(part.trusted)
            more = _told(by_proba, part.given, sure) - _told(alone, part.given, sure)
            if more.sum() > max(alike_nats(n), 2 * np.sqrt(np.sum(more**2))):
                return posterior
        out = "leave proba out" if self.estimator is None else "set estimator=None"
        warn(
            f"{name}: expected probabilities that explain the given labels as well as the features "
            f"do, got a log-likelihood of {before:.3f} a label beside {model.log_likelihood:.3f}; "
            f"the noise pattern is that of the features, do {out} for better labels, or, if the "
            "classifier learned from other labels than these, pass verified rows as trusted."
        )
        self.model_ = model
        posterior = self._fit_model(samples, model.transition)
        self.model_ = replace(
            self.model_, support=model.support, needed=model.needed, separation=model.separation
        )
        return posterior

    @python_threads()
    def _fit_model(self, samples, transition=None):
        """Fit the noise-transition model to the evidence; the posterior (n, C) of the rows."""
        scores, labelled = self.evidence_.scores, np.flatnonzero(samples.given >= 0)
        whole = len(labelled) == len(samples)
        limits = {"max_iter": self.max_iter, "tol": self.tol, "log_proba": not self.evidence_.raw}
        rows = (
            scores if whole else take_rows(scores, labelled),
            samples.given[labelled],
            None if samples.trusted is None else samples.trusted[labelled],
        )
        if transition is None:
            limits["informative"] = self._informative(samples)
            limits["temperature"] = self.evidence_.fitted_temperature(samples.given)
            self.model_, gamma = fit_supported(*rows, **limits)
            self.informative_ = limits["informative"] or self.model_.support > -np.inf
        else:
            least_share = self.model_.least_share
            self.model_, gamma = fit_transition(*rows, transition=transition, **limits)
            self.model_.least_share = least_share
        if not whole:
            gamma = put_rows(self.model_.posterior(scores, samples.given), labelled, gamma)
        return on_host(gamma)

    def _doubted(self, given):
        """Share of the labels that the evidence does not predict, if noise was not believed in."""
        if self.model_.support > -np.inf:
            return 0.0
        labelled = np.flatnonzero(given >= 0)
        proba = self.model_.class_proba(take_rows(self.evidence_.scores, labelled))
        return float(1 - np.mean(to_numpy(own_column(proba, given[labelled]))))

    def _informative(self, samples):
        """Whether the evidence predicts the given labels, or the trusted ones alone."""
        found = self.evidence_.informative(samples.given)
        if not found and samples.trusted is not None and samples.trusted.any():
            found = self.evidence_.informative(np.where(samples.trusted, samples.given, -1))
        return found

    def _transform_samples(self, samples):
        scores = self.evidence_.predict(samples, type(self).__name__)
        given = samples._given_codes()
        posterior = on_host(self.model_.posterior(scores, given))
        return self._purify(samples, posterior, self.model_, new=True)

    def _threshold(self, clean, new):
        """What `threshold` says, of the rows of the fit for all that come later."""
        if self.threshold == "f1" and new:
            return self.threshold_
        cut = self.threshold
        if cut == "f1":
            cut = f1_threshold(clean) if getattr(self, "informative_", True) else 0.0
        if not new:
            self.threshold_ = cut
        return cut

    def _purify(self, samples, posterior, model=None, new=False):
        """Verdicts by the posterior (n, C), not yet normalised, which is written to.

        That of a model may have its least share of the noise in place of all.
        """
        given, certain = samples._given_codes(), np.full(len(samples), -1)
        if samples.trusted is not None:
            certain[samples.trusted] = given[samples.trusted]
        more = None
        if model is not None and model.least_share < 1:
            more = 1 + (1 / model.least_share - 1) / np.diag(model.transition)[given]
        posterior, best, clean = map_rows(_judge, posterior, given, certain, more, out=posterior)
        cut = self._threshold(clean[(given >= 0) & (certain < 0)], new)
        kept = np.nan_to_num(clean) > cut
        return samples.with_labels(
            proba=posterior,
            label_codes=np.where(kept, given, best),
            status=judged_status(clean, given, samples.trusted, cut, best),
            clean_proba=clean,
            right_proba=None,
        )


def _told(cleaner, given, rows):
    """What a cleaner tells of the labels of some rows (m,), in nats."""
    proba = cleaner.model_.class_proba(take_rows(cleaner.evidence_.scores, rows))
    return np.log(to_numpy(own_column(proba, given[rows])) + TINY)


def _doubt(posterior):
    """Share of the rows (n, C) whose likeliest class is wrong by the posteriors themselves."""
    return sum_blocks(lambda p: (np.sum(1 - p.max(axis=1)),), posterior)[0] / len(posterior)


def _judge(posterior, given, certain, more):
    """Probabilities (b, C), their likeliest class, and P(given), NaN where there is no label.

    Where `more` times P(given) makes the given label the likeliest, it counts so in the rest.
    """
    posterior = settled(posterior, certain)
    posterior = posterior / posterior.sum(axis=1, keepdims=True)
    own = posterior[np.arange(len(given)), given]
    if more is not None:
        likeliest = posterior.max(axis=1)
        stays = np.flatnonzero((given >= 0) & (own < likeliest) & (own * more > likeliest))
        posterior[stays, given[stays]] *= more[stays]
        posterior[stays] /= posterior[stays].sum(axis=1, keepdims=True)
    clean = np.where(given < 0, np.nan, own.astype(np.float64))
    return posterior, posterior.argmax(axis=1), clean
