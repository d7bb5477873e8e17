"""The climb of the likelihood of the noise-transition model, round by round."""

import copy
from dataclasses import replace

import numpy as np
from scipy.linalg import solve
from scipy.optimize import minimize

from skclean._array import array_namespace, cast_like, contiguous, from_numpy, take_rows, to_numpy
from skclean.decision.transition_model import TransitionModel, raised
from skclean.decision.transition_prior import TransitionPrior, dominant
from skclean.linalg.softmax import softmax

#: Up to that many classes, squares of all scores speak for every class.
QUADRATIC_CLASSES = 32
#: Up to that many classes, scores of the other classes speak for a class; beyond, that would be a
#: million parameters.
MIXING_CLASSES = 128
#: Ridge of the least-squares inverse of T that takes the noise out of the scores.
UNMIXING_RIDGE = 0.2
TINY = 1e-30
#: Values of a part of the rows that is worked on at a time: larger arrays come from the system
#: anew, page by page, and take longer than the work on them.
_PART = 1 << 18
#: Where the logarithm of tau ends: probabilities are 0 and 1 long before, and float32 holds it yet.
_MOST_LOG_TAU = 30.0
#: Scores that T starts from, at most.
_WARM_UP_SCORES = 1 << 21


class TransitionFit:
    """State of one fit: rows sorted by given label and trust, arrays classes first.

    The kind of a row is twice its label, one more where it is trusted: `ends` are the ends of each
    kind. `start` is a fit to some of the rows, from whose parameters this one goes on; `best` the
    state after the round that counts. Without `unmix`, M is the identity.
    """

    def __init__(self, scores, given, trusted, start=None, power=None, unmix=True):
        self.xp = array_namespace(scores)
        self.n, n_classes = scores.shape
        kind = 2 * given if trusted is None else 2 * given + trusted
        self.order = np.argsort(kind, kind="stable")
        self._sorted(kind[self.order], scores)
        self.held, self.best, self.unmix = False, None, unmix
        self.mixing = n_classes <= MIXING_CLASSES
        self.model = _standard(scores, power) if start is None else start.model
        self.model = replace(self.model, trace=[], n_iter=0, converged=False)
        self.s = self.model._standardise(take_rows(scores, self.order))
        if start is None:
            self._standardise_squares()
        self.squares = self.model._squares(self.s)
        self.tau, self.D, self.precision = 1.0, np.zeros((0, n_classes)), float(n_classes)
        if self.mixing:
            self.f = self.s
            if n_classes <= QUADRATIC_CLASSES:
                self.f = self.xp.concat([self.s, self.squares])
            self.D = np.zeros((self.f.shape[0], n_classes))
            gram = self.xp.matmul(self.f, self.f.T)
            values, self.directions = self.xp.linalg.eigh(gram)
            self.energy = np.maximum(to_numpy(values).astype(np.float64), 0)
            self.leverage = self.xp.matmul(self.directions.T, self.f) ** 2
        self.prior = TransitionPrior() if start is None else start.prior
        if start is not None:
            self.tau, self.D, self.precision = start.tau, start.D, start.precision

    def _sorted(self, kind, like):
        """Take over the kinds of the rows, sorted; where arrays are on a device, there."""
        self.ends = np.searchsorted(kind, np.arange(2 * like.shape[1] + 1))
        self.kind = None if isinstance(like, np.ndarray) else from_numpy(kind, like)

    def _standardise_squares(self):
        xp, squares = self.xp, self.xp.astype(self.s**2, self.xp.float64)
        mean = xp.mean(squares, axis=1, keepdims=True)
        self.model.square_center = to_numpy(mean)
        self.model.square_scale = float(xp.mean((squares - mean) ** 2)) ** 0.5 or 1.0

    def over_parts(self, function):
        """What a function makes of each part of the rows, a slice: of all at once on a device."""
        size = max(_PART // len(self.model.bias), 1) if isinstance(self.s, np.ndarray) else self.n
        return [function(slice(i, min(i + size, self.n))) for i in range(0, self.n, size)]

    def factor(self, transition, rows):
        """P(given_i | true = y) as (C, m): a column of T for noisy rows, the label for trusted."""
        counts = np.diff(self.ends_within(rows))
        kinds = np.flatnonzero(counts) if self.kind is None else np.arange(len(counts))
        columns, sure = transition[:, kinds // 2], np.flatnonzero(kinds % 2)
        columns[:, sure] = 0
        columns[kinds[sure] // 2, sure] = 1
        columns = cast_like(columns, self.s)
        if self.kind is None:
            return np.repeat(columns, counts[kinds], axis=1)
        return self.xp.take(columns, self.kind[rows], axis=1)

    def ends_within(self, rows):
        """The ends of each kind in a slice of the rows."""
        return np.clip(self.ends, rows.start, rows.stop) - rows.start

    def posterior(self, proba, factor):
        """Gamma (C, n) and the likelihood (n,) of the given labels."""
        gamma = proba * factor
        likelihood = self.xp.sum(gamma, axis=0) + TINY
        gamma /= likelihood
        return gamma, likelihood

    def sum_log(self, likelihood):
        """The sum of the logarithms of likelihoods, in float64."""
        return float(self.xp.sum(self.xp.astype(self.xp.log(likelihood), self.xp.float64)))

    def started(self, share):
        """The fit at its start from a share of the noise of uniformly random labels."""
        n_classes = len(self.model.bias)
        eye, rate = np.eye(n_classes), share * (1 - 1 / n_classes)
        return self.started_from(rate / (n_classes - 1) * (1 - eye) + (1 - rate) * eye)

    def started_from(self, transition, keep=False):
        """The fit at its start from a transition matrix, which the first steps may keep."""
        trial = copy.copy(self)
        trial.model = replace(self.model, transition=transition, trace=[])
        trial.prior = TransitionPrior()
        trial.warm_up(keep=keep)
        return trial

    def held_at(self, transition, near=None):
        """Hold T, and go on from a fit to the same scores: D is least with its mean diagonal 0."""
        self.model.transition, self.held = transition, True
        if near is not None:
            self.model.bias, self.model.curve = near.bias, near.curve
            self.tau, self.precision = float(np.mean(np.diag(near.linear))), near.precision
            self.D = near.linear - self.tau * np.eye(*self.D.shape)
        return self

    def rounds(self, max_iter, tol, patience=4):
        """Climb and update T, until there were so many rounds in all or the likelihood settles.

        Probabilities of a classifier, however, can predict the given labels with their noise: each
        round makes the labels that it sees likelier, but those left out only until D has begun to
        explain the noise away. Their best round counts, and so many after it end the fit.
        """
        model, trace = self.model, self.model.trace
        raw = model.power is None
        while model.n_iter < max_iter and not model.converged:
            self.climb()
            self.gamma = self.leave_one_out()
            if not self.held:
                self.update_transition(self.gamma)
            trace.append(sum(self.over_parts(self.into_posterior)) / self.n)
            model.n_iter = len(trace)
            since = 0 if raw else model.n_iter - 1 - int(np.argmax(trace))
            settled = len(trace) > 1 and abs(trace[-1] - trace[-2]) < tol
            model.converged = settled or since >= patience
            if not since:
                folded = self.mixing or not self.unmix
                linear = model.linear if folded else self.tau * self.unmixing
                self.best = None  # One of them at a time.
                self.best = copy.copy(self)
                self.best.prior = copy.copy(self.prior)
                self.best.model = replace(
                    model, linear=linear, precision=self.precision, log_likelihood=trace[-1]
                )

    def warm_up(self, max_rows=5000, max_iter=12, tol=1e-3, keep=False):
        """T from tau and b alone, on a part of the rows: D would first explain the noise away."""
        max_rows = min(max_rows, _WARM_UP_SCORES // len(self.model.bias))
        step = max(1, self.n // max_rows)
        part = copy.copy(self)
        part.s = contiguous(self.s[:, ::step])
        kind = np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))[::step]
        part.n, n_classes = len(kind), len(self.model.bias)
        part._sorted(kind, part.s.T)
        theta, last = np.append(np.zeros(n_classes), 0.0), -np.inf
        for _ in range(max_iter):
            transition = self.model.transition

            def loss(theta, transition=transition):
                # The first steps of a search may go far out, where exp would overflow.
                tau = float(np.exp(min(theta[-1], _MOST_LOG_TAU)))
                bias = cast_like(theta[:-1, None], part.s)

                def sums(rows):
                    proba = softmax(tau * part.s[:, rows] + bias)
                    factor = part.factor(transition, rows)
                    gamma, likelihood = part.posterior(proba, factor)
                    residual = proba - gamma
                    along = _row_products(residual, part.s[:, rows])
                    return part.sum_log(likelihood), _row_sums(residual), tau * np.sum(along)

                total, *gradient = (sum(x) for x in zip(*part.over_parts(sums), strict=True))
                return -total / part.n, np.append(*gradient) / part.n

            found = minimize(loss, theta, jac=True, method="L-BFGS-B", options={"maxiter": 4})
            theta = found.x
            tau = float(np.exp(min(theta[-1], _MOST_LOG_TAU)))
            part.gamma = softmax(tau * part.s + cast_like(theta[:-1, None], part.s))
            if not keep:
                part.update_transition(part.gamma)
            now = sum(part.over_parts(part.into_posterior)) / part.n
            if abs(now - last) < tol:
                break
            last = now
        self.model.bias, self.tau = theta[:-1], tau

    def climb(self, max_iter=8):
        """A few steps of L-BFGS on the penalised likelihood over tau, c, b and D, at fixed T."""
        transition = self.model.transition
        self.unmixing = _unmixing(transition) if self.unmix else np.eye(len(transition))
        # Where D = 0, one product a climb, not one for each of its steps.
        self.unmixed = self.s
        if self.unmix and not self.mixing:
            self.unmixed = self.xp.matmul(cast_like(self.unmixing.T, self.s), self.s)
        theta = np.concatenate([self.D.ravel(), self.model.bias, self.model.curve, [self.tau]])
        options = {"maxiter": max_iter}
        found = minimize(self.loss, theta, jac=True, method="L-BFGS-B", options=options)
        self.unpack(found.x)

    def unpack(self, theta):
        """Take over D, b, c and tau, written one after the other."""
        n_classes = len(self.model.bias)
        self.D = theta[: self.D.size].reshape(self.D.shape)
        self.model.bias, self.model.curve = theta[self.D.size : -1].reshape(2, n_classes)
        self.tau = float(theta[-1])
        if self.mixing:
            self.model.linear = self.D.copy()
            self.model.linear[:n_classes] += self.tau * self.unmixing
        else:
            self.model.linear = np.full((1, n_classes), self.tau)

    def loss(self, theta):
        """Penalised negative log-likelihood per row at fixed T, and its gradient."""
        self.unpack(theta)

        def sums(rows):
            squares, unmixed = self.squares[:, rows], self.unmixed[:, rows]
            proba = softmax(self.model._logits(unmixed, squares))
            gamma, likelihood = self.posterior(proba, self.factor(self.model.transition, rows))
            residual = proba - gamma
            if self.mixing:
                g = to_numpy(self.xp.matmul(self.f[:, rows], residual.T)).astype(np.float64)
            else:
                g = np.sum(_row_products(residual, unmixed))
            curve = _row_products(residual, squares)
            return self.sum_log(likelihood), g, _row_sums(residual), curve

        total, g, *gradient = (sum(x) for x in zip(*self.over_parts(sums), strict=True))
        along = np.sum(g[: len(self.model.bias)] * self.unmixing) if self.mixing else g
        penalty = 0.5 * self.precision * np.sum(self.D**2)
        from_d = (g if self.mixing else 0) + self.precision * self.D
        gradient = np.concatenate([from_d.ravel(), *gradient, [along]])
        return (penalty - total) / self.n, gradient / self.n

    def leave_one_out(self):
        """Q of each row without its own label, and the next precision of the prior of D.

        With the curvature E[f f^T] x E[g g^T] (g = q - gamma the gradient of a row), dropping a
        row moves its logits by sum_a (u_a' f)^2 / (e_a l_b + precision) along eigenvector b of
        the second factor.
        """
        xp, z, transition = self.xp, self.xp.empty_like(self.s), self.model.transition
        residual = xp.empty_like(z) if self.mixing else None

        def fitted(rows):
            z[:, rows] = self.model._logits(self.unmixed[:, rows], self.squares[:, rows])
            proba = softmax(z[:, rows])
            if not self.mixing:
                z[:, rows] = proba
                return 0
            g = proba - self.posterior(proba, self.factor(transition, rows))[0]
            residual[:, rows] = g
            return to_numpy(xp.matmul(g, g.T)).astype(np.float64)

        outer = sum(self.over_parts(fitted))
        if not self.mixing:
            return z
        spread, vectors = np.linalg.eigh(outer / self.n)
        curvature = self.energy[:, None] * np.maximum(spread, 0)
        damping = cast_like((1 / (curvature + self.precision)).T, self.s)
        vectors = cast_like(vectors, self.s)

        def moved(rows):
            along = xp.matmul(vectors.T, residual[:, rows])
            along *= xp.matmul(damping, self.leverage[:, rows])
            z[:, rows] = softmax(z[:, rows] + xp.matmul(vectors, along))

        self.over_parts(moved)
        size = max(float(np.sum(self.D**2)), 1e-12)
        for _ in range(3):
            used = float(np.sum(curvature / (curvature + self.precision)))
            self.precision = float(np.clip(used / size, 1e-2, 1e7))
        return z

    def update_transition(self, proba, steps=3):
        """EM on T at fixed q; the priors are fitted to the first counts."""
        for step in range(steps):
            transition = self.model.transition

            def gamma(rows, transition=transition):
                return self.posterior(proba[:, rows], self.factor(transition, rows))[0]

            counts = self.counts(gamma)
            if step == 0:
                self.prior.fit(counts)
            self.model.transition = dominant(self.prior.transition(counts))

    def into_posterior(self, rows):
        """Write gamma of some rows over their q; the sum of the logarithms of their likelihoods."""
        factor = self.factor(self.model.transition, rows)
        self.gamma[:, rows], likelihood = self.posterior(self.gamma[:, rows], factor)
        return self.sum_log(likelihood)

    def counts(self, gamma):
        """Expected number of noisy rows of each true class (row) and given label (column).

        `gamma` gives the posteriors (C, m) of a slice of the rows.
        """
        counts = np.zeros((len(self.model.bias),) * 2)

        def count(rows):
            part, ends = gamma(rows), self.ends_within(rows)
            present = np.flatnonzero(np.diff(ends))
            if isinstance(part, np.ndarray):
                sums = np.add.reduceat(part, ends[present], axis=1, dtype=np.float64)
            else:
                pairs = zip(ends[present], ends[present + 1], strict=True)
                sums = np.stack([_row_sums(part[:, i:j]) for i, j in pairs], axis=1)
            noisy = present % 2 == 0
            counts[:, present[noisy] // 2] += sums[:, noisy]

        self.over_parts(count)
        return counts

    def left_out_of_transition(self):
        """The mean log-likelihood, each row left out of the counts behind T as well as out of q."""
        counts, change = self.counts(lambda rows: self.gamma[:, rows]), 0.0
        for k, (start, end) in enumerate(zip(self.ends[:-1:2], self.ends[1::2], strict=True)):
            gamma = to_numpy(self.gamma[:, start:end]).astype(np.float64)
            left = np.sum(gamma * self.prior.share_left(counts, k, gamma), axis=0)
            change += float(np.sum(np.log(left + TINY)))
        return self.model.log_likelihood + change / self.n

    def in_caller_order(self, gamma):
        """Gamma (C, n) as rows (n, C) in the order in which they came."""
        back = np.empty(self.n, np.int64)
        back[self.order] = np.arange(self.n)
        return take_rows(contiguous(gamma.T), back)


def _unmixing(transition):
    """M of trace C by which s M is next to p in least squares, where scores s are next to p T."""
    n_classes = len(transition)
    square = transition @ transition.T + UNMIXING_RIDGE * np.eye(n_classes)
    unmixing = solve(square, transition, assume_a="pos").T
    return unmixing * (n_classes / np.trace(unmixing))


def _row_sums(x):
    """Sums along the rows of a part: by a product, which is faster than a sum in float64."""
    xp = array_namespace(x)
    return to_numpy(xp.matmul(x, xp.ones_like(x[0, :]))).astype(np.float64)


def _row_products(x, y):
    """Products of each row of a part with the same row of another."""
    return to_numpy(array_namespace(x).vecdot(x, y)).astype(np.float64)


def _standard(scores, power):
    """A model that standardises these scores, but not yet their squares, and says nothing else."""
    xp, n_classes = array_namespace(scores), scores.shape[1]
    rows = raised(scores, power)
    center = to_numpy(xp.mean(rows, axis=0))
    return TransitionModel(
        transition=np.eye(n_classes),
        center=center,
        scale=float(xp.mean((rows - from_numpy(center, rows)) ** 2)) ** 0.5 or 1.0,
        square_center=np.zeros((n_classes, 1)),
        square_scale=1.0,
        linear=np.ones((1, n_classes)),
        curve=np.zeros(n_classes),
        bias=np.zeros(n_classes),
        power=power,
    )
