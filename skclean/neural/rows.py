"""The rows of a fit: which of them teach what, and how they come to the device."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skclean._array import to_numpy
from skclean._labels import short, shown
from skclean._warnings import warn
from skclean.neural.batch import Part
from skclean.samples import LabelledSamples

#: Features that spread less, beside their mean, are constant.
LEAST_SPREAD = 1e-6
#: Sizes of features that float32 holds, with room for the difference of two.
LEAST_SIZE, MOST_SIZE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max) / 2
#: Embeddings of a greater power of two are divided by it: their squares may leave float32.
MOST_EXPONENT = 32


@dataclass(eq=False)
class TrainingRows:
    """What is known of the n rows of a fit, on the host.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        Labels in 0 to C - 1; -1 in rows that have none to be trained on.
    target : ndarray of shape (n, C), float32
        Labels, one-hot or soft; in rows without one their probabilities.
    weight : ndarray of shape (n,), float32
    usable : ndarray of bool of shape (n,)
        Rows that may be looked at: readable, and not held out.
    trusted, held_out : ndarray of bool of shape (n,)
    embedding : array of shape (n, k) or None
    apart : bool
        Whether trusted rows are no labelled ones: IEG's meta step looks at them alone.
    """

    codes: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    usable: np.ndarray
    trusted: np.ndarray
    held_out: np.ndarray
    embedding: Any = None
    apart: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def labelled(self) -> np.ndarray:
        """Positions of the usable rows with a label and a weight."""
        labelled = self.usable & (self.codes >= 0) & (self.weight > 0)
        return np.flatnonzero(labelled & ~self.trusted if self.apart else labelled)

    @property
    def sure(self) -> np.ndarray:
        """Positions of the usable trusted rows with a weight."""
        return np.flatnonzero(self.usable & self.trusted & (self.weight > 0))

    @property
    def candidates(self) -> np.ndarray:
        """Positions of all usable rows: any may stand without its label."""
        return np.flatnonzero(self.usable)


def training_rows(
    samples: LabelledSamples,
    soft: bool,
    readable: np.ndarray,
    given: bool = False,
    least: int = 2,
) -> TrainingRows:
    """What a container's rows teach.

    Parameters
    ----------
    samples : LabelledSamples
        With given or purified labels.
    soft : bool
        Whether targets are the container's `proba` in place of its hard labels.
    readable : ndarray of bool of shape (n,)
        False where an image could not be read; beside what the container says.
    given : bool, default=False
        Whether labels are those that were given, in all rows, and not the purified ones.
    least : int, default=2
        Classes that must be there.

    Raises
    ------
    ValueError
        If `soft` and there is no `proba`, or there are fewer classes to learn.
    """
    if soft and samples.proba is None:
        raise ValueError(
            "NeuralRetrainer: expected proba in the container for use='soft', got none; do put a "
            "cleaner that gives it before this step, or set use='labels'."
        )
    n, n_classes = len(samples), len(samples.classes)
    readable = readable if samples.readable is None else readable & samples.readable
    if given or not samples.purified:
        codes = np.where(readable, samples._given_codes(), -1)
    else:
        codes = np.where(samples.known & readable, samples.label_codes, -1)
    trusted = np.zeros(n, dtype=bool) if samples.trusted is None else samples.trusted & readable
    # A step before may not have known that they are.
    codes[trusted] = samples._given_codes()[trusted]
    proba = (
        np.full((n, n_classes), 1 / max(n_classes, 1)) if samples.proba is None else samples.proba
    )
    target = proba.astype(np.float32)
    hard = np.flatnonzero(codes >= 0)
    if not soft:
        target[hard] = np.eye(n_classes, dtype=np.float32)[codes[hard]]
    sure = np.flatnonzero(trusted)
    target[sure] = np.eye(n_classes, dtype=np.float32)[codes[sure]]
    target /= target.sum(axis=1, keepdims=True)
    rows = TrainingRows(
        codes=codes,
        target=target,
        weight=np.ones(n, np.float32) if samples.weight is None else samples.weight.astype("f4"),
        usable=readable.copy(),
        trusted=trusted,
        held_out=np.zeros(n, dtype=bool),
        embedding=samples.features if samples.features.shape[1] else None,
    )
    _check_trainable(rows.codes[rows.labelled], samples.classes, least)
    return rows


def set_apart(rows: TrainingRows, classes: np.ndarray, quiet: bool = False) -> TrainingRows:
    """The rows for an objective that learns from the trusted ones by themselves.

    Parameters
    ----------
    rows : TrainingRows
    classes : ndarray of shape (C,)
    quiet : bool, default=False
        Whether there is no warning, as trusted rows come in other calls.

    Raises
    ------
    ValueError
        If no labelled row is left beside them.

    Warns
    -----
    UserWarning
        If other rows have labels of classes of which no row is trusted.
    """
    rows = replace(rows, apart=True)
    sure, codes = rows.codes[rows.sure], rows.codes[rows.labelled]
    if len(sure) and not len(codes):
        raise ValueError(
            "NeuralRetrainer: expected labelled rows beside the trusted ones, by which the "
            "objective judges them, got none; do trust fewer rows, or choose another objective."
        )
    lacking = np.setdiff1d(codes, sure)
    if len(sure) and len(lacking) and not quiet:
        warn(
            "NeuralRetrainer: expected trusted rows of all classes, by which the objective judges "
            f"the others, got none of {short(classes[lacking])}; without them such classes are "
            "hardly learned. Do trust some rows of each, or choose another objective."
        )
    return rows


def held_out(rows: TrainingRows, part: Any, rng: np.random.RandomState) -> TrainingRows:
    """The rows with some of them taken out of the training, for validation.

    Parameters
    ----------
    rows : TrainingRows
    part : float in [0, 1) or "trusted"
        Share of the labelled rows of each class, rounded, of which one row stays at least; or the
        trusted rows.
    rng : RandomState

    Raises
    ------
    ValueError
        If no row is held out, or the trusted ones leave fewer than two classes to learn.
    """
    if part == "trusted":
        if not rows.trusted.any():
            raise ValueError(
                "NeuralRetrainer: expected trusted rows for validation_fraction='trusted', got "
                "none; do pass a container with trusted, or a number."
            )
        mask = rows.trusted
        left = np.unique(rows.codes[np.setdiff1d(rows.labelled, np.flatnonzero(mask))])
        if len(left) < 2:
            raise ValueError(
                "NeuralRetrainer: expected labels of at least two classes beside the trusted rows, "
                f"which validation_fraction='trusted' holds out, got {len(left)}; do trust fewer "
                "rows, or set a number."
            )
    else:
        mask = np.zeros(len(rows), dtype=bool)
        labelled = rows.labelled
        for code in np.unique(rows.codes[labelled]) if part else ():
            own = rng.permutation(labelled[rows.codes[labelled] == code])
            mask[own[: min(round(part * len(own)), len(own) - 1)]] = True
        if part and not mask.any():
            raise ValueError(
                f"NeuralRetrainer: expected validation_fraction that holds out a row, got {part} "
                f"for {len(labelled)} labelled rows; do raise it, or set 0."
            )
    return replace(rows, usable=rows.usable & ~mask, held_out=mask)


def feature_moments(features: Any, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean (d,) of the features of some rows, and one spread for all: their root mean variance.

    Directions in which embeddings vary little hold noise; a scale for each would bring it up. Where
    all features are constant, or float32 hardly tells rows apart, the spread is 1.

    Raises
    ------
    ValueError
        If float32 does not hold them.

    Warns
    -----
    UserWarning
        If float32 hardly tells them apart.
    """
    values = check_size(features, rows, LEAST_SIZE)
    varies = np.ptp(values, axis=0) > 0
    # The mean of equal values may be rounded.
    mean = np.where(varies, values.mean(axis=0), values[0])
    spread = float(np.sqrt(values.var(axis=0).mean()))
    if varies.any():
        size = np.abs(mean[varies]).max()
        if spread > LEAST_SPREAD * size:
            return mean, spread
        warn(
            "NeuralRetrainer: expected features that differ by more than a millionth of their "
            f"size, got a size of {size:.3g} and a spread of {spread:.3g}: in float32 rows are "
            "hardly told apart. Do put sklearn.preprocessing.StandardScaler before this step."
        )
    return mean, 1.0


def check_size(features: Any, rows: np.ndarray, least: float = 0.0) -> np.ndarray:
    """The features of some rows, float64; ValueError if their greatest size, where it is not 0, is
    below `least` or too much for float32.
    """
    values = to_numpy(features)[rows].astype(np.float64)
    size = np.abs(values).max()
    if size and not least <= size <= MOST_SIZE:
        raise ValueError(
            f"NeuralRetrainer: expected features whose greatest size is from {least:.3g} to "
            f"{MOST_SIZE:.3g}, as networks compute in float32, got {size:.3g}; do scale them."
        )
    return values


class DeviceFeatures:
    """Features as a network takes them; the counterpart of `DeviceImages`.

    Parameters
    ----------
    features : array of shape (n, d)
    device : torch.device
    dtype : torch.dtype, default=torch.float32
    """

    def __init__(self, features: Any, device: Any, dtype: torch.dtype = torch.float32):
        # A copy: torch does not take memory that may only be read.
        x = torch.from_numpy(np.array(to_numpy(features)))
        # Predicted on as trained on: a float64 less the mean in float32 may be far from 0.
        self.x = x.to(device, torch.float32).nan_to_num_().to(dtype)

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Tensor]:
        """Batches of rows, in order, (b, d); the last one may be smaller."""
        for rows in torch.from_numpy(np.array(order)).to(self.x.device).split(batch_size):
            yield self.x[rows]

    def replacements(self, rows: np.ndarray, sizes: tuple[int, ...]) -> None:
        """All rows can be read."""

    def still_readable(self, rows: np.ndarray) -> np.ndarray:
        """Mask of the rows that can be read: all of them."""
        return np.ones(len(rows), dtype=bool)

    def workers(self) -> Any:
        """Nothing is read."""
        return nullcontext()


class DeviceRows:
    """Labels and inputs of the rows beside the network.

    Parameters
    ----------
    rows : TrainingRows
    inputs : DeviceImages or DeviceFeatures
    device : torch.device
    """

    def __init__(self, rows: TrainingRows, inputs: Any, device: Any):
        self.inputs = inputs
        self.device = device
        self.target = torch.from_numpy(rows.target).to(device)
        self.weight = torch.from_numpy(rows.weight).to(device)
        self.embedding = None
        if rows.embedding is not None:
            # Cosines tell rows apart where zero is in the middle.
            values = np.array(to_numpy(rows.embedding), dtype=np.float32)
            _, exponent = np.frexp(np.abs(values[rows.candidates]).max())
            if abs(exponent) > MOST_EXPONENT:
                values = np.ldexp(values, -exponent)
            embedding = torch.from_numpy(values)
            self.embedding = (embedding - embedding[rows.candidates].mean(dim=0)).to(device)

    def batches(
        self, order: np.ndarray, sizes: tuple[int, int, int], clean: Tensor | None = None
    ) -> Iterator[tuple[Part, Part | None, Part | None]]:
        """Batches of three parts, read together.

        Parameters
        ----------
        order : ndarray of shape (steps, sum of sizes), int64
            Rows of each step: labelled, unlabelled and trusted ones.
        sizes : tuple of int
            How many of each kind; there is no part of none.
        clean : Tensor of shape (n,) or None, default=None
            Of the labelled rows; see `Part`.
        """
        positions = torch.from_numpy(np.array(order)).to(self.device)
        streams = self.inputs.batches(order.ravel(), order.shape[1])
        for drawn, rows, x in zip(order, positions, streams, strict=True):
            place = self.inputs.replacements(drawn, sizes)
            if place is not None:
                kept = torch.from_numpy(place).to(self.device)
                rows, x = rows[kept], x[kept]
            labelled, *others = zip(rows.split(sizes), x.split(sizes), strict=True)
            rest, trusted = (self._part(*own) if len(own[0]) else None for own in others)
            if rest is not None:
                # The weight of a row says how far its label counts.
                rest = replace(rest, weight=torch.ones_like(rest.weight))
            yield self._part(*labelled, clean), rest, trusted

    def _part(self, rows, x, clean=None):
        return Part(
            rows=rows,
            x=x,
            target=self.target[rows],
            weight=self.weight[rows],
            clean=None if clean is None else clean[rows],
            embedding=None if self.embedding is None else self.embedding[rows],
        )


def _check_trainable(codes, classes, least):
    present = np.unique(codes)
    if len(present) < least:
        found = f"one class, {shown(classes[present[0]])}" if len(present) else "no row"
        expected = "at least two classes" if least > 1 else "some rows"
        raise ValueError(
            f"NeuralRetrainer: expected labels of {expected} to train on, got {found} of known "
            "status and a weight above zero; do lower the thresholds of the steps before."
        )
