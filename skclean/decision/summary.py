"""What a cleaner found out about a set of labels, in a few numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skclean._blocks import map_rows, sum_blocks

#: Labels look clean where at most this share of them is flagged, and at most `DOUBTED_SHARE` of
#: them is expected to be wrong.
CLEAN_SHARE = 0.01
DOUBTED_SHARE = 0.05
#: Calibration error of clean_proba that the benchmarks show on noise that the model describes.
MODEL_ERROR = 0.02


@dataclass(frozen=True)
class LabelAudit:
    """Whether cleaning is worth it.

    Attributes
    ----------
    n_labels : int
        Rows with a given label that was judged.
    n_wrong : float
        Expected number of wrong labels, the sum of 1 - clean_proba.
    interval : tuple of float
        Range of the number of wrong labels: two standard deviations of the sum, and `MODEL_ERROR`
        of the rows for the calibration error of clean_proba that is usual. It has no confidence
        level: on noise that the model does not describe, the error is larger.
    n_flagged : int
        Rows whose label was not kept.
    looks_clean : bool
        Whether at most 1 % of the labels were flagged, and at most 5 % are expected to be wrong.
    worst_classes : list of tuple of (label, float)
        Up to five classes by expected share of wrong labels among the rows given that label.
    informative : bool
        Whether anything can be said: the evidence predicts the given labels, and is not too weak,
        or the rows too few, to tell wrong ones from overlapping classes.
    n_doubtful : float
        Labels that the evidence does not predict, where it is too weak to tell whether they are
        wrong or the classes overlap; else 0.
    """

    n_labels: int
    n_wrong: float
    interval: tuple[float, float]
    n_flagged: int
    looks_clean: bool
    worst_classes: list
    informative: bool = True
    n_doubtful: float = 0.0

    def __str__(self) -> str:
        """The audit in a few lines."""
        low, high = self.interval
        if self.n_doubtful:
            return (
                "The evidence is too weak to tell wrong labels from overlapping classes: up to "
                f"about {self.n_doubtful:.0f} of these {self.n_labels} labels may be wrong. "
                "Verified labels, passed as trusted, more rows or better features would tell."
            )
        if not self.informative:
            return (
                f"The evidence does not predict these {self.n_labels} labels better than their "
                "frequencies do: nothing can be said about which are wrong."
            )
        if self.looks_clean:
            return (
                f"Your labels look clean: {self.n_flagged} of {self.n_labels} flagged; cleaning is "
                "not worth it."
            )
        worst = ", ".join(
            f"{' '.join(str(label).split())} {100 * share:.0f} %"
            for label, share in self.worst_classes
        )
        return (
            f"About {self.n_wrong:.0f} of {self.n_labels} labels are wrong "
            f"({100 * self.n_wrong / self.n_labels:.1f} %, between {low:.0f} and {high:.0f}); "
            f"{self.n_flagged} flagged.\nWorst given labels: {worst}."
        )

    def _repr_html_(self) -> str:
        from skclean._html import audit_html

        return audit_html(self)


def audit_labels(
    clean_proba: np.ndarray,
    flagged: np.ndarray,
    given: np.ndarray,
    classes: np.ndarray,
    informative: bool = True,
    doubted: float = 0.0,
) -> LabelAudit:
    """Sum up the verdicts on the rows that were judged.

    Parameters
    ----------
    clean_proba : ndarray of shape (n,)
        NaN in rows that were not judged.
    flagged : ndarray of shape (n,), bool
        Rows whose label was not kept.
    given : ndarray of shape (n,), int64
    classes : ndarray of shape (C,)
    informative : bool
        Whether the evidence predicts the given labels.
    doubted : float
        Share of the labels that it does not predict, where nothing tells why. Up to
        `DOUBTED_SHARE` it is passed over.

    Returns
    -------
    LabelAudit
    """
    judged = ~np.isnan(clean_proba) & (given >= 0)
    wrong = 1 - clean_proba[judged]
    expected, n = float(wrong.sum()), len(wrong)
    margin = 2 * float(np.sqrt(np.sum(wrong * (1 - wrong)))) + MODEL_ERROR * n
    interval = (max(expected - margin, 0.0), min(expected + margin, float(n)))
    n_flagged = int(flagged[judged].sum())
    counts = np.bincount(given[judged], minlength=len(classes))
    share = np.bincount(given[judged], weights=wrong, minlength=len(classes)) / np.maximum(
        counts, 1
    )
    worst = [(classes[k].item(), float(share[k])) for k in np.argsort(-share)[:5] if counts[k]]
    doubtful = doubted * n if informative and doubted > DOUBTED_SHARE else 0.0
    interval = interval[0], max(interval[1], doubtful)
    told = informative and not doubtful
    looks_clean = told and n_flagged <= CLEAN_SHARE * n and expected <= DOUBTED_SHARE * n
    return LabelAudit(n, expected, interval, n_flagged, looks_clean, worst, told, doubtful)


def soft_transition(given: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """P(given = column | true = row) of shape (C, C), from probabilities of the true class.

    T_yk = sum_i p_iy [g_i = k] / sum_i p_iy over the rows with a given label; the row of a class
    that no row belongs to is that of a clean class.
    """
    return _row_shares(sum_blocks(_soft_counts, given, proba)[0])


def refined_transition(given: np.ndarray, proba: np.ndarray, clean_proba: np.ndarray) -> np.ndarray:
    """`soft_transition` of probabilities refined by the given labels, shape (C, C).

    Refined is w onehot(given) + (1 - w) p, w the probability that the given label is right and p
    without the given label (DivideMix's co-refinement).

    Parameters
    ----------
    given : ndarray of shape (n,), int64
        -1 where missing.
    proba : ndarray of shape (n, C)
    clean_proba : ndarray of shape (n,)
        NaN is fine where the label is missing.
    """

    def replaced(given, proba, wrong):
        others = proba.copy()
        others[np.arange(len(proba)), given] = 0
        others = others.sum(axis=1).astype(np.float64)
        return _soft_counts(given, proba, wrong / np.maximum(others, 1e-12))

    counts = sum_blocks(replaced, given, proba, 1 - clean_proba)[0]
    labelled = given >= 0
    right = np.bincount(given[labelled], weights=clean_proba[labelled], minlength=len(counts))
    np.fill_diagonal(counts, right)
    return _row_shares(counts)


def _soft_counts(given, proba, weight=1.0):
    """N_yk = sum_i weight_i p_iy [g_i = k] over a block of rows, (C, C) in a tuple."""
    weight = np.where(given >= 0, weight, 0)
    codes, columns = np.maximum(given, 0), proba.T
    return (np.stack([np.bincount(codes, weight * p, len(columns)) for p in columns]),)


def settled(proba: Any, codes: np.ndarray) -> Any:
    """Probabilities of which all goes to one class where that is certain.

    Parameters
    ----------
    proba : array of shape (n, C)
        NumPy or dask.
    codes : ndarray of shape (n,), int64
        The class that is certain, -1 where none is.
    """

    def settle(proba, codes):
        certain = codes[:, None] == np.arange(proba.shape[1])
        return np.where(codes[:, None] < 0, proba, certain).astype(proba.dtype, copy=False)

    return map_rows(settle, proba, codes)


def _row_shares(counts):
    total = counts.sum(axis=1)
    counts[total == 0] = np.eye(len(counts))[total == 0]
    return counts / counts.sum(axis=1, keepdims=True)
