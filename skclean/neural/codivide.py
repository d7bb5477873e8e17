"""DivideMix's division of the rows into labelled and unlabelled ones."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from skclean._warnings import warn
from skclean.decision.loss_mixture import cross_entropy, effective_threshold, normalise
from skclean.saving import load, save


def divide(
    cleaner: Any,
    given: np.ndarray,
    proba: Any,
    features: Any = None,
    threshold: float = 0.5,
    *,
    trusted: np.ndarray | None = None,
) -> np.ndarray:
    """Divide rows by a cleaner's judgement of their given labels (DivideMix 3.1).

    Parameters
    ----------
    cleaner : object with `assess`
        `GMMCleaner` for DivideMix, `PrototypeCleaner` for CPC, or another. One that trains on from
        call to call belongs to one network.
    given : ndarray of shape (n,), int64
        -1 where missing: such rows are unlabelled.
    proba : array of shape (n, C)
        Class probabilities by the other network; rows sum to 1.
    features : array of shape (n, d) or None, default=None
        For cleaners that look at embeddings.
    threshold : float in [0, 1], default=0.5
        Labels of a greater probability are kept. Moved into the range of the probabilities, so
        that neither part is empty unless all of them are equal: then all rows are labelled.
    trusted : ndarray of shape (n,), bool, or None, default=None
        Rows that are labelled whatever the cleaner says, with probability 1.

    Returns
    -------
    ndarray of shape (n,), float64
        Probability that the label of a labelled row is right; -1 in unlabelled ones.

    References
    ----------
    Li et al., "DivideMix", ICLR 2020, section 3.1 and algorithm 1.
    """
    judged = np.asarray(given) >= 0
    sure = np.zeros(len(judged), bool) if trusted is None else np.asarray(trusted, bool) & judged
    clean = np.where(judged, cleaner.assess(given, proba, features), 0.0)
    clean[sure] = 1
    doubtful = judged & ~sure
    if doubtful.any():
        threshold = effective_threshold(threshold, clean[doubtful])
    return np.where(sure | (doubtful & (clean > threshold)), clean, -1.0)


def average_losses(losses: np.ndarray, proba: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Probabilities whose losses are the averages over several epochs (DivideMix, at 90 %).

    The losses of each epoch are brought to [0, 1] before; the average is brought to the range of
    those of the last one, so that the result is `proba` where all epochs are alike.

    Parameters
    ----------
    losses : ndarray of shape (epochs, n)
        Cross-entropy of the given labels in earlier epochs and in this one, which is the last.
    proba : ndarray of shape (n, C)
        Class probabilities of this epoch.
    given : ndarray of shape (n,), int64
        -1 where missing; such rows stay as they are.

    Returns
    -------
    ndarray of shape (n, C), float64
        The given class has ``exp(-average)``, the others their shares of the rest.
    """
    proba = np.array(proba, dtype=np.float64)
    rows = np.flatnonzero(given >= 0)
    if not len(rows):
        return proba
    own = losses[:, rows]
    scaled = np.mean([normalise(x, x.min(), x.max()) for x in own], axis=0)
    low, high = own[-1].min(), own[-1].max()
    chosen = np.exp(-(low + scaled * (high - low)))
    proba[rows, given[rows]] = 0
    rest = proba[rows].sum(axis=1, keepdims=True)
    others = np.full_like(proba[rows], 1 / max(proba.shape[1] - 1, 1))
    others[np.arange(len(rows)), given[rows]] = 0
    others = np.where(rest > 0, proba[rows] / np.where(rest > 0, rest, 1), others)
    proba[rows] = others * (1 - chosen[:, None])
    proba[rows, given[rows]] = chosen
    return proba


def losses_of(proba: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Cross-entropy (n,) of the given labels; 0 where there is none."""
    return np.where(given >= 0, cross_entropy(proba, np.maximum(given, 0)), 0.0)


def pack_cleaners(cleaners: list, told: set[str] | None = None) -> dict[str, np.ndarray]:
    """The cleaners as the bytes of `skclean.saving.save`, uint8, by name.

    Of those that it does not store, a cleaner without a state is left out; else there is a warning,
    one for each class, whose names are added to `told`.
    """
    found: dict[str, np.ndarray] = {}
    told = set() if told is None else told
    with tempfile.TemporaryDirectory() as folder:
        for i, cleaner in enumerate(cleaners):
            try:
                path = save(cleaner, Path(folder) / "cleaner", overwrite=True)
            except ValueError:
                _warn_of_state(cleaner, told)
            else:
                found[f"cleaner{i}"] = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    return found


def unpack_cleaners(
    packed: dict[str, np.ndarray],
    cleaners: list,
    path: Any = None,
    used: bool = False,
    name: str = "train",
) -> list:
    """The cleaners that `pack_cleaners` stored; where one was not, that of the list.

    Parameters
    ----------
    packed : dict of str to ndarray
    cleaners : list
    path : path-like or None, default=None
        The checkpoint.
    used : bool, default=False
        Whether they have divided rows before it: one that could be in it, and is not, is warned of.
    name : str, default="train"
        Who speaks in errors.

    Raises
    ------
    ValueError
        If one is damaged.
    """
    found = list(cleaners)
    missing = [c for i, c in enumerate(cleaners) if f"cleaner{i}" not in packed]
    if path is not None and used and missing and pack_cleaners(missing[:1]):
        warn(
            f"{name}: expected the state of {type(missing[0]).__name__} in {path}, got a "
            "checkpoint without; the cleaner starts anew.",
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cleaner"
        for i in range(len(cleaners)):
            if f"cleaner{i}" not in packed:
                continue
            file.write_bytes(packed[f"cleaner{i}"].tobytes())
            try:
                found[i] = load(file)
            except ValueError as error:
                raise ValueError(
                    f"{name}: expected whole cleaners in the checkpoint {path}, got a damaged one "
                    f"({error}); do delete the checkpoint, or name another folder."
                ) from error
    return found


def _warn_of_state(cleaner, told):
    kind = type(cleaner).__name__
    parameters = cleaner.get_params(deep=False) if hasattr(cleaner, "get_params") else {}
    if kind not in told and vars(cleaner).keys() - parameters.keys():
        told.add(kind)
        warn(
            f"NeuralRetrainer: a checkpoint does not hold the state of {kind}, "
            "which starts anew where the training is resumed. skclean.saving.save says what can "
            "be stored.",
        )
