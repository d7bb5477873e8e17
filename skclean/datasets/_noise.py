"""Makers of label noise: clean labels in, noisy labels and the transition matrix out."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_random_state

from skclean._array import to_numpy
from skclean._labels import is_missing, label_array, shown

#: Named class maps of `make_asymmetric_noise`. The names are CIFAR-10's, in torchvision's order:
#: truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog.
ASYMMETRIC_MAPS = {"cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}}


def make_symmetric_noise(
    y: Any, noise_rate: float, *, include_true: bool = True, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Replace labels by classes drawn uniformly.

    Exactly ``round(noise_rate * n)`` rows are drawn without replacement and relabelled; the
    transition matrix is that of this number of rows.

    Parameters
    ----------
    y : array-like of shape (n,)
        Clean labels, of any type that `numpy.unique` sorts.
    noise_rate : float in [0, 1]
        Share of the rows that are relabelled.
    include_true : bool, default=True
        True draws from all C classes, the true one included, so that a share of
        ``noise_rate * (1 - 1 / C)`` ends up wrong: the convention of DivideMix and of the
        tables of REED, DMLP, CPC and IEG. False draws from the C - 1 other classes, so that
        exactly ``noise_rate`` is wrong.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
        The labels after the noise, in the dtype of `y`.
    transition : ndarray of shape (C, C)
        P(given = column | true = row), classes in sorted order.

    Raises
    ------
    TypeError
        If `noise_rate` is not a number.
    ValueError
        If `noise_rate` is outside [0, 1] or `y` has fewer than two classes.

    Examples
    --------
    >>> from skclean.datasets import make_symmetric_noise
    >>> y_noisy, transition = make_symmetric_noise([0, 1, 2, 0, 1, 2], 0.5, random_state=0)
    >>> transition.round(2)
    array([[0.67, 0.17, 0.17],
           [0.17, 0.67, 0.17],
           [0.17, 0.17, 0.67]])
    """
    classes, codes, rate = _check_labels(y, noise_rate, "make_symmetric_noise")
    rng = check_random_state(random_state)
    n_classes, noisy = len(classes), codes.copy()
    # Not rng.permutation: splits of the same seed draw their test rows from it, and would take the
    # corrupted rows for the test set.
    rows = np.argsort(rng.random_sample(len(codes)))[: int(round(rate * len(codes)))]
    rate = len(rows) / len(codes)
    if include_true:
        noisy[rows] = rng.randint(n_classes, size=len(rows))
        transition = np.full((n_classes, n_classes), rate / n_classes)
    else:
        noisy[rows] = (codes[rows] + rng.randint(1, n_classes, size=len(rows))) % n_classes
        transition = np.full((n_classes, n_classes), rate / (n_classes - 1))
        np.fill_diagonal(transition, 0)
    return classes[noisy], transition + (1 - rate) * np.eye(n_classes)


def make_asymmetric_noise(
    y: Any, noise_rate: float, class_map: dict | str = "cifar10", *, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Replace labels by the one class that each is mistaken for.

    Parameters
    ----------
    y : array-like of shape (n,)
        Clean labels.
    noise_rate : float in [0, 1]
        Probability that a row of a mapped class is relabelled. Classes outside the map keep
        their labels, so the rate over all rows is lower (0.2 at 0.4 with ``"cifar10"``).
    class_map : dict or {"cifar10"}, default="cifar10"
        ``{true class: given class}`` in the classes of `y`. ``"cifar10"`` is the map of the
        published tables, for integer labels 0-9: 9->1, 2->0, 4->7, 3<->5. The superclass maps
        of CIFAR-100 are dictionaries of the same form.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
        The labels after the noise, in the dtype of `y`.
    transition : ndarray of shape (C, C)
        P(given = column | true = row), classes in sorted order.

    Raises
    ------
    TypeError
        If `noise_rate` is not a number.
    ValueError
        If `noise_rate` is outside [0, 1], or the map names a class that `y` has not.
    """
    classes, codes, rate = _check_labels(y, noise_rate, "make_asymmetric_noise")
    found = ASYMMETRIC_MAPS.get(class_map) if isinstance(class_map, str) else class_map
    if not isinstance(found, Mapping):
        raise ValueError(
            f"make_asymmetric_noise: expected class_map to be a dict or one of "
            f"{sorted(ASYMMETRIC_MAPS)}, got {shown(class_map)}."
        )
    position = {label: code for code, label in enumerate(classes.tolist())}
    unknown = [c for pair in found.items() for c in pair if c not in position]
    if unknown:
        raise ValueError(
            f"make_asymmetric_noise: expected class_map to name classes of y, got "
            f"{shown(unknown[0])}; the classes are {classes.tolist()[:20]}."
        )
    target = np.arange(len(classes))
    for source, given in found.items():
        target[position[source]] = position[given]
    return _flip(classes, codes, target, rate, random_state)


def make_pair_noise(
    y: Any, noise_rate: float, *, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Replace labels by the next class in sorted order (the last by the first).

    Parameters
    ----------
    y : array-like of shape (n,)
        Clean labels.
    noise_rate : float in [0, 1]
        Probability that a row is relabelled.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
        The labels after the noise, in the dtype of `y`.
    transition : ndarray of shape (C, C)
        P(given = column | true = row), classes in sorted order.

    Raises
    ------
    TypeError
        If `noise_rate` is not a number.
    ValueError
        If `noise_rate` is outside [0, 1] or `y` has fewer than two classes.
    """
    classes, codes, rate = _check_labels(y, noise_rate, "make_pair_noise")
    target = np.roll(np.arange(len(classes)), -1)
    return _flip(classes, codes, target, rate, random_state)


def make_instance_dependent_noise(
    X: Any, y: Any, noise_rate: float, *, spread: float = 0.1, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Replace labels by classes that depend on the features of the row.

    Each row i has a flip probability q_i from a normal distribution around `noise_rate`,
    truncated to [0, 1]. Where it flips, the given class is drawn from softmax(z_i W_y) over the
    other classes, with z_i the standardised features and one random normal matrix W_y per
    true class [1]_: rows that look alike are mistaken for the same class.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Features that the mistakes depend on. Columns are standardised first.
    y : array-like of shape (n,)
        Clean labels.
    noise_rate : float in [0, 1]
        Centre of the flip probabilities, and their mean but for the truncation, which brings a
        rate of 0 to 0.08 and one of 1 to 0.92 at the default `spread`.
    spread : float, default=0.1
        Standard deviation of the flip probabilities before truncation; 0 gives every row the
        same.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
        The labels after the noise, in the dtype of `y`.
    transition : ndarray of shape (C, C)
        P(given = column | true = row), the mean over the rows of each class.

    Raises
    ------
    TypeError
        If `noise_rate` is not a number.
    ValueError
        If `noise_rate` is outside [0, 1], `spread` is negative, or lengths differ.

    References
    ----------
    .. [1] Xia et al., "Part-dependent Label Noise: Towards Instance-dependent Label Noise",
       NeurIPS 2020, algorithm 2.
    """
    classes, codes, rate = _check_labels(y, noise_rate, "make_instance_dependent_noise")
    if not isinstance(spread, Real) or not 0 <= spread < np.inf:
        raise ValueError(
            f"make_instance_dependent_noise: expected spread to be a number of at least 0, got "
            f"{shown(spread)}; do pass one such as 0.1."
        )
    features = check_array(X, dtype=np.float64, copy=True)
    check_consistent_length(features, codes)
    features -= features.mean(axis=0)
    deviation = features.std(axis=0)
    features /= np.where(deviation > 0, deviation, 1)
    rng = check_random_state(random_state)
    flip = _truncated_normal(rate, spread, len(codes), rng)
    transition, noisy = np.empty((len(classes), len(classes))), codes.copy()
    for k in range(len(classes)):
        rows = np.flatnonzero(codes == k)
        logits = features[rows] @ rng.standard_normal((features.shape[1], len(classes)))
        logits[:, k] = -np.inf
        proba = np.exp(logits - logits.max(axis=1, keepdims=True))
        proba *= (flip[rows] / proba.sum(axis=1))[:, None]
        proba[:, k] = 1 - flip[rows]
        draw = rng.random_sample(len(rows))[:, None] * proba.sum(axis=1, keepdims=True)
        noisy[rows] = (proba.cumsum(axis=1) < draw).sum(axis=1)
        transition[k] = proba.mean(axis=0)
    return classes[noisy], transition


def make_openset_noise(
    y: Any, open_classes: Any, *, random_state: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Give rows of foreign classes labels of the other classes.

    What remains is a set of labels in which the rows of `open_classes` belong to no class at
    all: images from elsewhere under a label of the data set. Concatenate the foreign rows to
    the data under a class of their own, and name that class here.

    Parameters
    ----------
    y : array-like of shape (n,)
        True classes, the foreign ones included.
    open_classes : array-like
        The classes that the given labels shall not know.
    random_state : int, RandomState instance or None, default=None
        Source of the draws.

    Returns
    -------
    y_noisy : ndarray of shape (n,)
        Labels of the remaining classes alone; foreign rows have one drawn uniformly.
    transition : ndarray of shape (C_all, C_known)
        P(given = column | true = row): rows are all classes of `y` in sorted order, columns the
        known ones in sorted order.

    Raises
    ------
    ValueError
        If `open_classes` holds a class that `y` has not, or leaves fewer than two.
    """
    classes, codes, _ = _check_labels(y, 0.0, "make_openset_noise")
    is_open = np.isin(classes, np.asarray(open_classes))
    missing = np.setdiff1d(np.asarray(open_classes), classes)
    if len(missing):
        raise ValueError(
            f"make_openset_noise: expected open_classes to be classes of y, got "
            f"{shown(missing[0])}; the classes are {classes.tolist()[:20]}."
        )
    known = np.flatnonzero(~is_open)
    if len(known) < 2:
        raise ValueError(
            f"make_openset_noise: expected at least two classes outside open_classes, got "
            f"{len(known)}."
        )
    rng = check_random_state(random_state)
    foreign, noisy = is_open[codes], codes.copy()
    noisy[foreign] = known[rng.randint(len(known), size=foreign.sum())]
    transition = np.eye(len(classes))[:, known]
    transition[is_open] = 1 / len(known)
    return classes[noisy], transition


def _flip(classes, codes, target, rate, random_state):
    """Labels after each row took class ``target[code]`` with probability `rate`."""
    flipped = check_random_state(random_state).random_sample(len(codes)) < rate
    transition = (1 - rate) * np.eye(len(classes))
    transition[np.arange(len(classes)), target] += rate
    return classes[np.where(flipped, target[codes], codes)], transition


def _truncated_normal(mean, spread, size, rng):
    """Draws from a normal distribution conditioned on [0, 1]."""
    if spread == 0:
        return np.full(size, mean)
    draws = rng.normal(mean, spread, size)
    while (outside := (draws < 0) | (draws > 1)).any():
        draws[outside] = rng.normal(mean, spread, outside.sum())
    return draws


def _check_labels(y, noise_rate, name):
    """Sorted classes, codes and the rate, or an error of function `name` that says what to do."""
    if isinstance(noise_rate, bool) or not isinstance(noise_rate, Real):
        raise TypeError(
            f"{name}: expected noise_rate as a number in [0, 1], got {shown(noise_rate)}; do pass "
            "a share such as 0.2."
        )
    if not 0 <= noise_rate <= 1:
        raise ValueError(
            f"{name}: expected noise_rate to be in [0, 1], got {shown(noise_rate)}; do pass a "
            "share such as 0.2, not per cent."
        )
    missing = is_missing(label_array(y).ravel()).sum()
    y = to_numpy(y)
    if y.ndim != 1 and not (y.ndim == 2 and y.shape[1] == 1):
        raise ValueError(
            f"{name}: expected y as a 1d array, got shape {y.shape}; do pass one label a row."
        )
    if missing:
        raise ValueError(
            f"{name}: expected a label in every row, got none in {missing} of {len(y)}; do "
            "leave those rows out."
        )
    try:
        classes, codes = np.unique(y.ravel(), return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"{name}: expected labels of one type, got several ({error}); do convert them."
        ) from error
    if len(classes) < 2:
        raise ValueError(
            f"{name}: expected y to hold at least two classes, got {len(classes)}; do pass clean "
            "labels of all classes."
        )
    return classes, codes, float(noise_rate)
