"""Cleaners by the names that the command line has for them."""

import csv
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

import numpy as np

import skclean
from skclean._optional import import_optional
from skclean.cli._console import UsageError


class CleanerName(StrEnum):
    """What --cleaner may be."""

    auto = "auto"
    transition = "transition"
    lsmp = "lsmp"
    gmm = "gmm"
    reed = "reed"
    prototype = "prototype"
    ranking = "ranking"
    meta = "meta"
    open_set = "open-set"


class EmbedName(StrEnum):
    """What --embed may be."""

    kmeans = "kmeans"
    simclr = "simclr"
    moco = "moco"
    auto = "auto"


_CLASSES = {
    "auto": "AutoPurifier",
    "transition": "TransitionCleaner",
    "lsmp": "LeastSquaresMetaPurifier",
    "gmm": "GMMCleaner",
    "prototype": "PrototypeCleaner",
    "ranking": "RankingCleaner",
    "meta": "MetaReweighter",
    "open-set": "OpenSetFilter",
}


def parse_threshold(text: str) -> float | str:
    """A threshold: "f1", or a number from 0 to 1."""
    if text == "f1":
        return text
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value <= 1:
        typer = import_optional("typer", "cli")
        raise typer.BadParameter(f"expected f1 or a number from 0 to 1, got {text}.")
    return value


def make_cleaner(name: str, threshold: float | str | None, seed: int) -> Any:
    """An unfitted cleaner.

    Raises
    ------
    UsageError
        If the cleaner has no threshold, or no threshold "f1", and one is given.
    """
    if name == "reed":
        cleaner = skclean.CredibilityRelabeler(cleaner=skclean.GMMCleaner())
    else:
        cleaner = getattr(skclean, _CLASSES[name])()
    params = cleaner.get_params()
    if threshold is not None:
        place = "cleaner__threshold" if name == "reed" else "threshold"
        if place not in params:
            raise UsageError(
                f"--threshold: expected a cleaner that has one, got --cleaner {name}; do leave it "
                "out, or choose e.g. --cleaner transition."
            )
        if threshold == "f1" and name not in ("auto", "transition", "lsmp"):
            raise UsageError(
                f"--threshold: expected a number from 0 to 1, got f1 with --cleaner {name}; do "
                "choose --cleaner auto, transition or lsmp."
            )
        cleaner.set_params(**{place: threshold})
    return cleaner.set_params(
        **{k: seed for k in params if k.endswith("random_state") and params[k] is not None}
    )


def parse_classes(text: str | None, labels: Any) -> np.ndarray | None:
    """The closed list of classes, of the type of the labels.

    Raises
    ------
    UsageError
        If a class is empty or twice in the list, or cannot be one of these labels.
    """
    if text is None:
        return None
    names = [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    if not all(names) or len(set(names)) != len(names) or not names:
        raise UsageError(
            f"--classes: expected names separated by commas, each once, got {text!r}; do correct "
            "the list."
        )
    return np.unique([_like_labels(name, labels, "--classes") for name in names])


def parse_missing(text: str, labels: Any) -> Any:
    """What marks a missing label, of the type of the labels: "auto" and None as they are."""
    if text in ("auto", "none"):
        return "auto" if text == "auto" else None
    return _like_labels(text, labels, "--missing-label", strict=False)


def _like_labels(text, labels, option, strict=True):
    """A label out of an argument: a number where the labels are numbers."""
    first = next((v for v in labels if v is not None and v == v), "")
    if isinstance(first, str):
        from skclean.cli._columns import as_number_name

        return as_number_name(text, labels)
    if isinstance(first, bool | np.bool_) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = float if isinstance(first, float | np.floating) else int
        return type(first)(number(text))
    except (TypeError, ValueError):
        if not strict:
            return text
        raise ValueError(
            f"{option}: expected numbers as the labels are, got {text!r}; do correct it."
        ) from None


def check_embedding(embed: str, image_size: int | None, path: Any) -> None:
    """Raise UsageError where images are spoken of and embeddings were read."""
    for option, given in (("--embed", embed != "kmeans"), ("--image-size", image_size is not None)):
        if given:
            raise UsageError(
                f"{option}: expected images, got embeddings in {path}; do leave it out."
            )


def check_device(device: str | None) -> None:
    """Raise ValueError unless torch finds the device, or CuPy is there to look for "cuda"."""
    if device in (None, "cpu") or (device == "cuda" and find_spec("cupy")):
        return
    torch = import_optional("torch", "neural")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(
            f"--device: expected a device that torch finds, got {device!r} ({first}); do see "
            "`skclean info`."
        ) from error


def runs_on_cupy(cleaner: Any, device: str | None) -> bool:
    """Whether the cleaner itself takes NumPy features to the GPU."""
    return device == "cuda" and "device" in cleaner.get_params() and bool(find_spec("cupy"))


def to_device(features: Any, device: str | None) -> Any:
    """Features on a device as a torch tensor; NumPy arrays stay for "cpu" and None."""
    if device in (None, "cpu"):
        return features
    torch = import_optional("torch", "neural")
    return torch.from_numpy(np.array(features)).to(device)
