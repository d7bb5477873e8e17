"""The noise-transition model as fitted: class probabilities and posteriors of any rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skclean._array import array_namespace, cast_like, contiguous, from_numpy
from skclean._blocks import map_rows
from skclean.linalg.softmax import softmax

#: Powers of the probabilities that are tried where scores are logarithms of probabilities.
POWERS = (1.0, 0.5, 0.0)
#: Standardised scores are clipped to this: the square of those of a new row far out would overflow.
_FARTHEST = 1e15


@dataclass
class TransitionModel:
    """A fitted noise-transition model.

    Attributes
    ----------
    transition : ndarray of shape (C, C)
        T, P(given = column | true = row).
    center : ndarray of shape (C,)
    scale : float
        Standardisation of the scores.
    square_center : ndarray of shape (C, 1)
    square_scale : float
        Standardisation of their squares.
    linear : ndarray of shape (P, C) or (1, C)
        D, with tau M added to its first C rows; (1, C) is one factor for every class.
    curve : ndarray of shape (C,)
        c.
    bias : ndarray of shape (C,)
        b.
    precision : float
        Of the prior of D.
    log_likelihood : float
        Mean leave-one-out log-likelihood of the given labels, in nats.
    n_iter : int
        Rounds of the fit.
    converged : bool
        Whether the likelihood had settled.
    trace : list of float
        The log-likelihood after each round.
    support : float
        What noise adds to the log-likelihood of all labels, in nats, where few rows were fitted;
        -inf where that was too little to believe in it, of any number of rows.
    needed : float
        How many nats it takes to believe in it.
    separation : float
        Share of the variance of the scores between the predicted classes, likewise.
    least_share : float
        Least share of the noise that explains the labels as well, up to what the model of weak
        scores may be off; 1 where they are not weak.
    power : float or None
        None takes the scores as they are. Else they are logarithms of probabilities p, and
        (p^power - 1) / power (Box and Cox; log p at 0) takes their place.
    by_power : tuple of float
        The greatest log-likelihood with each of `POWERS`, or with the scores as they are.
    """

    transition: np.ndarray
    center: np.ndarray
    scale: float
    square_center: np.ndarray
    square_scale: float
    linear: np.ndarray
    curve: np.ndarray
    bias: np.ndarray
    precision: float = 0.0
    log_likelihood: float = np.nan
    n_iter: int = 0
    converged: bool = False
    trace: list = field(default_factory=list)
    support: float = np.inf
    needed: float = 0.0
    separation: float = 1.0
    least_share: float = 1.0
    power: float | None = None
    by_power: tuple[float, ...] = ()

    def class_proba(self, scores: Any) -> Any:
        """q, the probability of each true class from the scores alone.

        Parameters
        ----------
        scores : array of shape (n, C)

        Returns
        -------
        array of shape (n, C), float32
        """
        return self.posterior(scores, np.full(scores.shape[0], -1))

    def posterior(self, scores: Any, given: np.ndarray) -> Any:
        """gamma, the probability of each true class from the scores and the given label.

        Parameters
        ----------
        scores : array of shape (n, C)
        given : ndarray of shape (n,), int64
            -1 where the label is missing: the scores alone then.

        Returns
        -------
        array of shape (n, C), float32
        """

        def posterior(scores, given):
            s = self._standardise(scores)
            proba = softmax(self._logits(s, self._squares(s)))
            proba *= cast_like(np.where(given >= 0, self.transition[:, given], 1), proba)
            return (proba / array_namespace(s).sum(proba, axis=0)).T

        return map_rows(posterior, scores, given)

    def _standardise(self, scores):
        """Scores (n, C) as float32 of shape (C, n): classes first, so that sums run along rows."""
        xp = array_namespace(scores)
        centred = raised(scores, self.power) - from_numpy(self.center, scores)
        standard = xp.clip(centred / self.scale, -_FARTHEST, _FARTHEST)
        return contiguous(xp.astype(standard, xp.float32).T)

    def _squares(self, s):
        return (s**2 - cast_like(self.square_center, s)) / self.square_scale

    def _logits(self, s, squares):
        xp = array_namespace(s)
        n_classes = len(self.curve)
        linear = cast_like(self.linear.T, s)
        z = linear * s if linear.shape[1] == 1 else xp.matmul(linear[:, :n_classes], s)
        if linear.shape[1] > n_classes:
            z += xp.matmul(linear[:, n_classes:], squares)
        z += cast_like(self.curve[:, None], s) * squares
        z += cast_like(self.bias[:, None], s)
        return z


def raised(scores: Any, power: float | None) -> Any:
    """Scores in float64: as they are, or (p^power - 1) / power of their exponentials p."""
    xp = array_namespace(scores)
    scores = xp.astype(scores, xp.float64)
    return xp.expm1(power * scores) / power if power else scores
