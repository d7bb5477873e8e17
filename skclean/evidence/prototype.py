"""Class prototypes and the projector before them: the model of CPC."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import minimize

from skclean._array import array_namespace, cast_like, from_numpy, to_numpy
from skclean._blocks import map_rows, own_column, sum_blocks
from skclean.evidence.fit import log_proba
from skclean.evidence.head import column_limits
from skclean.linalg.softmax import softmax

#: Root mean square length that each part of the embedded rows is brought to.
_LENGTH = 10.0


@dataclass
class Embedding:
    """Rows as the projector sees them: centred features beside centred log-probabilities.

    Each part is brought to one root mean square length, so that neither unit nor offset of the
    features matters; features that are far larger than most are brought down to `column_limits`.

    Attributes
    ----------
    center : array of shape (d,), float64
    scale : array of shape (d,), float64
    proba_center : array of shape (C,), float64, or None
        None leaves the probabilities out.
    proba_scale : float
    """

    center: Any
    scale: Any
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
    center, squares, floor = _moments(features, lambda part: part)
    limits = column_limits(np.sqrt(squares))
    scale = cast_like(_scale(squares / limits**2, floor) / limits, center)
    if proba is None:
        return Embedding(center, scale)
    proba_center, squares, floor = _moments(proba, log_proba)
    return Embedding(center, scale, proba_center, _scale(squares, floor))


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
        return np.where(given < 0, np.nan, sigmoid(z, np))

    def class_proba(self, features: Any, proba: Any) -> np.ndarray:
        """Normalised geometric mean of `proba` and the softmax of the scores, (n, C), float32."""

        def together(features, proba):
            scores, xp = self.raw_scores(features, proba), array_namespace(proba)
            # The softmax of the sum of the halved logarithms; what normalises each of them cancels.
            both = softmax((scores + xp.log(xp.clip(proba, 1e-12, None))) / 2, axis=1)
            return to_numpy(both).astype(np.float32, copy=False)

        return map_rows(together, features, proba)


def init_prototypes(
    embedding: Embedding,
    n_classes: int,
    n_components: int,
    hidden_units: int | None,
    offset: float,
    rng: np.random.RandomState,
    start: Prototypes | None = None,
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
    start : Prototypes or None
        Whose parameters are taken where they are of the same shapes.
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
    if start is not None and [x.shape for x in params] == [tuple(x.shape) for x in start.params]:
        params = [to_numpy(x) for x in start.params]
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
        residual = sigmoid(x, np) - target
        value = np.mean(np.logaddexp(0, x) - target * x)
        return value, np.array([np.mean(residual * slope * z), residual.mean()])

    found = minimize(loss, np.zeros(2), jac=True, bounds=[(-5, 5), (-50, 50)], method="L-BFGS-B")
    return float(np.exp(found.x[0])), float(found.x[1])


def _moments(X, transform):
    """Means (d,), mean squares (d,) about them, and the sum of squares that is but rounding."""
    n = X.shape[0]

    def sums(X):
        xp = array_namespace(X)
        return (xp.sum(transform(xp.astype(X, xp.float64)), axis=0),)

    def squares(X):
        xp = array_namespace(X)
        return (xp.sum((transform(xp.astype(X, xp.float64)) - mean) ** 2, axis=0),)

    mean = sum_blocks(sums, X)[0] / n
    floor = 1e-24 * float(array_namespace(mean).sum(mean**2))
    return mean, to_numpy(sum_blocks(squares, X)[0]) / n, floor


def _scale(squares, floor):
    """The factor that brings centred rows to the length `_LENGTH`."""
    # Columns that are constant but for their last bits hold nothing to be magnified.
    total = float(squares.sum())
    return _LENGTH / total**0.5 if total > floor else 1.0


def sigmoid(z: Any, xp: Any) -> Any:
    """1 / (1 + exp(-z))."""
    # The bounds keep exp finite in float32.
    return 1 / (1 + xp.exp(xp.clip(-z, -80, 80)))
