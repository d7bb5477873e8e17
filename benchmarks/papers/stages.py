"""One run of a method on one problem: its stages in turn, the test accuracy of each epoch."""

import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from benchmarks._estimators import purify
from benchmarks.papers.networks import make_network
from benchmarks.papers.protocols import Adopt, Part, Purify
from skclean import LabelledSamples, NeuralRetrainer, SSLFeaturizer

#: Epochs at the end whose mean accuracy is the "last" one.
LAST_EPOCHS = 10
#: Rows of known label, at least, for a network to be trained on.
LEAST_LABELLED = 20


@dataclass
class Problem:
    """What a method is given.

    Attributes
    ----------
    data : ImageData
    given : ndarray of shape (n,)
    trusted : ndarray of shape (n,), bool, or None
    seed : int
    """

    data: Any
    given: np.ndarray
    trusted: Any
    seed: int


@dataclass
class Changes:
    """What a run does in another way than the paper.

    Attributes
    ----------
    share : float
        Of the published epochs.
    backbone : str or None
        In place of all networks for images.
    features : str or None
        Method of SSLFeaturizer in place of the paper's, or "pixels", laid flat.
    device : str or None
    image_size : int or None
        In place of the paper's where images are files.
    """

    share: float = 1.0
    backbone: str | None = None
    features: str | None = None
    device: str | None = None
    image_size: int | None = None

    def words(self):
        """What was changed, for the reader of the figures."""
        found = []
        if self.backbone:
            found.append(f"{self.backbone} in place of the paper's network")
        if self.features:
            found.append(f"{self.features} features in place of the paper's")
        if self.image_size:
            found.append(f"images of {self.image_size} pixels")
        return found


class Curve:
    """Test accuracy after each epoch, a callback of NeuralRetrainer."""

    def __init__(self, X, y):
        self._X, self._y, self.accuracy = X, y, []

    def on_epoch_end(self, retrainer, epoch, record):
        """Predict the test rows."""
        self.accuracy.append(float(np.mean(retrainer.predict(self._X) == self._y)))


@dataclass
class Outcome:
    """What a run gave.

    Attributes
    ----------
    best, last, fitted : float
        Test accuracy: of the best epoch, the mean of the last ten, and of what `fit` left. NaN
        where no network was trained.
    labels : float
        Accuracy of the labels that the last network was trained on; NaN where they were its own
        business.
    epochs, published : list of int
        Of the trained stages, features first.
    seconds : float
    notes : list of str
    """

    best: float = float("nan")
    last: float = float("nan")
    fitted: float = float("nan")
    labels: float = float("nan")
    epochs: list = field(default_factory=list)
    published: list = field(default_factory=list)
    seconds: float = 0.0
    notes: list = field(default_factory=list)


def epochs_of(published, share):
    """Epochs that are run for that share of the published ones, one at least."""
    return max(1, round(share * published))


def feature_settings(method, changes):
    """Settings of the featurizer of a method, None where it has none to fit."""
    if not isinstance(method.features, dict) or changes.features == "pixels":
        return None
    settings = {"verbose": False, "device": changes.device, **method.features}
    if changes.image_size and "image_size" in settings:
        settings["image_size"] = changes.image_size
    if changes.backbone and changes.backbone != "conv_net":
        settings["backbone"] = changes.backbone
    if changes.features:
        settings["method"] = changes.features
    if settings["method"] == "kmeans":
        settings = {k: v for k, v in settings.items() if k in ("method", "image_size")}
    else:
        settings["epochs"] = epochs_of(method.features["epochs"], changes.share)
    return settings


def embed(method, data, seed, changes):
    """Features of training and test rows, and the fitted featurizer."""
    if method.features is None:
        return None
    if "pixels" in (method.features, changes.features):
        if isinstance(data.images.flat[0], str):
            raise ValueError(
                "embed: expected images as arrays for pixels, got files; do embed them."
            )
        flat = [np.asarray(x).reshape(len(x), -1) for x in (data.images, data.test_images)]
        return *(np.divide(x, 255, dtype=np.float32) for x in flat), None
    featurizer = SSLFeaturizer(**feature_settings(method, changes), random_state=seed)
    featurizer.fit(data.images)
    return *(featurizer.transform(x).features for x in (data.images, data.test_images)), featurizer


def train_settings(step, changes, n_rows, seed, featurizer=None):
    """Parameters of NeuralRetrainer for a step."""
    settings: dict[str, Any] = dict(step.settings)
    settings["epochs"] = epochs = epochs_of(settings["epochs"], changes.share)
    if "warmup_epochs" in settings:
        warmup = epochs_of(settings["warmup_epochs"], changes.share)
        settings["warmup_epochs"] = min(warmup, epochs - 1)
    parameters = {}
    objective = settings.get("objective")
    if isinstance(objective, Part) and objective.path.endswith("MixMatch"):
        # Weights that grow over 16 epochs grow over as large a part of fewer.
        parameters = {"ramp": 16.0 * min(1.0, changes.share)}
    for key, value in settings.items():
        if isinstance(value, Part):
            more = parameters if key == "objective" else {}
            settings[key] = value._replace(parameters=value.parameters | more).make()
    if settings.get("cleaner") is not None:
        settings["cleaner"] = clone(settings["cleaner"])
    if settings.get("backbone") != "mlp":
        if changes.backbone:
            settings |= {"backbone": changes.backbone, "weights": None}
        elif settings.get("weights") == "features":
            settings["weights"] = featurizer if hasattr(featurizer, "backbone_") else None
        else:
            settings["backbone"] = make_network(settings["backbone"], seed)
        if changes.image_size and "image_size" in settings:
            settings["image_size"] = changes.image_size
    settings["batch_size"] = min(settings.get("batch_size", 128), max(2, n_rows // 2))
    return {**settings, "device": changes.device, "random_state": seed}


def run(method, problem, changes, features=None):
    """Run the steps of a method.

    Parameters
    ----------
    method : Method
    problem : Problem
    changes : Changes
    features : what `embed` gave, or None
        None where the method takes images alone.

    Returns
    -------
    Outcome
    """
    data, found = problem.data, Outcome()
    X, X_test, featurizer = (None, None, None) if features is None else features
    classes = np.unique(np.concatenate([problem.given, data.y_test]))
    contained = partial(LabelledSamples, classes=classes, inputs=data.images, missing_label=None)
    features = np.empty((len(problem.given), 0), np.float32) if X is None else X
    samples = contained(features, problem.given, trusted=problem.trusted)
    if featurizer is not None and hasattr(featurizer, "backbone_"):
        found.epochs.append(featurizer.epochs)
        found.published.append(method.features["epochs"])
    start, network = time.perf_counter(), None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for position, step in enumerate(method.steps):
            if isinstance(step, Adopt):
                samples = contained(samples.features, samples.labels)
            elif isinstance(step, Purify):
                samples = purify([clone(s) for s in step.chain], samples)
                if too_few(samples):
                    # Where an earlier stage was trained too little to tell classes apart.
                    found.notes.append("too few labels were left for the stages after")
                    break
            else:
                settings = train_settings(
                    step, changes, len(problem.given), problem.seed, featurizer
                )
                on_features = settings["backbone"] == "mlp"
                test = X_test if on_features else data.test_images
                curve = Curve(test, data.y_test)
                network = NeuralRetrainer(**settings, callbacks=[curve]).fit(samples)
                found.epochs.append(settings["epochs"])
                found.published.append(step.settings["epochs"])
                if any(isinstance(later, Purify) for later in method.steps[position + 1 :]):
                    proba = network.predict_proba(X if on_features else data.images)
                    samples = contained(
                        samples.features, problem.given, proba=proba, trusted=problem.trusted
                    )
        if network is not None:
            found.fitted = float(np.mean(network.predict(test) == data.y_test))
            found.best = max([*curve.accuracy, found.fitted])
            found.last = float(np.mean(curve.accuracy[-LAST_EPOCHS:]))
    if samples.purified:
        known = samples.known
        found.labels = float(np.mean((samples.labels == data.y)[known])) if known.any() else np.nan
    found.seconds = time.perf_counter() - start
    return found


def too_few(samples):
    """Whether the rows of known label are too few to train on."""
    codes = samples.label_codes[samples.known]
    return len(codes) < LEAST_LABELLED or len(np.unique(codes)) < 2
