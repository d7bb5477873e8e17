"""The prior of a transition matrix, fitted to expected counts."""

import numpy as np
from scipy.special import gammaln

#: Strengths that are tried, in rows of data.
_STRENGTHS = np.geomspace(0.3, 1e6, 24)
#: Of more entries, every k-th row of the counts is looked at.
_MAX_ENTRIES = 200_000


class TransitionPrior:
    """Row y of T is an error rate r_y times a distribution over the other classes.

    r_y has a Beta prior around the common rate, the distribution a symmetric Dirichlet prior.
    Both strengths are those under which the counts are most likely (Pólya distributions).

    Attributes
    ----------
    rate_strength : float
        Rows of data that the Beta prior is worth: large where classes share one error rate.
    spread_strength : float
        Rows of data that the Dirichlet prior is worth: large where errors are uniform over the
        classes, small where each class has a few confusions.
    """

    rate_strength = 1e6
    spread_strength = 1e6

    def fit(self, counts: np.ndarray) -> None:
        """Choose both strengths.

        Parameters
        ----------
        counts : ndarray of shape (C, C)
            Expected number of rows of each true class and given label.
        """
        n_classes, total, errors = len(counts), counts.sum(axis=1), _errors(counts)
        rate, k = _common_rate(counts), _STRENGTHS[:, None]
        likelihood = (
            gammaln(k)
            - gammaln(k + total)
            + gammaln(k * rate + errors)
            - gammaln(k * rate)
            + gammaln(k * (1 - rate) + total - errors)
            - gammaln(k * (1 - rate))
        ).sum(axis=1)
        self.rate_strength = _STRENGTHS[int(np.argmax(likelihood))]
        step = -(-counts.size // _MAX_ENTRIES)
        others = counts[::step][~np.eye(n_classes, dtype=bool)[::step]]
        errors = errors[::step]
        likelihood = [
            np.sum(gammaln(k) - gammaln(k + errors))
            + np.sum(gammaln(k / (n_classes - 1) + others))
            - others.size * gammaln(k / (n_classes - 1))
            for k in _STRENGTHS
        ]
        self.spread_strength = _STRENGTHS[int(np.argmax(likelihood))]

    def transition(self, counts: np.ndarray) -> np.ndarray:
        """Posterior mean of T of shape (C, C) given the counts."""
        n_classes, errors = len(counts), _errors(counts)
        rate = errors + self.rate_strength * _common_rate(counts)
        rate /= counts.sum(axis=1) + self.rate_strength
        T = (counts + self.spread_strength / (n_classes - 1)) * (
            rate / (errors + self.spread_strength)
        )[:, None]
        np.fill_diagonal(T, 1 - rate)
        return T

    def share_left(self, counts: np.ndarray, k: int, taken: np.ndarray) -> np.ndarray:
        """Share of T_yk that is left once so much of a row is taken out of the counts of (y, k).

        The common rate and both strengths stay as they are.

        Parameters
        ----------
        counts : ndarray of shape (C, C)
        k : int
        taken : ndarray of shape (C, m)
            How much of each of m rows with the given label k counts in each true class.

        Returns
        -------
        ndarray of shape (C, m)
        """
        total, errors = counts.sum(axis=1)[:, None], _errors(counts)[:, None]
        rate, n_classes = _common_rate(counts), len(counts)

        def column(taken):
            off = errors - taken + self.rate_strength * rate
            off /= total - taken + self.rate_strength
            off *= np.maximum(counts[:, [k]] - taken, 0) + self.spread_strength / (n_classes - 1)
            off /= errors - taken + self.spread_strength
            wrong = (errors + self.rate_strength * rate) / (total - taken + self.rate_strength)
            off[k] = 1 - np.minimum(wrong[k], 1)
            return np.maximum(off, 0)

        return column(taken) / np.maximum(column(np.zeros_like(taken)), 1e-300)


def dominant(transition: np.ndarray) -> np.ndarray:
    """The matrix with no entry of a row above its diagonal: true labels are the likeliest."""
    T = transition.copy()
    diagonal, off = T.diagonal().copy(), T - np.diag(T.diagonal())
    top = off.max(axis=1)
    for y in np.flatnonzero(diagonal < top):
        T[y] = np.minimum(off[y], (diagonal[y] + top[y]) / 2)
        T[y, y] = top[y]
        T[y] /= T[y].sum()
    return T


def _errors(counts):
    return np.maximum(counts.sum(axis=1) - counts.diagonal(), 0)


def _common_rate(counts):
    return float(np.clip(_errors(counts).sum() / max(counts.sum(), 1e-12), 1e-9, 1 - 1e-9))
