"""Exemplar weights and label choices by the gradient of the loss on trusted (probe) rows (IEG).

One step of a head's optimiser is taken in thought,

    Theta'(omega, lambda) = Theta - step (momentum m + grad sum_i omega_i CE(P(lambda_i), p(x_i))),
    P(lambda_i) = lambda_i y_i + (1 - lambda_i) g_i,

m its momentum buffer, y the given labels and g the pseudo-labels. The loss L_p of the probe rows at
Theta' has, at omega_0 = 1 / B and lambda_0, the gradients

    dL_p/domega_i  = -step <G, grad CE(P(lambda_0)_i, p(x_i))>
                   = -step sum_c (p - P)_ic S_ic,
    dL_p/dlambda_i = -step omega_0 <G, grad CE(y_i, p(x_i)) - grad CE(g_i, p(x_i))>
                   = -step / B sum_c (g - y)_ic S_ic,

with G = grad L_p(Theta') and S (B, C) the change of the rows' logits at Theta along G: contractions
of what a batch has anyway.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._array import array_namespace, cast_like, take_rows, to_numpy
from skclean.evidence.head import FeatureScale, backward, cross_entropy_gradient, forward, tangent
from skclean.linalg.optim import Momentum
from skclean.linalg.softmax import softmax

#: Length of the look-ahead step and the momentum in it, whatever the learning rate is.
STEP, MOMENTUM = 0.1, 0.9
#: lambda_0: the look-ahead leans to the given labels.
GIVEN_SHARE = 0.9
#: Weights of the losses on mixed unlabelled rows and of the consistency of views.
MIXED_WEIGHT, CONSISTENCY_WEIGHT = 5.0, 20.0
#: A cycle of the schedule is that many times as long as the one before, and peaks that much lower.
CYCLE_GROWTH, PEAK_DECAY = 1.5, 0.9
WEIGHT_DECAY, AVERAGING = 5e-4, 0.999
#: Standard deviation of the noise of a row's second view, in units of the features' spread. Much
#: more, and only constant predictions are consistent.
VIEW_NOISE = 0.1


def pseudo_labels(logits: list[Any], temperature: float = 0.5) -> Any:
    """Sharpened mean prediction of the views of a batch (IEG equation 3).

    g = Pr^(1/T) / sum Pr^(1/T), Pr the mean over the views of softmax(logits / rms), rms the root
    mean square of a view's logits.

    Parameters
    ----------
    logits : list of arrays of shape (B, C)
        One for each view.
    temperature : float
        T; smaller is sharper.

    Returns
    -------
    array of shape (B, C)
    """
    xp = array_namespace(*logits)
    mean = sum(softmax(z / xp.sqrt(xp.mean(z**2) + 1e-8), axis=1) for z in logits) / len(logits)
    return softmax(xp.log(mean) / temperature, axis=1)


def look_ahead(params: list[Any], buffers: list[Any] | None, grads: list[Any]) -> list[Any]:
    """Theta' = Theta - STEP (MOMENTUM m + g)."""
    if buffers is not None:
        grads = [MOMENTUM * m + g for m, g in zip(buffers, grads, strict=True)]
    return [x - STEP * g for x, g in zip(params, grads, strict=True)]


def meta_gradients(
    params: list[Any],
    buffers: list[Any] | None,
    X: Any,
    given: Any,
    pseudo: Any,
    probe_X: Any,
    probe_given: Any,
) -> tuple[Any, Any]:
    """Gradients of the probe loss by the weights and the label choices of a batch.

    Parameters
    ----------
    params : list of arrays
        Theta, as in `skclean.evidence.head`.
    buffers : list of arrays or None
        m, the momentum of the optimiser; None before its first step.
    X : array of shape (B, d)
    given, pseudo : arrays of shape (B, C)
        One-hot given labels y and pseudo-labels g.
    probe_X : array of shape (M, d)
    probe_given : array of shape (M, C)
        Their labels, one-hot.

    Returns
    -------
    domega, dlambda : arrays of shape (B,)
        dL_p/domega and dL_p/dlambda at omega_0 = 1 / B, lambda_0 = `GIVEN_SHARE`, L_p the mean
        cross-entropy of the probe rows.
    """
    xp, n = array_namespace(X), X.shape[0]
    logits, H = forward(params, X)
    residual = softmax(logits, axis=1) - blend(given, pseudo)
    ahead = look_ahead(params, buffers, backward(params, X, H, residual / n))
    uniform = xp.full_like(probe_given[:, 0], 1 / probe_given.shape[0])
    S = tangent(params, cross_entropy_gradient(ahead, probe_X, probe_given, uniform), X, H)
    domega = -STEP * xp.sum(residual * S, axis=1)
    dlambda = -STEP / n * xp.sum((pseudo - given) * S, axis=1)
    return domega, dlambda


def blend(given: Any, pseudo: Any) -> Any:
    """P(lambda_0) of equation 5, shape (B, C)."""
    return GIVEN_SHARE * given + (1 - GIVEN_SHARE) * pseudo


def exemplar_weights(domega: Any) -> Any:
    """Omega* = relu(-dL_p/domega), divided by its sum plus 1e-5 (equation 2)."""
    xp = array_namespace(domega)
    omega = xp.clip(-domega, 0, None)
    return omega / (xp.sum(omega) + 1e-5)


def keep_given(dlambda: Any) -> Any:
    """lambda* = [sign(-dL_p/dlambda)]_+ (equation 6): 1 for the given label, 0 for the guess."""
    return array_namespace(dlambda).astype(dlambda < 0, dlambda.dtype)


@dataclass
class Coefficients:
    """What the training found out about its rows.

    Attributes
    ----------
    params : list of arrays
        The head, averaged over the steps.
    omega : ndarray of shape (n,)
        B omega* of a row, averaged over its batches; NaN if it was in none.
    choice : ndarray of shape (n,)
        lambda*, averaged likewise.
    """

    params: list
    omega: np.ndarray
    choice: np.ndarray


def train_head(
    params: list[Any],
    scale: FeatureScale,
    X: Any,
    given: np.ndarray,
    probe: tuple[np.ndarray, np.ndarray],
    *,
    n_cycles: int,
    cycle_length: int,
    learning_rate: float,
    batch_size: int,
    rng: np.random.RandomState,
) -> Coefficients:
    """Train a head by algorithm 1 of IEG, every row of the training treated as mislabelled.

    A step's loss, over a batch x of B rows, their noisy view x', B probe rows and their mixtures:

        (sum_i CE(y*_i, x_i) / B + sum_i omega*_i CE(P(lambda_0)_i, x_i)) / 2
        + CE(mixed probe rows) + 5 CE(mixed rows of x and x') + 20 KL(p(x) || p(x')).

    Parameters
    ----------
    params : list of arrays
        Where to start; see `skclean.evidence.head`.
    scale : FeatureScale
    X : array of shape (n, d)
    given : ndarray of shape (n,), int64
        -1 where a row is not to be trained on.
    probe : tuple of ndarray of shape (M,)
        Positions of the probe rows, and their labels.
    n_cycles, cycle_length : int
        Cycles of the cosine schedule, and steps of the first.
    learning_rate : float
        At the start of the first cycle.
    batch_size : int
    rng : numpy.random.RandomState

    Returns
    -------
    Coefficients
    """
    like, size, averaged, step = params[-1], batch_size, params, 0
    xp, optimiser = array_namespace(like), Momentum(learning_rate, 0.9, WEIGHT_DECAY)
    eye = cast_like(np.eye(like.shape[0]), like)
    draws, probes = _draws(np.flatnonzero(given >= 0), size, rng), ProbeRows(*probe)
    drawn, weights, choices = [], [], []

    def take(rows, codes):
        return scale(take_rows(X, rows)), take_rows(eye, codes)

    for cycle in range(n_cycles):
        length = round(cycle_length * CYCLE_GROWTH**cycle)
        for k in range(length):
            wave = (1 + np.cos(np.pi * k / length)) / 2
            optimiser.lr = float(learning_rate * PEAK_DECAY**cycle * wave)
            rows = next(draws)
            x, y = take(rows, given[rows])
            shift = VIEW_NOISE * scale.unit * rng.standard_normal(tuple(x.shape))
            view = x + cast_like(shift, like)
            logits = forward(params, x)[0]
            pseudo = pseudo_labels([logits, forward(params, view)[0]])
            anchors = take(*probes.interleaved(size, rng))
            domega, dlambda = meta_gradients(params, optimiser.buffers, x, y, pseudo, *anchors)
            omega, choice = exemplar_weights(domega), keep_given(dlambda)
            drawn.append(rows)
            weights.append(omega)
            choices.append(choice)
            loss = [
                supervised(x, y, pseudo, omega, choice),
                (view, softmax(logits, axis=1), CONSISTENCY_WEIGHT / size),
                *mixed(take(*probes.drawn(size, rng)), (x, pseudo), (view, pseudo), rng),
            ]
            params = optimiser.step(params, _gradient(params, loss))
            step += 1
            keep = min(AVERAGING, (1 + step) / (10 + step))
            averaged = [keep * a + (1 - keep) * b for a, b in zip(averaged, params, strict=True)]
    rows, n = np.concatenate(drawn), len(given)
    count = np.bincount(rows, minlength=n)
    omega, choice = (
        np.bincount(rows, to_numpy(xp.concat(values)), n) for values in (weights, choices)
    )
    with np.errstate(invalid="ignore"):
        return Coefficients(averaged, size * omega / count, choice / count)


def supervised(x: Any, y: Any, pseudo: Any, omega: Any, choice: Any) -> tuple[Any, Any, Any]:
    """(L_omega + L_lambda) / 2 of equation 8 as one cross-entropy: rows, targets and weights.

    Two cross-entropies of a row with fixed targets have the gradient of one with their weighted
    mean.

    Parameters
    ----------
    x : array of shape (B, d)
    y, pseudo : arrays of shape (B, C)
        One-hot given labels, and pseudo-labels.
    omega, choice : arrays of shape (B,)
        omega* and lambda*.
    """
    uniform, chosen = 0.5 / x.shape[0], choice[:, None]
    weight = uniform + 0.5 * omega
    star = chosen * y + (1 - chosen) * pseudo
    share = (uniform / weight)[:, None]
    return x, share * star + (1 - share) * blend(y, pseudo), weight


def mixed(
    anchors: tuple[Any, Any], first: tuple[Any, Any], second: tuple[Any, Any], rng: Any
) -> list[tuple[Any, Any, Any]]:
    """Mixtures of probe rows and rows of the batch with a permutation of both (equation 9).

    The share beta ~ Beta(1/2, 1/2) of a row is at least one half, so that rows stay what they are.

    Parameters
    ----------
    anchors, first, second : tuples of arrays of shape (B, d) and (B, C)
        Rows and their targets.
    rng : numpy.random.RandomState

    Returns
    -------
    list of (rows, targets, weight)
        L_beta^p and L_beta^u.
    """
    xp, size = array_namespace(first[0]), first[0].shape[0]
    beta = rng.beta(0.5, 0.5, size=(3 * size, 1))
    order, beta = rng.permutation(3 * size), cast_like(np.maximum(beta, 1 - beta), first[0])
    rows, targets = (
        beta * pool + (1 - beta) * take_rows(pool, order)
        for pool in (xp.concat(list(parts)) for parts in zip(anchors, first, second, strict=True))
    )
    return [
        (rows[:size, :], targets[:size, :], 1 / size),
        (rows[size:, :], targets[size:, :], MIXED_WEIGHT / (2 * size)),
    ]


class ProbeRows:
    """Rows whose label is believed, drawn class by class or at random.

    Parameters
    ----------
    rows, codes : ndarray of shape (M,), int64
        Positions and labels.
    """

    def __init__(self, rows: np.ndarray, codes: np.ndarray) -> None:
        order = np.argsort(codes, kind="stable")
        self.rows, self.codes = rows[order], codes[order]
        _, self.starts, self.counts = np.unique(self.codes, return_index=True, return_counts=True)

    def interleaved(self, size: int, rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """As many rows of each class, give or take one, drawn with replacement."""
        classes = (rng.randint(len(self.starts)) + np.arange(size)) % len(self.starts)
        within = (rng.random_sample(size) * self.counts[classes]).astype(np.int64)
        return self._at(self.starts[classes] + within)

    def drawn(self, size: int, rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """Rows drawn with replacement."""
        return self._at(rng.randint(len(self.rows), size=size))

    def _at(self, positions):
        return self.rows[positions], self.codes[positions]


def _draws(rows: np.ndarray, size: int, rng: Any) -> Iterator[np.ndarray]:
    """Batches of `size` rows for ever: one random order after the other."""
    order = np.empty(0, np.int64)
    while True:
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(rows)])
        yield order[:size]
        order = order[size:]


def _gradient(params, loss):
    """Gradient of a sum of cross-entropies [(rows, targets, weight), ...]."""
    xp = array_namespace(params[-1])
    weights = [w + xp.zeros_like(t[:, 0]) for _, t, w in loss]
    rows, targets = xp.concat([x for x, _, _ in loss]), xp.concat([t for _, t, _ in loss])
    return cross_entropy_gradient(params, rows, targets, xp.concat(weights))
