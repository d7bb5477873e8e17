"""The training of class prototypes under the supervision of a loss mixture (CPC)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skclean._array import array_namespace, beside, device, from_numpy, take_rows, to_numpy
from skclean._blocks import map_rows, own_column
from skclean.evidence.prototype import Prototypes, project, projection_gradient, sigmoid
from skclean.linalg.optim import Momentum, batches

#: Given labels of at least this share of the greatest perplexity count as of balanced classes.
_BALANCED = 0.8
#: No row weighs more than this many times the average one, so that no single row makes a step.
MAX_WEIGHT = 10.0
#: Longer gradients are shortened to this: a hidden layer diverges else where features are few.
_MAX_GRADIENT = 2.0
#: Steps of one training end here, however many rows there are.
_MAX_STEPS = 2000
#: At least so many batches an epoch, by smaller batches where rows are few.
_MIN_BATCHES = 32


def class_prior(proba: Any, share: np.ndarray, kind: str) -> np.ndarray | None:
    """The prior that the losses are to be freed of: the mean of the probabilities, or None.

    Parameters
    ----------
    proba : array of shape (n, C)
    share : ndarray of shape (C,)
        Of the given labels.
    kind : {"uniform", "given", "auto"}
        "uniform" frees, "given" does not, "auto" does where the perplexity of the given labels is
        at least 0.8 C.

    Returns
    -------
    ndarray of shape (C,), float64, or None
    """
    held = share[share > 0]
    perplexity = np.exp(-np.sum(held * np.log(held)))
    if kind == "given" or (kind == "auto" and perplexity < _BALANCED * len(share)):
        return None
    xp = array_namespace(proba)
    return np.maximum(to_numpy(xp.sum(proba, axis=0, dtype=xp.float64)) / proba.shape[0], 1e-6)


def loss_of_given(proba: Any, given: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
    """-log p_given of each row, p first freed of a class prior: p_k / prior_k, normalised.

    Parameters
    ----------
    proba : array of shape (n, C)
    given : ndarray of shape (n,), int64
    prior : ndarray of shape (C,) or None

    Returns
    -------
    ndarray of shape (n,), float64
    """
    prior = np.ones(1) if prior is None else prior

    def loss(proba, given):
        xp = array_namespace(proba)
        part = xp.astype(proba, xp.float64) / xp.astype(from_numpy(prior, proba), xp.float64)
        chosen = own_column(part, given) / xp.sum(part, axis=1)
        return to_numpy(-xp.log(xp.clip(chosen, 1e-12, None)))

    return map_rows(loss, proba, given)


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
    score = sigmoid(scores, xp)
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


def _shortened(grads):
    """The gradients, together of length `_MAX_GRADIENT` at most."""
    xp = array_namespace(*grads)
    length = xp.sqrt(sum(xp.sum(g**2) for g in grads))
    factor = _MAX_GRADIENT / xp.clip(length, _MAX_GRADIENT, None)
    return [g * factor for g in grads]
