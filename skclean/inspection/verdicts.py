"""verdicts: why each row got its label, in a sentence, and what to do about it."""

from functools import cached_property
from typing import Any

import numpy as np

from skclean._blocks import own_column
from skclean._fields import CORRECTED, KEPT, PREDICTED, TRUSTED, UNKNOWN
from skclean._labels import shown
from skclean.inspection._display import parts

# Probabilities as they are read: two digits, and never a certainty that rounding makes.
_SHARES = np.array(["<.01", *(f".{i:02d}" for i in range(1, 100)), ">.99", "unknown"], dtype=object)


def is_evidence(model: Any) -> bool:
    """Whether a fitted cleaner, or Pipeline with one, could tell right labels from wrong ones.

    False where the evidence does not predict the labels, or is too weak to tell.
    """
    judges = [part for part in parts(model) if hasattr(part, "audit")]
    if not judges:
        return True
    try:
        return bool(judges[-1].audit().informative)
    except ValueError:
        # It does not tell how many labels are wrong.
        return bool(getattr(judges[-1], "informative_", True))


def is_ranking(model: Any) -> bool:
    """Whether clean_proba of a cleaner, or Pipeline or purifier with one, is a score that ranks."""
    return any(not getattr(part, "_tells_how_many", True) for part in parts(model))


def verdicts(
    samples: Any, *, evidence: bool = True, ranking: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    r"""Say of each purified row why it got its label, and suggest what to do.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        What a cleaner gave back. The probability of a given label is its `clean_proba`, and where
        that is missing its `proba`; that of another label is its `proba`.
    evidence : bool, default=True
        Whether these probabilities tell anything. If not, the labels kept are said to be kept for
        want of evidence.
    ranking : bool, default=False
        Whether `clean_proba` only ranks the labels, as that of `RankingCleaner`: it is called a
        score then, and not a probability.

    Returns
    -------
    reasons : ndarray of shape (n,), object
        A short sentence of str.
    actions : ndarray of shape (n,), object
        "keep" (status kept or trusted), "relabel" (corrected), "label" (predicted, or corrected
        where no label was given), "review" (unknown, also where the input could not be read).

    Raises
    ------
    ValueError
        If the labels were not purified.

    Examples
    --------
    >>> from skclean import LabelledSamples
    >>> from skclean.inspection.verdicts import verdicts
    >>> samples = LabelledSamples(
    ...     [[0.0], [1.0]],
    ...     ["cat", "cat"],
    ...     classes=["cat", "dog"],
    ...     proba=[[0.97, 0.03], [0.06, 0.94]],
    ...     status=["kept", "corrected"],
    ...     clean_proba=[0.99, 0.03],
    ... )
    >>> reasons, actions = verdicts(samples)
    >>> print(*reasons, *actions, sep="\n")
    given 'cat' is right with probability .99
    given 'cat' has probability .03; 'dog' has .94
    keep
    relabel
    """
    status = samples.status_codes
    if not samples.purified or status is None:
        raise ValueError(
            f"verdicts: expected purified samples, got {samples!r}; do call fit_transform of a "
            "cleaner first."
        )
    n, given = len(samples), samples._given_codes()
    labelled = given >= 0
    actions = np.full(n, "keep", dtype=object)
    actions[(status == CORRECTED) & labelled] = "relabel"
    actions[(status == PREDICTED) | ((status == CORRECTED) & ~labelled)] = "label"
    actions[status == UNKNOWN] = "review"
    reasons = np.full(n, "the input could not be read", dtype=object)
    read = np.ones(n, dtype=bool) if samples.readable is None else samples.readable
    stranger = read & (status == UNKNOWN) & _outside(samples)
    unsure = read & (status == UNKNOWN) & ~stranger
    changed = read & np.isin(status, (CORRECTED, PREDICTED))
    same = changed & labelled & (given == samples.label_codes)
    words = _Words(samples, given)
    own, kept = "has probability {right}", "is right with probability {right}"
    more = "; {label} has {proba}"
    if ranking:
        own, kept = "has score {score}", "is kept by its score, {score}"
        more = "; {label} has probability {proba}"
    if not evidence:
        kept = "stays: nothing tells whether it is right"
    rules = [
        (read & (status == TRUSTED), "given {given} is trusted"),
        (read & (status == KEPT), f"given {{given}} {kept}"),
        (same, f"given {{given}} {own}; it is still the likeliest"),
        (changed & labelled & ~same, f"given {{given}} {own}{more}"),
        (changed & ~labelled, "no given label; {label} has probability {proba}"),
        (stranger, "belongs to a class with probability {inside} only"),
        (
            unsure & labelled & (given == samples.label_codes),
            f"given {{given}} {own}: too unsure, and so is any other",
        ),
        (
            unsure & labelled & (given != samples.label_codes),
            f"given {{given}} {own}{more.replace(';', ',')}: too unsure",
        ),
        (unsure & ~labelled, "no given label; {label} has probability {proba}: too unsure"),
    ]
    for mask, sentence in rules:
        rows = np.flatnonzero(mask)
        if len(rows):
            reasons[rows] = words.fill(sentence, rows)
    return reasons, actions


class _Words:
    """What stands in the sentences, row by row."""

    def __init__(self, samples, given):
        self._samples, self._given = samples, given
        names = [shown(value) for value in samples.classes]
        # The last is for codes of -1.
        self._names = np.array([*names, "no label"], dtype=object)

    def fill(self, sentence, rows):
        parts = sentence.replace("}", "{").split("{")
        fields = [getattr(self, f"_{name}_words")(rows) for name in parts[1::2]]
        filled = np.full(len(rows), parts[0], dtype=object)
        for words, after in zip(fields, parts[2::2], strict=True):
            filled = filled + words + after if after else filled + words
        return filled

    def _given_words(self, rows):
        return self._names[self._given[rows]]

    def _label_words(self, rows):
        return self._names[self._samples.label_codes[rows]]

    def _score_words(self, rows):
        clean = self._samples.clean_proba
        return _shares(np.full(len(rows), np.nan) if clean is None else clean[rows])

    def _right_words(self, rows):
        clean = self._samples.clean_proba
        right = np.full(len(rows), np.nan) if clean is None else clean[rows].astype(np.float64)
        if np.isnan(right).any():
            right = np.where(np.isnan(right), self._proba_of_given[rows], right)
        return _shares(right)

    def _proba_words(self, rows):
        return _shares(self._proba_of_label[rows])

    @cached_property
    def _proba_of_given(self):
        return self._proba_of(self._given)

    @cached_property
    def _proba_of_label(self):
        return self._proba_of(self._samples.label_codes)

    def _proba_of(self, codes):
        """Of each row; one pass where the probabilities are on dask."""
        proba = self._samples.proba
        if proba is None:
            return np.full(len(codes), np.nan)
        return own_column(proba, np.maximum(codes, 0))

    def _inside_words(self, rows):
        return _shares(self._samples.in_distribution_proba[rows])


def _outside(samples):
    """Mask of the rows that more likely belong to no class."""
    inside = samples.in_distribution_proba
    return np.zeros(len(samples), dtype=bool) if inside is None else inside < 0.5


def _shares(values):
    """Probabilities of shape (n,), NaN where there is none, as words."""
    places = np.full(len(values), len(_SHARES) - 1)
    told = ~np.isnan(values)
    places[told] = np.rint(100 * np.asarray(values)[told]).astype(np.int64)
    return _SHARES[places]
