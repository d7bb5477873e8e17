"""LeastSquaresMetaPurifier: noisy labels made better by a few trusted ones."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skclean._array import beside, is_dask
from skclean._blocks import few_rows, on_host, put_rows
from skclean._validation import Interval, StrOptions
from skclean.cleaners._evidence import part_of_fit
from skclean.cleaners.transition import TransitionCleaner
from skclean.decision.meta_gradient import fit_corrections, fit_in_batches, play
from skclean.decision.summary import soft_transition
from skclean.evidence.fit import fit_evidence
from skclean.evidence.leave_one_out import LeaveOneOutRidge

#: The weight of trusted rows is chosen on at most about that many rows.
_MAX_ROWS = 20_000
#: Weights of a trusted row in the least squares that are tried, besides 1.
_WEIGHTS = (3.0, 10.0, 30.0, 100.0)


class LeastSquaresMetaPurifier(TransitionCleaner):
    """Purify noisy labels by least squares on the embeddings, with the help of trusted rows.

    Two ways lead there. ``solver="likelihood"``, the default, is the noise-transition model of
    `TransitionCleaner` with the trusted rows as a term of its likelihood: their class probability
    counts at their label, past the noise, and they count more in the least squares, by the weight
    that makes all labels likeliest. ``solver="paper"`` is DMLP: the labels are moved down the
    gradient of the error that least squares on them makes on the trusted rows (intrinsic primary
    correction), and blended now and then with the predictions of a softmax classifier (extrinsic
    auxiliary correction); see `skclean.decision.meta_gradient`. The first is better wherever it was
    measured.

    Without trusted rows the likelihood needs none. The paper's solver then takes the most credible
    rows of each class, by the likelihood, in their place; `trusted_source_` says so.

    Parameters
    ----------
    solver : {"likelihood", "paper"}, default="likelihood"
    threshold : float in [0, 1] or "f1", default=0.5
        Labels with a greater `clean_proba` are kept. The others take the class of greatest
        probability (status corrected); if that is the given label, or would be by less noise
        that explains the labels nearly as well, status unknown. "f1" is the threshold of the
        greatest F1 to be expected. Both as in `TransitionCleaner`.
    estimator : LeaveOneOutRidge or None, default=None
        The least squares. None is ``LeaveOneOutRidge()`` for the likelihood and
        ``LeaveOneOutRidge(kernel="linear")`` for the paper's solver.
    trusted_weight : float or "auto", default="auto"
        Weight of a trusted row in the least squares of the likelihood, a noisy one having 1.
        "auto" tries 3, 10, 30 and 100 while they make the labels likelier.
    n_refits : int, default=1
    max_iter : int, default=30
    tol : float, default=1e-4
        Of the likelihood, as in `TransitionCleaner`.
    n_periods : int, default=10
        Number of auxiliary corrections. This and all that follow belong to the paper's solver.
    period : int, default=5
        T of the paper: primary corrections before each auxiliary one.
    learning_rate : float or None, default=None
        eta_I: of the primary correction, as a share of the step that leads to the minimum of the
        squared error along its steepest direction; with `batch_size`, the rate of Adam. None is
        0.03, or 0.001 of Adam.
    momentum : float in [0, 1), default=0.0
        Of the primary correction.
    blend : float in [0, 1], default=0.3
        eta_E: share of the classifier's prediction in a blended label.
    classifier_steps : int, default=3
        Steps of the classifier each period: the last on all rows, of more than some thousand rows
        those before on a part, corrected by what all rows said last.
    batch_size : int or None, default=None
        Rows of a slice with a Gram matrix of its own, as in algorithm 1 of the paper: `n_periods` x
        `period` steps of Adam on each slice. None works on all rows at once, which is quicker and
        was better: one pass for the Gram matrix, after which a primary correction takes a time
        that does not depend on the number of rows.
    n_credible : int, default=10
        Rows of a class that stand in for trusted ones where there are none; half the class at most.
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`, as in `LabelledSamples`.
    random_state : int, RandomState instance or None, default=0
        Draws the slices of `batch_size`, or the rows of the classifier's steps.
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
        Probability that the given label is right; NaN in rows without one. Of the paper's solver it
        is the entry of the soft label.
    label_distributions_ : ndarray of shape (n, C)
        Purified soft labels.
    transduction_ : ndarray of shape (n,)
        Purified labels.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged.
    transition_matrix_ : ndarray of shape (C, C)
        P(given = column | true = row).
    threshold_ : float
        The threshold in use.
    trusted_source_ : {"given", "most credible rows", "none"}
        Which rows were trusted.
    trusted_weight_ : float
        Weight in use (likelihood).
    log_likelihood_ : float
        Mean leave-one-out log-likelihood of the labels, in nats (likelihood).
    model_ : TransitionModel
        The noise-transition model (likelihood).
    converged_ : bool
        Whether the likelihood settled before `max_iter` (likelihood).
    n_iter_ : int
        Rounds of the likelihood, or primary corrections.
    evidence_ : Evidence
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do.

    Raises
    ------
    ValueError
        In `fit` of the paper's solver, if every row is trusted, or without trusted rows if no class
        has two rows.

    Warns
    -----
    UserWarning
        If there are probabilities of the user's in the container, which are not used.

    References
    ----------
    Tu et al., "Learning from Noisy Labels with Decoupled Meta Label Purifier" (DMLP), CVPR 2023:
    equations 6 to 8 (primary), 10 and 11 (auxiliary correction), algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skclean import LeastSquaresMetaPurifier
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.8, random_state=0)
    >>> y, trusted = digits.target_noisy.copy(), np.arange(1797) < 50
    >>> y[trusted] = digits.target[trusted]
    >>> purifier = LeastSquaresMetaPurifier().fit(digits.data, y, trusted=trusted)
    >>> bool((purifier.transduction_ == digits.target).mean() > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **TransitionCleaner._parameter_constraints,
        "solver": [StrOptions({"likelihood", "paper"})],
        "estimator": [LeaveOneOutRidge, None],
        "trusted_weight": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "n_periods": [Interval(Integral, 1, None, closed="left")],
        "period": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="left"), None],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "blend": [Interval(Real, 0, 1, closed="both")],
        "classifier_steps": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "n_credible": [Interval(Integral, 1, None, closed="left")],
    }

    # Every row leaves itself out: no folds.
    cv = n_jobs = None
    _proba_advice = "take TransitionCleaner"

    def __init__(
        self,
        solver="likelihood",
        threshold=0.5,
        estimator=None,
        *,
        trusted_weight="auto",
        n_refits=1,
        max_iter=30,
        tol=1e-4,
        n_periods=10,
        period=5,
        learning_rate=None,
        momentum=0.0,
        blend=0.3,
        classifier_steps=3,
        batch_size=None,
        n_credible=10,
        missing_label="auto",
        random_state=0,
        device=None,
    ):
        self.solver = solver
        self.threshold = threshold
        self.estimator = estimator
        self.trusted_weight = trusted_weight
        self.n_refits = n_refits
        self.max_iter = max_iter
        self.tol = tol
        self.n_periods = n_periods
        self.period = period
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.blend = blend
        self.classifier_steps = classifier_steps
        self.batch_size = batch_size
        self.n_credible = n_credible
        self.missing_label = missing_label
        self.random_state = random_state
        self.device = device

    def _fit_samples(self, samples, groups):
        earlier = "_support", "_doubted_share", "model_", "log_likelihood_", "trusted_weight_"
        for learned in (*earlier, "converged_"):
            self.__dict__.pop(learned, None)
        self._corrections = None
        self.trusted_source_ = "none" if samples.trusted is None else "given"
        if self.solver == "likelihood":
            return super()._fit_samples(samples, groups)
        return self._fit_paper(samples, groups)

    def _transform_samples(self, samples):
        if self._corrections is None:
            return super()._transform_samples(samples)
        given = samples._given_codes()
        return self._purify(samples, self._play(samples, given), new=True)

    def _new_evidence(self, samples, groups, **targets):
        kernel = "linear" if self.solver == "paper" else "auto"
        ridge = LeaveOneOutRidge(kernel) if self.estimator is None else self.estimator
        return fit_evidence(samples, ridge, None, groups, name=type(self).__name__, **targets)

    def _fit_first(self, samples, groups):
        self.trusted_weight_ = 1.0
        if samples.trusted is None or not samples.trusted.any():
            return super()._fit_first(samples, groups)
        part, of_part = part_of_fit(samples, groups, _MAX_ROWS)
        tried = (self.trusted_weight,) if self.trusted_weight != "auto" else (1.0, *_WEIGHTS)
        best = None
        for weight in tried:
            self.evidence_ = self._new_evidence(part, of_part, weight=_weights(part, weight))
            posterior = self._fit_model(part)
            if best is not None and self.model_.log_likelihood <= best[1].log_likelihood:
                break
            best = self.evidence_, self.model_, posterior, self.informative_
            self.trusted_weight_ = float(weight)
        weight = _weights(samples, self.trusted_weight_)
        if part is samples:
            self.evidence_, self.model_, posterior, self.informative_ = best
        else:
            del best
            self.evidence_ = self._new_evidence(samples, groups, weight=weight)
            posterior = self._fit_model(samples)
        return posterior, weight

    def _fit_paper(self, samples, groups):
        trusted = samples.trusted
        if trusted is None or not trusted.any():
            trusted = self._most_credible(samples, groups)
            self.trusted_source_ = "most credible rows"
        noisy = (samples.given >= 0) & ~trusted
        if not noisy.any():
            raise ValueError(
                "LeastSquaresMetaPurifier: expected rows with a given label that are not trusted, "
                f"got {len(samples)} rows without one; do leave the purifier out, or set "
                "solver='likelihood'."
            )
        self.evidence_ = self._new_evidence(samples, groups, weight=noisy.astype(np.float64))
        self.informative_ = self.evidence_.informative(samples.given)
        ridge, rows = self.evidence_.model._ridge, np.flatnonzero(trusted)
        if not is_dask(samples.features):
            samples = samples._replace(features=beside(samples.features, ridge.mean))
        target = few_rows(samples.features, rows), samples.given[rows]
        step = self.learning_rate
        if step is None:
            step = 0.03 if self.batch_size is None else 0.001
        if self.batch_size is not None and is_dask(samples.features):
            raise ValueError(
                f"{type(self).__name__}: expected batch_size=None beside a dask array, got "
                f"{self.batch_size}: slices are drawn at random; do leave it out, or X.compute()."
            )
        rng = check_random_state(self.random_state)
        shared = {"period": self.period, "rate": self.blend, "learning_rate": step, "rng": rng}
        if self.batch_size is None:
            self._corrections = fit_corrections(
                ridge,
                samples.features,
                noisy,
                *target,
                n_periods=self.n_periods,
                momentum=self.momentum,
                classifier_steps=self.classifier_steps,
                **shared,
            )
            posterior = self._play(samples, samples.given)
        else:
            labels, self._corrections = fit_in_batches(
                ridge,
                samples.features,
                samples.given,
                noisy,
                *target,
                batch_size=self.batch_size,
                n_epochs=self.n_periods * self.period,
                **shared,
            )
            posterior = self._play(samples, samples.given)
            posterior = put_rows(posterior, np.flatnonzero(noisy), labels)
        self.n_iter_ = self.n_periods * self.period
        purified = self._purify(samples, posterior)
        self.transition_matrix_ = soft_transition(samples.given, purified.proba)
        return purified

    def _play(self, samples, given):
        """Labels (n, C) of rows after the corrections of the fit."""
        ridge = self.evidence_.model._ridge
        return on_host(play(self._corrections, ridge, samples.features, given))

    def _most_credible(self, samples, groups):
        """Mask of the rows of each class that the likelihood believes most."""
        inner = LeastSquaresMetaPurifier(estimator=self.estimator, n_refits=0)
        found = inner._fit_inside(samples._replace(trusted=None), groups)
        chosen = np.zeros(len(samples), dtype=bool)
        for k in range(len(samples.classes)):
            rows = np.flatnonzero(samples.given == k)
            size = min(self.n_credible, len(rows) // 2)
            chosen[rows[np.argsort(-found.clean_proba[rows], kind="stable")[:size]]] = True
        if not chosen.any():
            raise ValueError(
                "LeastSquaresMetaPurifier: expected trusted rows, or a class of two rows of which "
                f"to take the more credible, got {len(samples)} rows of as many classes; do pass "
                "trusted."
            )
        return chosen


def _weights(samples, weight):
    """Weight of each row in the least squares."""
    return np.where(samples.trusted, weight, 1.0)
