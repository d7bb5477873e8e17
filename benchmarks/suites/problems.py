"""What the suites run on: Gaussian classes, some of the labels wrong, of growing size."""

import numpy as np

from skclean.datasets import make_symmetric_noise

#: Rows, features and classes around which one of them grows.
BASE = (8_000, 64, 10)
#: By which each is multiplied in turn.
FACTORS = {"n": (0.5, 1, 2, 4, 8), "d": (0.5, 1, 2, 4), "C": (0.5, 1, 2, 4)}
AXES = ("n", "d", "C")
#: Distance between two classes, in standard deviations of a feature.
SEPARATION = 5.0


def cases():
    """Sizes (n, d, C), one of them varied at a time."""
    found = []
    for position, axis in enumerate(AXES):
        for factor in FACTORS[axis]:
            sizes = [*BASE]
            sizes[position] = int(sizes[position] * factor)
            found.append(tuple(sizes))
    return list(dict.fromkeys(found))


def along(axis, sizes):
    """Those of the sizes that differ from the others along one axis alone.

    Parameters
    ----------
    axis : {"n", "d", "C"}
    sizes : sequence of (n, d, C)
    """
    position = AXES.index(axis)
    rest = [tuple(s for i, s in enumerate(size) if i != position) for size in sizes]
    common = max(set(rest), key=rest.count)
    return sorted(
        (size for size, r in zip(sizes, rest, strict=True) if r == common),
        key=lambda size: size[position],
    )


def gaussian_classes(n, d, n_classes, noise=0.2):
    """Features (n, d) float32, true and given labels (n,)."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((n_classes, d), dtype=np.float32)
    means *= SEPARATION / (2 * d) ** 0.5
    y = np.arange(n) % n_classes
    X = means[y] + rng.standard_normal((n, d), dtype=np.float32)
    return X, y, make_symmetric_noise(y, noise, random_state=0)[0]
