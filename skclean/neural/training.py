"""The part of NeuralRetrainer that needs torch: train its networks, and predict by them."""

import copy
import importlib
from collections.abc import Set
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from skclean._validation import copied
from skclean.embeddings._described import described
from skclean.embeddings._settings import OPERATIONAL
from skclean.embeddings.checkpoint import fingerprint
from skclean.embeddings.devices import DeviceImages, make_fabric, seed_of, spawns
from skclean.embeddings.featurizer import value_range
from skclean.embeddings.network import colour_moments, shows_colour, without_tf32
from skclean.embeddings.training import fit
from skclean.neural._settings import OBJECTIVES
from skclean.neural.checks import check_parts, check_settings, layer_widths, takes_given
from skclean.neural.classifier import Classifier, feature_classifier, image_classifier
from skclean.neural.further import begin, check_made, check_memory, frozen
from skclean.neural.graph import GraphRegularizer
from skclean.neural.learners import Learners, outputs
from skclean.neural.loop import train
from skclean.neural.objectives.supervised import Supervised
from skclean.neural.rows import (
    DeviceFeatures,
    check_size,
    feature_moments,
    held_out,
    set_apart,
    training_rows,
)
from skclean.neural.views import feature_views, image_views
from skclean.samples import LabelledSamples

#: Images of fewer pixels a side are for `conv_net`.
TINY_IMAGE = 16
#: Learning rates where none is given.
LEARNING_RATES = {"sgd": 0.02, "adam": 0.002, "adamw": 0.002}
#: Rows predicted at a time.
PREDICTED_ROWS = 512
_OPERATIONAL = {*OPERATIONAL, "callbacks"}
# Rows that an objective may want.
_PARTS = {"labelled", "unlabelled", "trusted"}
# What the seed is for, beside the streams of the loop.
_INITIAL = 5


def fit_networks(
    estimator: Any,
    samples: LabelledSamples,
    source: Any,
    rng: np.random.RandomState,
    further: bool = False,
) -> tuple[list[Classifier], dict[str, np.ndarray]]:
    """Train the networks of a retrainer.

    Parameters
    ----------
    estimator : NeuralRetrainer
        Its parameters are read; `objective_`, for images `value_range_`, and for callbacks
        `networks_`, are set.
    samples : LabelledSamples
    source : ImageSource or None
        None trains on the features.
    rng : RandomState
    further : bool, default=False
        Whether it is one more epoch from what there is, as `partial_fit` asks for; `_kept` is set.

    Returns
    -------
    networks : list of Classifier
        On the host, in evaluation mode.
    history : dict of str to ndarray
    """
    name, n_classes = type(estimator).__name__, len(samples.classes)
    fitted = further and hasattr(estimator, "networks_")
    readable = np.ones(len(samples), dtype=bool) if source is None else source.readable
    made = _made(estimator, objective := open_objective(estimator.objective))
    if fitted:
        check_made(estimator, made)
    if further:
        check_memory(objective, n_classes, name)
    estimator.objective_ = objective
    check_parts(estimator, objective, samples)
    least = 1 if further else 2
    rows = training_rows(samples, estimator.use == "soft", readable, takes_given(objective), least)
    if "trusted" in objective.parts:
        rows = set_apart(rows, samples.classes, quiet=fitted)
    graph = bool(estimator.graph) if isinstance(estimator.graph, np.bool_) else estimator.graph
    if graph is False:
        rows = replace(rows, embedding=None)
    if not further:
        check_settings(estimator, objective)
        rows = held_out(rows, estimator.validation_fraction, rng)
    seed = int(rng.randint(2**31 - 1))
    if source is None:
        open_inputs: Any = partial(DeviceFeatures, samples.features)
        views: Any = feature_views()
    else:
        if not fitted:
            estimator.value_range_ = value_range(source)
        open_inputs = partial(DeviceImages, source, value_range=estimator.value_range_)
        views = image_views(source.shape[1:], colour=shows_colour(source))
    before = begin(estimator) if further else None
    networks: list[Any] = [] if before is None else list(before.networks)
    moments: Any = None
    if source is None:
        if networks:
            check_size(samples.features, rows.candidates)
        moments = networks[0].moments() if networks else _moments(samples, rows)
    if not networks:
        networks = (
            _image_networks(estimator, source, n_classes, seed, rng)
            if moments is None
            else _feature_networks(estimator, moments, n_classes, seed)
        )
    weak, strong = (
        own if getattr(estimator, key) is None else copied(getattr(estimator, key), key, name)
        for own, key in zip(views, ("augmentation", "strong_augmentation"), strict=True)
    )
    for view in (weak, strong):
        if hasattr(view, "bind"):
            if moments is None:
                raise ValueError(
                    f"{name}: expected augmentations of images, got {described(view)}, which is "
                    "for features; do choose another one, or backbone='mlp'."
                )
            view.bind(*moments)
    cleaners = None
    if estimator.cleaner is not None:
        cleaners = [copied(estimator.cleaner, "cleaner", name) for _ in networks]
        cleaners = cleaners if before is None else before.cleaners or cleaners
    if graph is True:
        graph = GraphRegularizer()
    rate, penalty = estimator.learning_rate, estimator.confidence_penalty
    learners = Learners(
        networks,
        objective,
        len(rows),
        n_classes,
        estimator.ema_decay,
        keep_best=bool(rows.held_out.any()),
        loss_window=estimator.loss_window,
    )
    if fitted and before is not None:
        before.restore(learners, estimator.networks_)
    if estimator.callbacks is not None:
        # They may predict while it trains.
        estimator.networks_ = learners.averaged()
    fabric = make_fabric(
        estimator.device, estimator.devices, estimator.num_nodes, estimator.precision, name=name
    )
    if further and spawns(fabric):
        raise ValueError(
            f"{name}: expected devices=1 for partial_fit, which starts no processes, got "
            f"{estimator.devices}; do set it, or start the script by torchrun."
        )
    folder = None if further else estimator.checkpoint_dir
    history = fit(
        fabric,
        learners,
        objective,
        rows,
        open_inputs,
        weak,
        strong,
        train=train,
        epochs=estimator.epochs,
        # Torch splits by Python's integers alone.
        batch_size=int(estimator.batch_size),
        unlabelled_ratio=estimator.unlabelled_ratio,
        balanced=estimator.class_balanced,
        optimizer=estimator.optimizer,
        learning_rate=LEARNING_RATES[estimator.optimizer] if rate is None else rate,
        weight_decay=estimator.weight_decay,
        schedule="constant" if further else estimator.schedule,
        clip_norm=estimator.clip_norm,
        graph=graph or None,
        cleaners=cleaners,
        threshold=estimator.threshold,
        warmup=None if cleaners is None else Supervised(confidence_penalty=penalty),
        warmup_epochs=0 if cleaners is None else estimator.warmup_epochs,
        patience=estimator.n_iter_no_change if learners.best else None,
        seed=seed,
        compile=estimator.compile,
        on_epoch_end=partial(_tell, estimator) if estimator.callbacks is not None else None,
        further=before,
        checkpoint_dir=folder,
        checkpoint_every=estimator.checkpoint_every,
        resume=estimator.resume and not further,
        settings=None
        if folder is None
        else {
            "views": [described(weak), described(strong)],
            "inputs": fingerprint(samples.features if source is None else source),
            "embeddings": None if rows.embedding is None else fingerprint(rows.embedding),
            **_settings(estimator),
        },
        verbose=estimator.verbose,
        name=name,
    )
    learners.cpu()
    if before is not None:
        estimator._kept = before.kept(learners, cleaners)
    estimator._frozen = frozen(learners.networks[0])
    estimator._made = {k: str(v) for k, v in made.items()}
    return list(learners.final()), history


def _made(estimator, objective):
    """What the networks and all that `partial_fit` keeps are made with."""
    parts = {
        "backbone": estimator.backbone,
        "weights": _initial(estimator.weights),
        "hidden_units": layer_widths(estimator.hidden_units, type(estimator).__name__),
        "dropout": float(estimator.dropout),
        "n_networks": int(estimator.n_networks),
        "objective": objective,
        "cleaner": estimator.cleaner,
        "optimizer": estimator.optimizer,
    }
    return {k: described(v) for k, v in parts.items()}


def _initial(weights):
    """What networks start from, without what says how a featurizer runs."""
    if not hasattr(weights, "get_params"):
        return weights
    kept = {k: v for k, v in weights.get_params(deep=False).items() if k not in _OPERATIONAL}
    return type(weights)(**{k: _initial(v) for k, v in kept.items()})


def _settings(estimator):
    """What must be the same where a training is resumed: all that is not about how it runs."""
    kept = {k: v for k, v in estimator.get_params(deep=False).items() if k not in _OPERATIONAL}
    return {k: described(v) for k, v in kept.items()}


def open_objective(objective: Any) -> Any:
    """An objective by its name, or a copy of the one given."""
    if isinstance(objective, str):
        home = importlib.import_module(f"skclean.neural.objectives.{objective}")
        objective = getattr(home, OBJECTIVES[objective])()
    objective = copied(objective, "objective", "NeuralRetrainer")
    parts = getattr(objective, "parts", None)
    if not isinstance(parts, Set) or not parts <= _PARTS:
        raise ValueError(
            "NeuralRetrainer: expected an objective with parts, a set out of 'labelled', "
            f"'unlabelled' and 'trusted', got {type(objective).__name__} with {parts!r}; do name "
            "what its terms need."
        )
    if hasattr(objective, "_parameter_constraints"):
        objective._validate_params()
    return objective


def predict_logits(estimator: Any, inputs: Any) -> np.ndarray:
    """Logits (m, C), summed over the networks, float64 where they are from features.

    Parameters
    ----------
    estimator : NeuralRetrainer
    inputs : ImageSource, or array of shape (m, d)
    """
    source = inputs if hasattr(inputs, "batches") else None
    rows = np.arange(source.n if source is not None else len(inputs))
    if not len(rows):
        return np.empty((0, len(estimator.classes_)))
    if source is None:
        # What a row gets does not depend on the rows beside it, to the precision of a float32.
        networks = [copy.deepcopy(n).to("cpu", torch.float64) for n in estimator.networks_]
        data: Any = DeviceFeatures(inputs, torch.device("cpu"), torch.float64)
        return _run(networks, data, rows)
    device = make_fabric(estimator.device).device
    networks = [copy.deepcopy(n).to(device) for n in estimator.networks_]
    images = DeviceImages(source, device, estimator.value_range_, resident=False)
    with without_tf32(device):
        return _run(networks, images, rows)


def _run(networks, data, rows):
    found = [z.cpu().numpy() for _, z in outputs(networks, data, rows, PREDICTED_ROWS)]
    return np.concatenate(found).astype(np.float64)


def _feature_networks(estimator, moments, n_classes, seed):
    mean, spread = moments
    return [
        feature_classifier(
            mean,
            spread,
            n_classes,
            hidden_units=layer_widths(estimator.hidden_units, type(estimator).__name__),
            dropout=estimator.dropout,
            seed=seed_of(seed, _INITIAL, number),
        )
        for number in range(estimator.n_networks)
    ]


def _moments(samples, rows):
    mean, spread = feature_moments(samples.features, rows.candidates)
    return torch.from_numpy(mean.astype(np.float32)), spread


def _image_networks(estimator, source, n_classes, seed, rng):
    side, backbone, weights = min(source.shape[1:]), estimator.backbone, estimator.weights
    if backbone == "auto":
        backbone = "conv_net" if side < TINY_IMAGE else "preact_resnet18"
    # A featurizer may come in scikit-learn's FrozenEstimator.
    featurizer = getattr(weights, "estimator", weights)
    if hasattr(featurizer, "fit_transform"):
        weights = _backbone_of(featurizer)
        own = described(estimator.backbone)
        if own not in (described("auto"), described(featurizer.backbone)):
            raise ValueError(
                f"NeuralRetrainer: expected backbone='auto' beside weights={featurizer!r}, whose "
                f"backbone is taken, got {own}; do leave one of them out."
            )
    mean = std = None
    if weights is None and isinstance(backbone, str):
        mean, std = colour_moments(source, estimator.value_range_, rng)
    return [
        image_classifier(
            backbone,
            n_classes,
            weights=weights,
            image_size=source.shape[1:],
            seed=seed_of(seed, _INITIAL, number),
            mean=mean,
            std=std,
        )
        for number in range(estimator.n_networks)
    ]


def _backbone_of(featurizer):
    backbone = getattr(featurizer, "backbone_", None)
    if backbone is None:
        raise ValueError(
            "NeuralRetrainer: expected weights of a featurizer that has trained a backbone, got "
            f"{featurizer!r} without one; do fit it before, by another method than k-means, and "
            "wrap it in sklearn.frozen.FrozenEstimator where this estimator is cloned."
        )
    return backbone


def _tell(estimator, epoch, record):
    """Call all callbacks; whether one of them wants the training to end."""
    return any([bool(c.on_epoch_end(estimator, epoch, record)) for c in estimator.callbacks])
