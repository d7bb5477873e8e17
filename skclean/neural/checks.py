"""Whether the settings of NeuralRetrainer go together."""

from numbers import Real
from typing import Any

import numpy as np

from skclean.neural.schedules import schedule_shares
from skclean.samples import LabelledSamples


def check_parts(estimator: Any, objective: Any, samples: LabelledSamples) -> None:
    """Refuse what neither `fit` nor `partial_fit` can train with.

    Parameters
    ----------
    estimator : NeuralRetrainer
    objective : object
    samples : LabelledSamples

    Raises
    ------
    ValueError
        If a callback is a class or has no method `on_epoch_end`, weights are given beside features,
        or purified soft targets to an objective that takes the given labels, or there are no
        embeddings for a graph.
    """
    name = type(estimator).__name__
    for callback in () if estimator.callbacks is None else estimator.callbacks:
        if isinstance(callback, type):
            raise ValueError(
                f"{name}: expected instances as callbacks, got the class {callback.__name__}; do "
                f"pass {callback.__name__}()."
            )
        if not callable(getattr(callback, "on_epoch_end", None)):
            raise ValueError(
                f"{name}: expected callbacks with on_epoch_end(retrainer, epoch, record), got "
                f"{type(callback).__name__} without; do add that method."
            )
    # It needs torch.
    from skclean.neural.graph import GraphRegularizer

    graph = estimator.graph
    drawn = graph if isinstance(graph, bool | np.bool_) else isinstance(graph, GraphRegularizer)
    if drawn and not samples.features.shape[1]:
        raise ValueError(
            f"{name}: expected a container with features for graph={graph!r}, got images alone; do "
            "put SSLFeaturizer before this step, or leave the graph out."
        )
    if estimator.weights is not None and estimator._on_features:
        raise ValueError(
            f"{name}: expected weights=None where features are trained on, got "
            f"{estimator.weights!r}; do name a backbone for images."
        )
    if estimator.use == "soft" and takes_given(objective) and samples.purified:
        raise ValueError(
            f"{name}: expected use='labels' with {type(objective).__name__}, which takes the given "
            "labels of a purified container, got 'soft'; do set it, or choose another objective."
        )


def check_settings(estimator: Any, objective: Any) -> None:
    """Refuse settings that would have no effect in `fit`.

    Parameters
    ----------
    estimator : NeuralRetrainer
    objective : object

    Raises
    ------
    ValueError
        If the cleaner would never divide the rows, the schedule gives no shares, or the rows that
        are to be held out are not there to be.
    """
    name = type(estimator).__name__
    if estimator.cleaner is not None and estimator.warmup_epochs >= estimator.epochs:
        raise ValueError(
            f"{name}: expected warmup_epochs below epochs={estimator.epochs}, got "
            f"{estimator.warmup_epochs}, so that the cleaner would never divide the rows; do lower "
            "it, or raise epochs."
        )
    if callable(estimator.schedule):
        schedule_shares(estimator.schedule, estimator.epochs, name)
    part = estimator.validation_fraction
    if estimator.n_iter_no_change is not None and part == 0:
        raise ValueError(
            f"{name}: expected validation_fraction beside n_iter_no_change, got 0; do set a share "
            "of the labelled rows, or 'trusted'."
        )
    if part == "trusted" and "trusted" in objective.parts:
        raise ValueError(
            f"{name}: expected a share as validation_fraction, as the objective learns from the "
            "trusted rows, got 'trusted'; do set a number."
        )


def takes_given(objective: Any) -> bool:
    """Whether an objective learns from the labels that were given, purified or not."""
    return getattr(objective, "labels", None) == "given"


def layer_widths(hidden_units: Any, name: str) -> list[int]:
    """The parameter `hidden_units` as a list; ValueError if it holds other than widths."""
    widths = list(hidden_units) if np.iterable(hidden_units) else [hidden_units]
    # 0-dimensional arrays, and scalars of NumPy.
    widths = [w.item() if hasattr(w, "item") and np.ndim(w) == 0 else w for w in widths]
    if not all(_is_width(width) for width in widths):
        raise ValueError(
            f"{name}: expected hidden_units of whole numbers from 1 on, got {hidden_units!r}; do "
            "pass the width of each layer."
        )
    return [int(width) for width in widths]


def _is_width(value):
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and value > 0 and float(value).is_integer()
