"""The noise-transition model: scores and given labels in, clean labels and their noise out.

The given label and the scores of a row (which have not seen it) are independent given the true
class, so the two together identify the noise. With scores s_i in R^C standardised,

    q_i = softmax(tau s_i + c * s_i^2 + D^T f_i + b),    p(given = k | i) = sum_y q_iy T_yk,

f_i = [s_i, s_i^2] up to `QUADRATIC_CLASSES` classes, s_i up to `MIXING_CLASSES` and D = 0 beyond,
the model maximises the likelihood of the given labels over tau, c, b, D and the transition matrix
T:

- D has a normal prior whose precision is chosen by the evidence of the labels (MacKay's
  fixed point, with a Kronecker-factored curvature);
- a row of T is an error rate with a Beta prior times a distribution over the other classes with a
  symmetric Dirichlet prior; both priors are fitted to the expected counts, so that one common
  rate, rates per class, a few strong confusions and uniform noise are all found by themselves;
- no entry of a row of T is above its diagonal, without which classes could swap names;
- q of a row of the fit is corrected to the value that it would have without the row's own label
  (approximate leave-one-out), so that the flexible D does not explain noise away.

The posterior gamma_iy = q_iy T_y,given / sum is the purified soft label, gamma_i,given the
probability that the given label is right.
"""

import copy
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from skclean._array import array_namespace, cast_like, from_numpy, take_rows, to_numpy
from skclean._blocks import at_once, put_rows, sum_blocks
from skclean._threads import one_blas_thread
from skclean.decision.transition_model import TransitionModel, contiguous
from skclean.decision.transition_prior import TransitionPrior, dominant
from skclean.linalg.softmax import softmax

#: Up to that many classes, squares of all scores speak for every class.
QUADRATIC_CLASSES = 32
#: Up to that many classes, scores of the other classes speak for a class; beyond, that would be a
#: million parameters.
MIXING_CLASSES = 128
#: The fit starts from these shares of the noise of uniformly random labels, and goes on from the
#: one that makes the labels likeliest after some rounds, from the noisiest of those that are alike
#: to one nat: from the first alone, labels that are nearly all wrong would be believed. Up to
#: `SUPPORT_ROWS` rows it starts from the first.
START_NOISE, TRIAL_ROUNDS = (2 / 3, 0.8, 0.9), 2
#: The model is fitted to about that many scores (rows times classes) at most.
MAX_SCORES = 1 << 24
#: Up to that many rows, a model has to be better than a simpler one by that many nats in all.
SUPPORT_ROWS, SUPPORT_NATS = 5000, 4.0
#: Where the classes stand apart, by that share of the variance of the scores, half a nat will do.
#: Groups cut out of one cloud of Gaussian scores make up less than two thirds of it.
SUPPORT_SEPARATION = 0.75
#: Where they stand apart so far, noise is believed unless it makes the labels less likely: rows at
#: one place with labels of several classes are what wrong labels look like, and nothing else.
CLEAR_SEPARATION = 0.9
#: With fewer rows of a class, on average, leaving one out says more of the row than of its class.
SUPPORT_CLASS_ROWS = 5
_TINY = 1e-30


def fit_transition(
    scores: Any,
    given: np.ndarray,
    trusted: np.ndarray | None = None,
    *,
    transition: np.ndarray | None = None,
    max_iter: int = 30,
    tol: float = 1e-4,
) -> tuple[TransitionModel, Any]:
    """Fit the noise-transition model to rows with a given label.

    Of more than `MAX_SCORES` scores, the fit takes the trusted rows and others evenly spaced over
    the given labels.

    Parameters
    ----------
    scores : array of shape (n, C)
        Evidence that has not seen the row's own label: leave-one-out or cross-fitted scores, or
        logarithms of probabilities.
    given : ndarray of shape (n,), int64
        Labels in 0 to C - 1, none missing.
    trusted : ndarray of shape (n,), bool, or None
        Rows whose label is right: their likelihood is that of q at the label, and they do not
        count in T.
    transition : ndarray of shape (C, C) or None
        T, held as it is; None fits it. Scores of a model that was fitted to the posteriors of other
        rows have seen the row's label through those: T would then turn towards what the scores
        already believe.
    max_iter : int
        Most rounds.
    tol : float
        A round that changes the mean log-likelihood by less ends the fit.

    Returns
    -------
    model : TransitionModel
    gamma : array of shape (n, C)
        Posterior of the rows, those of the fit with their own labels left out of q. float32.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` rounds were not enough.
    """
    rows = rows_of_fit(given, trusted, MAX_SCORES // scores.shape[1])
    every = len(rows) == len(given)
    sure = None if trusted is None else trusted[rows]
    fit = partial(
        _fit, given=given[rows], trusted=sure, transition=transition, max_iter=max_iter, tol=tol
    )
    model, gamma = at_once(fit, scores if every else take_rows(scores, rows))
    if not model.converged:
        warnings.warn(
            f"fit_transition: expected the likelihood to settle to {tol:g} nats a row, got no such "
            f"round in {max_iter}; do raise max_iter.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return model, gamma if every else put_rows(model.posterior(scores, given), rows, gamma)


def fit_supported(
    scores: Any,
    given: np.ndarray,
    trusted: np.ndarray | None = None,
    *,
    temperature: float,
    informative: bool = True,
    max_iter: int = 30,
    tol: float = 1e-4,
) -> tuple[TransitionModel, Any]:
    """`fit_transition`, or a simpler model where few rows do not bear it out.

    Up to `SUPPORT_ROWS` rows, noise is believed only if it makes the labels likelier than a T with
    less than one error does, by `needed_support`. Likewise the calibration of the scores, beside
    one temperature. Without that, a few overlapping rows pass for wrong labels. Fewer than
    `SUPPORT_CLASS_ROWS` rows a class bear out nothing.

    Parameters
    ----------
    scores, given, trusted, max_iter, tol
        As in `fit_transition`.
    temperature : float
        Factor of the scores in the simplest model.
    informative : bool
        False takes that model at once: scores that do not predict the labels say nothing of noise.

    Returns
    -------
    model, gamma
        As of `fit_transition`; ``n_iter`` of the simplest model is 0.
    """
    limits: dict[str, Any] = {"max_iter": max_iter, "tol": tol}
    n, n_classes = scores.shape
    rate = 1 / (n + 2)
    eye = np.eye(n_classes)
    clean = rate / (n_classes - 1) * (1 - eye) + (1 - rate) * eye
    model = None
    if informative and n >= SUPPORT_CLASS_ROWS * n_classes:
        model, gamma = fit_transition(scores, given, trusted, **limits)
        if n > SUPPORT_ROWS:
            return model, gamma
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            simpler = fit_transition(scores, given, trusted, transition=clean, **limits)
        model.support = n * (model.log_likelihood - simpler[0].log_likelihood)
        model.separation = separation(to_numpy(scores))
        needed = needed_support(model.separation)
        if model.support < needed:
            apart, (model, gamma) = model.separation, simpler
            model.support, model.separation = -np.inf, apart
    plain = TransitionModel(
        transition=clean,
        center=np.zeros(n_classes),
        scale=1.0,
        square_center=np.zeros((n_classes, 1)),
        square_scale=1.0,
        linear=np.full((1, n_classes), temperature),
        curve=np.zeros(n_classes),
        bias=np.zeros(n_classes),
        converged=True,
        support=-np.inf,
    )

    def likelihood(scores, given, sure):
        factor = np.where(sure[:, None], eye[given], clean.T[given])
        proba = to_numpy(plain.class_proba(scores))
        return (float(np.sum(np.log(np.sum(proba * factor, axis=1) + _TINY))),)

    sure = np.zeros(n, bool) if trusted is None else trusted
    plain.log_likelihood = sum_blocks(likelihood, scores, given, sure)[0] / n
    if model is None or n * (model.log_likelihood - plain.log_likelihood) < needed:
        plain.separation = 1.0 if model is None else model.separation
        return plain, plain.posterior(scores, given)
    return model, gamma


def needed_support(separation: float) -> float:
    """Nats by which noise must make few labels likelier to be believed; see `separation`."""
    if separation >= CLEAR_SEPARATION:
        return -SUPPORT_NATS
    return 0.5 if separation >= SUPPORT_SEPARATION else SUPPORT_NATS


def separation(scores: np.ndarray) -> float:
    """Share of the variance of scores (n, C) that lies between the groups of greatest score."""
    best, centre = scores.argmax(axis=1), scores.mean(axis=0)
    between = 0.0
    for k in np.unique(best):
        group = scores[best == k]
        between += len(group) * float(np.sum((group.mean(axis=0) - centre) ** 2))
    return between / max(float(np.sum((scores - centre) ** 2)), _TINY)


def _fit(scores, given, trusted, transition, max_iter, tol):
    """`fit_transition` on all of the rows."""
    with one_blas_thread() if scores.shape[1] <= MIXING_CLASSES else nullcontext():
        fit = _Fit(scores, given, trusted)
        if transition is None:
            shares = START_NOISE if fit.n > SUPPORT_ROWS else START_NOISE[:1]
            trials = [fit.started(share) for share in shares]
            for trial in trials:
                trial.rounds(min(TRIAL_ROUNDS, max_iter), tol)
            best = max(trial.model.trace[-1] for trial in trials)
            fit = [t for t in trials if fit.n * (best - t.model.trace[-1]) <= 1][-1]
            # The posteriors of the others are as large as the scores.
            del trials, trial
        else:
            fit.model.transition, fit.held = transition, True
        fit.rounds(max_iter, tol)
    fit.model.log_likelihood = fit.model.trace[-1]
    return fit.model, fit.in_caller_order(fit.gamma)


def rows_of_fit(given: np.ndarray, trusted: np.ndarray | None, n_rows: int) -> np.ndarray:
    """Positions of about `n_rows` rows at most, every class and every trusted row among them.

    Parameters
    ----------
    given : ndarray of shape (n,), int64
        -1 where the label is missing.
    trusted : ndarray of shape (n,), bool, or None
    n_rows : int
    """
    if len(given) <= n_rows:
        return np.arange(len(given))
    sure = np.zeros(len(given), bool) if trusted is None else trusted
    order = np.argsort(given, kind="stable")
    order = order[~sure[order]]
    size = min(max(n_rows - sure.sum(), n_rows // 2), len(order))
    places = np.linspace(0, len(order) - 1, size).astype(np.int64)
    first = np.unique(given[order], return_index=True)[1]
    return np.union1d(order[np.union1d(places, first)], np.flatnonzero(sure))


class _Fit:
    """State of one fit: rows sorted by given label, arrays classes first."""

    def __init__(self, scores, given, trusted):
        self.xp = array_namespace(scores)
        self.n, n_classes = scores.shape
        self.order = np.argsort(given, kind="stable")
        self.given = given[self.order]
        self.ends = np.searchsorted(self.given, np.arange(n_classes + 1))
        self.noisy = np.ones(self.n, bool) if trusted is None else ~trusted[self.order]
        xp, rows = self.xp, self.xp.astype(scores, self.xp.float64)
        center = to_numpy(xp.mean(rows, axis=0))
        scale = float(xp.mean((rows - from_numpy(center, rows)) ** 2)) ** 0.5 or 1.0
        self.held = False
        self.mixing = n_classes <= MIXING_CLASSES
        self.model = TransitionModel(
            transition=np.eye(n_classes),
            center=center,
            scale=scale,
            square_center=np.zeros((n_classes, 1)),
            square_scale=1.0,
            linear=np.ones((1, n_classes)),
            curve=np.zeros(n_classes),
            bias=np.zeros(n_classes),
        )
        self.s = self.model._standardise(take_rows(scores, self.order))
        squares = xp.astype(self.s**2, xp.float64)
        mean = xp.mean(squares, axis=1, keepdims=True)
        self.model.square_center = to_numpy(mean)
        self.model.square_scale = float(xp.mean((squares - mean) ** 2)) ** 0.5 or 1.0
        self.squares = self.model._squares(self.s)
        self.tau, self.D, self.precision = 1.0, np.zeros((0, n_classes)), float(n_classes)
        if not self.mixing:
            return
        self.f = self.s
        if n_classes <= QUADRATIC_CLASSES:
            self.f = self.xp.concat([self.s, self.squares])
        self.D = np.zeros((self.f.shape[0], n_classes))
        gram = self.xp.matmul(self.f, self.f.T)
        values, self.directions = self.xp.linalg.eigh(gram)
        self.energy = np.maximum(to_numpy(values).astype(np.float64), 0)
        self.leverage = self.xp.matmul(self.directions.T, self.f) ** 2

    def factor(self, transition):
        """P(given_i | true = y) as (C, n): a column of T for noisy rows, the label for trusted."""
        table = transition.T.astype(np.float32)[self.given]
        table[~self.noisy] = np.eye(len(transition))[self.given[~self.noisy]]
        return cast_like(np.ascontiguousarray(table.T), self.s)

    def posterior(self, proba, factor):
        """Gamma (C, n) and the likelihood (n,) of the given labels."""
        gamma = proba * factor
        likelihood = self.xp.sum(gamma, axis=0) + _TINY
        gamma /= likelihood
        return gamma, likelihood

    def mean_log(self, likelihood):
        return float(self.xp.mean(self.xp.astype(self.xp.log(likelihood), self.xp.float64)))

    def started(self, share):
        """The fit at its start from a share of the noise of uniformly random labels."""
        trial, n_classes = copy.copy(self), len(self.model.bias)
        eye, rate = np.eye(n_classes), share * (1 - 1 / n_classes)
        transition = rate / (n_classes - 1) * (1 - eye) + (1 - rate) * eye
        trial.model = replace(self.model, transition=transition, trace=[])
        trial.prior = TransitionPrior()
        trial.warm_up()
        return trial

    def rounds(self, max_iter, tol):
        """Climb and update T, until there were so many rounds in all or the likelihood settles."""
        model, trace = self.model, self.model.trace
        while model.n_iter < max_iter and not model.converged:
            self.climb()
            proba = self.leave_one_out()
            if not self.held:
                self.update_transition(proba)
            self.gamma, likelihood = self.posterior(proba, self.factor(model.transition))
            trace.append(self.mean_log(likelihood))
            model.n_iter = len(trace)
            model.converged = len(trace) > 1 and abs(trace[-1] - trace[-2]) < tol

    def warm_up(self, max_rows=5000, max_iter=12, tol=1e-3):
        """T from tau and b alone, on a part of the rows: D would first explain the noise away."""
        step = max(1, self.n // max_rows)
        part = copy.copy(self)
        part.s = contiguous(self.s[:, ::step])
        part.given, part.noisy = self.given[::step], self.noisy[::step]
        part.n, n_classes = len(part.given), len(self.model.bias)
        part.ends = np.searchsorted(part.given, np.arange(n_classes + 1))
        theta, last = np.append(np.zeros(n_classes), 0.0), -np.inf
        for _ in range(max_iter):
            factor = part.factor(self.model.transition)

            def loss(theta, factor=factor):
                tau = float(np.exp(theta[-1]))
                proba = softmax(tau * part.s + cast_like(theta[:-1, None], part.s))
                gamma, likelihood = part.posterior(proba, factor)
                residual = proba - gamma
                along = float(self.xp.sum(residual * part.s))
                gradient = np.append(_row_sums(residual), tau * along) / part.n
                return -part.mean_log(likelihood), gradient

            found = minimize(loss, theta, jac=True, method="L-BFGS-B", options={"maxiter": 4})
            theta = found.x
            tau = float(np.exp(theta[-1]))
            proba = softmax(tau * part.s + cast_like(theta[:-1, None], part.s))
            part.update_transition(proba)
            now = part.mean_log(part.posterior(proba, part.factor(self.model.transition))[1])
            if abs(now - last) < tol:
                break
            last = now
        self.model.bias, self.tau = theta[:-1], tau

    def climb(self, max_iter=8):
        """A few steps of L-BFGS on the penalised likelihood over tau, c, b and D, at fixed T."""
        factor = self.factor(self.model.transition)
        theta = np.concatenate([self.D.ravel(), self.model.bias, self.model.curve, [self.tau]])
        options = {"maxiter": max_iter}
        found = minimize(self.loss, theta, (factor,), jac=True, method="L-BFGS-B", options=options)
        self.unpack(found.x)

    def unpack(self, theta):
        """Take over D, b, c and tau, written one after the other."""
        n_classes = len(self.model.bias)
        self.D = theta[: self.D.size].reshape(self.D.shape)
        self.model.bias, self.model.curve = theta[self.D.size : -1].reshape(2, n_classes)
        self.tau = float(theta[-1])
        if self.mixing:
            self.model.linear = self.D + self.tau * np.eye(*self.D.shape)
        else:
            self.model.linear = np.full((1, n_classes), self.tau)

    def loss(self, theta, factor):
        """Penalised negative log-likelihood per row at fixed T, and its gradient."""
        self.unpack(theta)
        proba = softmax(self.model._logits(self.s, self.squares))
        gamma, likelihood = self.posterior(proba, factor)
        residual = proba - gamma
        penalty = 0.5 * self.precision * np.sum(self.D**2)
        if self.mixing:
            g = to_numpy(self.xp.matmul(self.f, residual.T)).astype(np.float64)
            along = np.trace(g[: len(self.model.bias)])
        else:
            g, along = self.D, float(self.xp.sum(residual * self.s))
        gradient = [
            (g + self.precision * self.D).ravel(),
            _row_sums(residual),
            _row_sums(residual * self.squares),
            [along],
        ]
        return penalty / self.n - self.mean_log(likelihood), np.concatenate(gradient) / self.n

    def leave_one_out(self):
        """Q of each row without its own label, and the next precision of the prior of D.

        With the curvature E[f f^T] x E[g g^T] (g = q - gamma the gradient of a row), dropping a
        row moves its logits by sum_a (u_a' f)^2 / (e_a l_b + precision) along eigenvector b of
        the second factor.
        """
        xp = self.xp
        z = self.model._logits(self.s, self.squares)
        proba = softmax(z)
        if not self.mixing:
            return proba
        residual = proba
        residual -= self.posterior(proba, self.factor(self.model.transition))[0]
        outer = to_numpy(xp.matmul(residual, residual.T)).astype(np.float64) / self.n
        spread, vectors = np.linalg.eigh(outer)
        curvature = self.energy[:, None] * np.maximum(spread, 0)
        damping = cast_like((1 / (curvature + self.precision)).T, self.s)
        vectors = cast_like(vectors, self.s)
        along = xp.matmul(vectors.T, residual) * xp.matmul(damping, self.leverage)
        z += xp.matmul(vectors, along)
        size = max(float(np.sum(self.D**2)), 1e-12)
        for _ in range(3):
            used = float(np.sum(curvature / (curvature + self.precision)))
            self.precision = float(np.clip(used / size, 1e-2, 1e7))
        return softmax(z)

    def update_transition(self, proba, steps=3):
        """EM on T at fixed q; the priors are fitted to the first counts."""
        for step in range(steps):
            gamma, _ = self.posterior(proba, self.factor(self.model.transition))
            counts = self.counts(gamma)
            if step == 0:
                self.prior.fit(counts)
            self.model.transition = dominant(self.prior.transition(counts))

    def counts(self, gamma):
        """Expected number of noisy rows of each true class (row) and given label (column)."""
        if not self.noisy.all():
            gamma = gamma * cast_like(self.noisy[None, :].astype(np.float64), gamma)
        columns = [
            _row_sums(gamma[:, start:end])
            for start, end in zip(self.ends[:-1], self.ends[1:], strict=True)
        ]
        return np.stack(columns, axis=1)

    def in_caller_order(self, gamma):
        back = np.empty(self.n, np.int64)
        back[self.order] = np.arange(self.n)
        return take_rows(contiguous(gamma.T), back)


def _row_sums(x):
    xp = array_namespace(x)
    return to_numpy(xp.sum(x, axis=1, dtype=xp.float64))
