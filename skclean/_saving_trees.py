"""Whether the trees of a saved file fit together: compiled code follows them without a look."""

from itertools import chain
from typing import Any

import numpy as np


def check_tree(
    n_features: int,
    n_classes: np.ndarray,
    n_outputs: int,
    max_depth: int,
    node_count: int,
    nodes: np.ndarray,
    values: np.ndarray,
) -> None:
    """Raise ValueError for a tree whose nodes lead out of it, or read other features."""
    rows, node_count = np.arange(len(nodes)), int(node_count)
    left, right = nodes["left_child"], nodes["right_child"]
    inner = left != -1
    ahead = np.minimum(left, right)[inner] > rows[inner]
    inside = np.maximum(left, right)[inner] < node_count
    feature = nodes["feature"][inner]
    known = (feature >= 0) & (feature < n_features)
    depth = np.zeros(len(nodes), dtype=np.int64)
    sound = len(nodes) == node_count > 0 and bool((ahead & inside & known).all())
    if sound:
        for i in np.flatnonzero(inner):
            depth[left[i]] = depth[right[i]] = depth[i] + 1
    shape = (node_count, n_outputs, max(np.max(n_classes), 1))
    fits = values.shape == shape and np.shape(n_classes) == (n_outputs,)
    if not sound or not fits or not depth.max() <= max_depth <= node_count:
        raise ValueError("a tree whose nodes do not fit together")


def check_nodes(nodes: np.ndarray) -> None:
    """Raise ValueError for boosted nodes that lead out of their tree, or split categories."""
    rows = np.flatnonzero(nodes["is_leaf"] == 0)
    inner = nodes[rows]
    left, right = inner["left"], inner["right"]
    sound = (np.minimum(left, right) > rows) & (np.maximum(left, right) < len(nodes))
    sound &= (inner["feature_idx"] >= 0) & (inner["is_categorical"] == 0)
    if not len(nodes) or not sound.all():
        raise ValueError("a boosted tree whose nodes do not fit together")


def check_trees(estimator: Any) -> None:
    """Raise ValueError for an estimator whose trees are not of the width or number that it says.

    What trees read is what their rows hold, and what they write to is of one column a tree.
    """
    tree, width = getattr(estimator, "tree_", None), getattr(estimator, "n_features_in_", None)
    if tree is not None and tree.n_features != width:
        raise ValueError("a tree of other features")
    home, trees = type(estimator).__module__, getattr(estimator, "estimators_", None)
    if home == "sklearn.ensemble._gb" and trees is not None:
        _check_boosted(estimator)
    elif home == "sklearn.ensemble._iforest" and trees is not None:
        # The width of X is looked at nowhere else, where all of its features are taken.
        widths = [estimator._max_features, *map(len, estimator.estimators_features_)]
        if {*widths, *(t.n_features_in_ for t in trees)} != {estimator._max_features}:
            raise ValueError("trees of other features")
    elif home == "sklearn.ensemble._forest" and trees is not None:
        if {t.n_features_in_ for t in trees} != {width}:
            raise ValueError("trees of other features")
    elif hasattr(estimator, "_predictors"):
        _check_boosted_in_bins(estimator)


def _check_boosted(estimator):
    trees, width = estimator.estimators_, estimator.n_features_in_
    shape = (estimator.n_estimators_, estimator.n_trees_per_iteration_)
    if trees.shape != shape or {tree.n_features_in_ for tree in trees.flat} != {width}:
        raise ValueError("boosted trees of another number, or of other features")
    if estimator._raw_predict_init(np.ones((2, width), np.float32)).shape != (2, shape[1]):
        raise ValueError("boosted trees whose first prediction is of other classes")


def _check_boosted_in_bins(estimator):
    for predictor in chain.from_iterable(estimator._predictors):
        nodes = predictor.nodes[predictor.nodes["is_leaf"] == 0]
        if (nodes["feature_idx"] >= estimator.n_features_in_).any():
            raise ValueError("a boosted tree of other features")
    # Of estimators that split categories nothing is stored, and they alone have these.
    if estimator._preprocessor is not None or np.any(estimator._bin_mapper.is_categorical_):
        raise ValueError("boosted trees of categories")
