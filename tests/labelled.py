"""Rows of three classes of which every fifth given label is wrong, as a cleaner leaves them."""

import numpy as np

from skclean.samples import LabelledSamples

RNG = np.random.default_rng(0)
N = 90
TRUTH = np.repeat([0, 1, 2], 30)
X = RNG.standard_normal((N, 4)) + 2 * np.eye(3, 4)[TRUTH]
NAMES = np.array(["ant", "bee", "cat"])
GIVEN = NAMES[np.where(np.arange(N) % 5 == 0, (TRUTH + 1) % 3, TRUTH)]


def samples(**changes):
    """Every fifth given label is wrong: corrected, but unknown in the first ten rows."""
    wrong = np.arange(N) % 5 == 0
    status = np.where(wrong, "corrected", "kept")
    status[:10] = "unknown"
    fields = {
        "proba": 0.9 * np.eye(3)[TRUTH] + 0.1 / 3,
        "status": status,
        "labels": NAMES[TRUTH],
        "clean_proba": np.where(wrong, 0.1, 0.8),
    }
    return LabelledSamples(X, GIVEN, **(fields | changes))
