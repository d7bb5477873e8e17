"""A cleaner for the tests of what all cleaners share."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skclean._array import to_numpy
from skclean.base import BaseCleaner
from skclean.compose import PurifiedClassifier


class CentroidCleaner(BaseCleaner):
    """Judge by the distance to the means of the classes."""

    def __init__(self, threshold=0.5, missing_label="auto"):
        self.threshold = threshold
        self.missing_label = missing_label

    def _fit_samples(self, samples, groups):
        self.groups_seen_, self.trusted_seen_ = groups, samples.trusted
        features = to_numpy(samples.features)
        self.codes_ = np.unique(samples.given[samples.given >= 0])
        self.means_ = np.stack([features[samples.given == c].mean(axis=0) for c in self.codes_])
        return self._judge(samples)

    def _transform_samples(self, samples):
        return self._judge(samples)

    def _judge(self, samples):
        n = len(samples)
        distance = np.sum((to_numpy(samples.features)[:, None] - self.means_) ** 2, axis=2)
        near = np.exp(distance.min(axis=1, keepdims=True) - distance)
        proba = np.zeros((n, len(samples.classes)))
        proba[:, self.codes_] = near / near.sum(axis=1, keepdims=True)
        given = np.full(n, -1) if samples.given is None else samples.given
        clean = np.where(given < 0, np.nan, proba[np.arange(n), given])
        best = proba.argmax(axis=1)
        kept = clean >= self.threshold
        status = np.where(given < 0, "predicted", np.where(kept, "kept", "corrected"))
        status[(status == "corrected") & (proba.max(axis=1) < 0.9)] = "unknown"
        codes = np.where(kept, given, best)
        if samples.trusted is not None:
            status[samples.trusted] = "trusted"
            codes = np.where(samples.trusted, given, codes)
        return samples.with_labels(proba=proba, label_codes=codes, status=status, clean_proba=clean)


def pipeline():
    return Pipeline(
        [
            ("scale", StandardScaler()),
            ("clean", CentroidCleaner()),
            ("classify", PurifiedClassifier()),
        ]
    )


def assert_same(a, b):
    np.testing.assert_array_equal(to_numpy(a.features), to_numpy(b.features))
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.classes, b.classes)
    for field in ("given", "status", "proba", "clean_proba", "right_proba", "weight", "trusted"):
        left, right = getattr(a, field), getattr(b, field)
        if left is None or right is None:
            assert left is None and right is None, field
        else:
            np.testing.assert_array_equal(left, right, err_msg=field)
