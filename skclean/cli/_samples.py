"""What was read as LabelledSamples, and a cleaner fitted to them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

import skclean
from skclean._fields import PREDICTED
from skclean._labels import shown
from skclean.cli import _cleaners
from skclean.cli._console import Console
from skclean.cli._inputs import Data, Roles, read_data
from skclean.samples import LabelledSamples


@dataclass
class Settings:
    """What the user says about the cleaning, by option."""

    cleaner: str = "auto"
    threshold: float | str | None = None
    classes: str | None = None
    missing_label: str = "auto"
    embed: str = "kmeans"
    image_size: int | None = None
    device: str | None = None
    seed: int = 0


def read_samples(
    console: Console, path: Path, roles: Roles, settings: Settings, max_bytes: int
) -> tuple[Data, LabelledSamples]:
    """The data and a container of their features, or images, and given labels.

    Raises
    ------
    ValueError
        If there are no labels to fit to.
    """
    _cleaners.check_device(settings.device)
    with console.stage(f"reading {path}"):
        data = read_data(path, roles, max_bytes, console.note)
    if data.images is None:
        _cleaners.check_embedding(settings.embed, settings.image_size, path)
    if data.labels is None:
        raise ValueError(
            f"--labels: expected a column, array or file of labels for {path}, got none; do name "
            "it."
        )
    if path.is_dir() and all(label is None for label in data.labels):
        raise ValueError(
            f"DATA: expected a folder for each class in {path}, got {len(data.ids)} images; do "
            f"pass the folder above, {path.absolute().parent}, or their classes by --labels."
        )
    classes = _cleaners.parse_classes(settings.classes, data.labels)
    samples = samples_of(data, classes, settings.missing_label)
    labelled = samples.given >= 0
    found = np.unique(samples.given[labelled])
    if classes is None and len(found) > max(2, labelled.sum() / 2):
        raise ValueError(
            f"--labels: expected labels of few classes, got {len(found)} in {labelled.sum()} rows "
            f"of {path}, as an id or a measurement has; do name another column, or list --classes."
        )
    if len(found) < 2:
        got = f"{shown(samples.classes[found[0]])} alone" if len(found) else "no label"
        raise ValueError(
            f"--labels: expected labels of at least two classes in {path}, got {got} in "
            f"{len(samples)} rows; do name another column, or see --missing-label."
        )
    return data, samples


def samples_of(data: Data, classes: Any, missing_label: str) -> LabelledSamples:
    """A container of what was read; `classes` None takes those of the labels."""
    features, n = data.features, len(data.ids)
    if features is None:
        # The featurizer puts the embeddings in their place.
        features = np.empty((n, 0), dtype=np.float32)
    labels, names = data.labels, data.names
    missing = _cleaners.parse_missing(missing_label, [] if labels is None else labels)
    try:
        samples = LabelledSamples(
            features,
            labels,
            classes=classes,
            inputs=data.images,
            trusted=data.trusted,
            missing_label=missing,
        )
        # A saved cleaner finds its columns again by their names.
        kept = None if names is None else np.asarray(names, dtype=object)
        return samples._replace(feature_names=kept)
    except ValueError as error:
        text = str(error).removeprefix("LabelledSamples: ")
        raise ValueError(f"--labels of {data.path}: {text}") from error


def without_fitted_labels(samples: LabelledSamples, read: LabelledSamples) -> LabelledSamples:
    """The purified rows, of which those read without a label have none that the fit knew."""
    known = (samples._given_codes() >= 0) & (read._given_codes() < 0)
    if not known.any():
        return samples
    predicted = known & (samples.label_codes >= 0)
    if samples.readable is not None:
        predicted &= samples.readable
    status = np.where(predicted, PREDICTED, samples.status_codes).astype(np.int8)
    clean, trusted = samples.clean_proba, samples.trusted
    return samples._replace(
        given=np.where(known, -1, samples.given),
        status_codes=status,
        clean_proba=None if clean is None else np.where(known, np.nan, clean),
        trusted=None if trusted is None else trusted & ~known,
    )


def fit(
    console: Console, data: Data, samples: LabelledSamples, cleaner: Any, settings: Settings
) -> tuple[Any, LabelledSamples]:
    """The fitted model, which is the cleaner or ends in it, and the purified samples."""
    model: Any = cleaner
    if data.images is not None:
        featurizer = skclean.SSLFeaturizer(
            str(settings.embed),
            image_size=settings.image_size,
            device=settings.device,
            on_error="skip",
            random_state=settings.seed,
            verbose=console.shows_progress,
        )
        with console.stage(f"embedding {len(samples)} images"):
            samples = featurizer.fit_transform(samples)
        model = Pipeline([("features", featurizer), ("clean", cleaner)])
    host, on_cupy = samples.features, _cleaners.runs_on_cupy(cleaner, settings.device)
    if on_cupy:
        cleaner.set_params(device="cuda")
    else:
        samples = samples._replace(features=_cleaners.to_device(host, settings.device))
    with console.stage(f"purifying {len(samples)} rows by {type(cleaner).__name__}"):
        purified = cleaner.fit_transform(samples, groups=data.groups)
    if on_cupy:
        # What is saved serves machines without a GPU too.
        cleaner.set_params(device=None)
    return model, purified._replace(features=host)
