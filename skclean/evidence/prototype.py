"""Class prototypes under the supervision of a loss mixture: the kernels of CPC."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize

from skclean._array import (
    array_namespace,
    beside,
    device,
    from_numpy,
    take_rows,
    to_numpy,
)
from skclean._blocks import map_rows, own_column, sum_blocks
from skclean.evidence.fit import log_proba
from skclean.linalg.optim import Momentum, batches

#: Root mean square length that each part of the embedded rows is brought to.
_LENGTH = 10.0
#: No row weighs more than this many times the average one, so that no single row makes a step.
MAX_WEIGHT = 10.0
#: Longer gradients are shortened to this: a hidden layer diverges else where features are few.
_MAX_GRADIENT = 2.0
#: Steps of one training end here, however many rows there are.
_MAX_STEPS = 2000
#: At least so many batches an epoch, by smaller batches where rows are few.
_MIN_BATCHES = 32


@dataclass
class Embedding:
    """Rows as the projector sees them: centred features beside centred log-probabilities.

    Each part is brought to one root mean square length, so that neither unit nor offset of the
    features matters.

    Attributes
    ----------
    center : array of shape (d,), float64
    scale : float
    proba_center : array of shape (C,), float64, or None
        None leaves the probabilities out.
    proba_scale : float
    """

    center: Any
    scale: float
    proba_center: Any = None
    proba_scale: float = 1.0

    def __call__(self, features: Any, proba: Any) -> Any:
        """Map rows (b, d) and their probabilities (b, C) to float32 (b, d + C), or (b, d)."""
        xp = array_namespace(features)
        part = (xp.astype(features, xp.float64) - self.center) * self.scale
        if self.proba_center is not None:
            scores = log_proba(xp.astype(proba, xp.float64)) - self.proba_center
            part = xp.concat([part, scores * self.proba_scale], axis=1)
        return xp.astype(part, xp.float32)


def fit_embedding(features: Any, proba: Any = None) -> Embedding:
    """Centre and scale of features (n, d) and, if given, of log-probabilities (n, C)."""
    center, scale = _moments(features, lambda part: part)
    if proba is None:
        return Embedding(center, scale)
    return Embedding(center, scale, *_moments(proba, log_proba))


@dataclass
class Prototypes:
    """A projector v(x) and class prototypes c_k; the score of a pair is sigmoid(z_k).

    z_k = slope (v c_k + offset) + intercept.

    Attributes
    ----------
    embedding : Embedding
    params : list of arrays, float32
        [hidden weights (d, h), hidden bias (h,),] weights (h or d, p), bias (p,) and prototypes
        (C, p).
    offset : float
        Of the scores in training.
    slope, intercept : float
        What `calibrate` finds.
    """

    embedding: Embedding
    params: list = field(repr=False)
    offset: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def prototypes(self) -> Any:
        """The c_k, shape (C, p)."""
        return self.params[-1]

    def project(self, features: Any, proba: Any) -> Any:
        """Projections of rows (b, d) and their probabilities (b, C): shape (b, p)."""
        return project(self.params, self.embedding(features, proba))[0]

    def raw_scores(self, features: Any, proba: Any) -> Any:
        """Scores v c_k + offset of a block of rows, shape (b, C), float32."""
        xp = array_namespace(features)
        return xp.matmul(self.project(features, proba), self.params[-1].T) + self.offset

    def given_scores(self, features: Any, proba: Any, given: np.ndarray) -> np.ndarray:
        """Scores v c_given + offset, shape (n,), float64; 0 where `given` is -1."""

        def scores(features, proba, given):
            z = to_numpy(own_column(self.raw_scores(features, proba), np.maximum(given, 0)))
            return np.where(given < 0, 0, z.astype(np.float64))

        return map_rows(scores, features, proba, given)

    def clean_proba(self, features: Any, proba: Any, given: np.ndarray) -> np.ndarray:
        """Score sigmoid(z_given) of each row, shape (n,); NaN where `given` is -1."""
        z = self.slope * self.given_scores(features, proba, given) + self.intercept
        return np.where(given < 0, np.nan, _sigmoid(z, np))


def init_prototypes(
    embedding: Embedding,
    n_classes: int,
    n_components: int,
    hidden_units: int | None,
    offset: float,
    rng: np.random.RandomState,
) -> Prototypes:
    """Random projector and prototypes; biases are zero.

    Parameters
    ----------
    embedding : Embedding
    n_classes, n_components : int
        C and p.
    hidden_units : int or None
        Rectified linear units between the rows and the projection; None projects linearly.
    offset : float
    rng : numpy.random.RandomState
    """
    width = embedding.center.shape[0]
    width += 0 if embedding.proba_center is None else embedding.proba_center.shape[0]
    sizes = [width, n_components] if hidden_units is None else [width, hidden_units, n_components]
    params = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        gain = 2 if i < len(sizes) - 2 else 1
        params.append(rng.standard_normal((fan_in, fan_out)) * (gain / fan_in) ** 0.5)
        params.append(np.zeros(fan_out))
    params.append(rng.standard_normal((n_classes, n_components)) / n_components**0.5)
    like = embedding.center
    params = [from_numpy(x.astype(np.float32), like) for x in params]
    return Prototypes(embedding, params, offset)


def project(params: list, X: Any) -> tuple[Any, Any]:
    """V (b, p) of embedded rows (b, d), and what enters the last layer: (b, h) or X itself."""
    xp, inner = array_namespace(X), X
    if len(params) == 5:
        inner = xp.clip(xp.matmul(X, params[0]) + params[1], 0, None)
    return xp.matmul(inner, params[-3]) + params[-2], inner


def projection_gradient(params: list, X: Any, V: Any, inner: Any, slope: Any) -> list:
    """Gradients of all parameters by that of the scores V C^T, `slope` of shape (b, C)."""
    xp = array_namespace(X)
    down = xp.matmul(slope, params[-1])
    grads = [xp.matmul(inner.T, down), xp.sum(down, axis=0), xp.matmul(slope.T, V)]
    if len(params) == 5:
        down = xp.matmul(down, params[-3].T) * xp.astype(inner > 0, X.dtype)
        grads = [xp.matmul(X.T, down), xp.sum(down, axis=0), *grads]
    return grads


@dataclass
class PairWeights:
    """What each row adds to L_C (equation 5); the sums stand for the averages of equations 2-4.

    Attributes
    ----------
    positive : array of shape (n,)
        Of (row, given) drawn together and (row, other class) pushed apart: X^GMM, equation 2.
    negative : array of shape (n,)
        Of (row, given) pushed apart: U^GMM, equation 3.
    confident : array of shape (n,)
        Of (row, predicted) drawn together: X^P, equation 4, times alpha.
    """

    positive: Any
    negative: Any
    confident: Any

    def beside(self, like: Any) -> "PairWeights":
        """The weights in the library and on the device of an array."""
        return PairWeights(
            *(beside(w, like) for w in (self.positive, self.negative, self.confident))
        )

    def pairs(
        self, rows: Any, given: Any, predicted: Any, lambda_neg: float, like: Any
    ) -> tuple[Any, Any]:
        """Weights P, N (b, C) of the pairs of some rows, of the library and shape of `like`.

        L_C is the sum over rows and classes of -P log sigmoid(z) - N log(1 - sigmoid(z)).
        """
        xp, at = array_namespace(like), from_numpy(rows, like)
        classes = xp.arange(like.shape[1], device=device(like))[None, :]

        def column(x):
            return xp.take(beside(x, like), at, axis=0)[:, None]

        own, best = (xp.astype(column(k) == classes, like.dtype) for k in (given, predicted))
        a, b, e = (
            xp.astype(column(w), like.dtype) for w in (self.positive, self.negative, self.confident)
        )
        return a * own + e * best, b * own + lambda_neg * a * (1 - own)


def pair_loss(scores: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    """-P log sigmoid(z) - N log(1 - sigmoid(z)), summed, and its gradient by z.

    Parameters
    ----------
    scores : array of shape (b, C)
        z, one for each pair of a row and a class.
    positive, negative : array of shape (b, C)
        P and N, of at least 0.

    Returns
    -------
    loss : array of shape ()
    gradient : array of shape (b, C)
        N sigmoid(z) - P sigmoid(-z).
    """
    xp = array_namespace(scores)
    tail = xp.log1p(xp.exp(-xp.abs(scores)))
    loss = positive * (xp.clip(-scores, 0, None) + tail)
    loss += negative * (xp.clip(scores, 0, None) + tail)
    score = _sigmoid(scores, xp)
    return xp.sum(loss), negative * score - positive * (1 - score)


def confident_rows(
    proba: Any, given: np.ndarray, clean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """X^P: the rows of U^GMM that are surer of their class than X^GMM is on average (CPC 4.2).

    Parameters
    ----------
    proba : array of shape (n, C)
    given : ndarray of shape (n,), int64
    clean : ndarray of shape (n,), bool
        Membership in X^GMM; the others are U^GMM.

    Returns
    -------
    chosen : ndarray of shape (n,), bool
        p_k > mean of p_k over the rows of X^GMM of given label k, k the predicted class; never
        where no row of X^GMM has that label.
    predicted : ndarray of shape (n,), int64
        k.
    """
    xp, n_classes = array_namespace(proba), proba.shape[1]
    predicted = to_numpy(xp.argmax(proba, axis=1)).astype(np.int64)
    confidence = to_numpy(xp.max(proba, axis=1)).astype(np.float64)
    codes = from_numpy(given[:, None], proba)
    of_given = to_numpy(xp.take_along_axis(proba, codes, axis=1))[:, 0][clean]
    count = np.bincount(given[clean], minlength=n_classes)
    total = np.bincount(given[clean], weights=of_given, minlength=n_classes)
    average = np.where(count > 0, total / np.maximum(count, 1), np.inf)
    return ~clean & (confidence > average[predicted]), predicted


def pair_weights(
    clean: np.ndarray,
    confident: np.ndarray,
    importance: np.ndarray,
    alpha: float,
    limit: float = np.inf,
) -> PairWeights:
    """The averages of equations 2-4 as weights.

    Parameters
    ----------
    clean : ndarray of shape (n,)
        Share of each row that belongs to X^GMM: 0 or 1 for a hard partition, the posterior for a
        soft one (the expectation of equation 14).
    confident : ndarray of shape (n,), bool
        Membership in X^P.
    importance : ndarray of shape (n,)
        Of the rows in the averages over X^GMM and U^GMM; ones for the paper's.
    alpha : float
    limit : float
        No weight is more than this many times that of a row in an average over all.
    """

    def average(share):
        total = share.sum()
        return np.minimum(share / total if total > 0 else share, limit / len(share))

    confident = alpha * average(confident.astype(np.float64))
    return PairWeights(average(importance * clean), average(importance * (1 - clean)), confident)


def train_prototypes(
    model: Prototypes,
    features: Any,
    proba: Any,
    rows: np.ndarray,
    given: np.ndarray,
    predicted: np.ndarray,
    weights: PairWeights,
    *,
    lambda_neg: float,
    n_epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    rng: np.random.RandomState,
) -> tuple[Prototypes, int]:
    """Minimise L_C (equation 5) by stochastic gradient descent with momentum 0.9.

    The learning rate falls linearly to 0. Few rows come in smaller batches, at least 32 an epoch,
    and 2,000 steps are the most.

    Parameters
    ----------
    model : Prototypes
        Where to start; it is not written to.
    features : array of shape (n, d)
    proba : array of shape (n, C)
    rows : ndarray of shape (m,), int64
        Positions of the rows that take part.
    given, predicted : ndarray of shape (m,), int64
    weights : PairWeights
        Of m rows.
    lambda_neg : float
        Weight of the pairs of a row of X^GMM with a class that is not its own.
    n_epochs, batch_size : int
    learning_rate, weight_decay : float
    rng : numpy.random.RandomState
        Orders the rows.

    Returns
    -------
    model : Prototypes
    n_steps : int
    """
    n, params = len(given), model.params
    given, predicted = (beside(codes, params[-1]) for codes in (given, predicted))
    weights = weights.beside(params[-1])
    batch_size = min(batch_size, max(n // _MIN_BATCHES, 8))
    n_steps = min(n_epochs * -(-n // batch_size), _MAX_STEPS)
    optimiser, step = Momentum(learning_rate, 0.9, weight_decay), 0
    while step < n_steps:
        for batch in batches(n, batch_size, rng):
            at = rows[batch]
            X = model.embedding(take_rows(features, at), take_rows(proba, at))
            V, inner = project(params, X)
            scores = array_namespace(X).matmul(V, params[-1].T) + model.offset
            positive, negative = weights.pairs(batch, given, predicted, lambda_neg, scores)
            slope = pair_loss(scores, positive, negative)[1] * (n / len(batch))
            optimiser.lr = learning_rate * (1 - step / n_steps)
            grads = projection_gradient(params, X, V, inner, slope)
            params = optimiser.step(params, _shortened(grads))
            step += 1
            if step == n_steps:
                break
    return replace(model, params=params), n_steps


def calibrate(scores: np.ndarray, target: np.ndarray, max_rows: int = 100_000) -> tuple:
    """Slope > 0 and intercept of least cross-entropy of sigmoid(slope z + intercept).

    Brings the scores of the given labels to the scale of the mixture's posteriors, which trained
    them; their order stays.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        z.
    target : ndarray of shape (n,), values in [0, 1]
    max_rows : int
        So many rows, evenly spaced, are enough.

    Returns
    -------
    slope, intercept : float
    """
    rows = slice(None, None, -(-len(scores) // max_rows))
    z, target = scores[rows], np.clip(target[rows], 1e-3, 1 - 1e-3)

    def loss(at):
        slope = np.exp(at[0])
        x = slope * z + at[1]
        residual = _sigmoid(x, np) - target
        value = np.mean(np.logaddexp(0, x) - target * x)
        return value, np.array([np.mean(residual * slope * z), residual.mean()])

    found = minimize(loss, np.zeros(2), jac=True, bounds=[(-5, 5), (-50, 50)], method="L-BFGS-B")
    return float(np.exp(found.x[0])), float(found.x[1])


def _shortened(grads):
    """The gradients, together of length `_MAX_GRADIENT` at most."""
    xp = array_namespace(*grads)
    length = xp.sqrt(sum(xp.sum(g**2) for g in grads))
    factor = _MAX_GRADIENT / xp.clip(length, _MAX_GRADIENT, None)
    return [g * factor for g in grads]


def _moments(X, transform):
    """Column means, and the factor that brings centred rows to the length `_LENGTH`."""
    n = X.shape[0]

    def sums(X):
        xp = array_namespace(X)
        return (xp.sum(transform(xp.astype(X, xp.float64)), axis=0),)

    def squares(X):
        xp = array_namespace(X)
        return (xp.sum((transform(xp.astype(X, xp.float64)) - mean) ** 2),)

    mean = sum_blocks(sums, X)[0] / n
    square = float(sum_blocks(squares, X)[0]) / n
    # Columns that are constant but for their last bits hold nothing to be magnified.
    floor = 1e-24 * float(array_namespace(mean).sum(mean**2))
    return mean, _LENGTH / square**0.5 if square > floor else 1.0


def _sigmoid(z, xp):
    # The bounds keep exp finite in float32.
    return 1 / (1 + xp.exp(xp.clip(-z, -80, 80)))
