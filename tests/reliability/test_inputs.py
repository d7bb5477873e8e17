"""What users bring as X and y: the labels found are those of the plain arrays."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from skclean import PurifiedClassifier, TransitionCleaner
from skclean.evidence import LeaveOneOutRidge

RNG = np.random.default_rng(0)
N = 120
TRUTH = np.arange(N) % 3
# Exact in float16, so that every dtype holds the same numbers.
X = np.round(4 * (3 * np.eye(3, 4)[TRUTH] + RNG.standard_normal((N, 4)))) / 4
CODES = np.where(RNG.random(N) < 0.2, (TRUTH + 1) % 3, TRUTH)
NAMES = np.array(["ant", "bee", "cat"])[CODES]
MISSING = np.arange(N) % 10 == 0
LEVELS = ["cat", "bee", "ant"]
INDEX = RNG.permutation(N) * 7 + 3


def with_missing(labels, marker=None):
    labels = labels.astype(object)
    labels[MISSING] = marker
    return labels


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


FEATURES = {
    "float16": lambda: X.astype(np.float16),
    "float32": lambda: X.astype(np.float32),
    "longdouble": lambda: X.astype(np.longdouble),
    "integers": lambda: (4 * X).astype(np.int8),
    "objects": lambda: X.astype(object),
    "big-endian": lambda: X.astype(">f8"),
    "Fortran order": lambda: np.asfortranarray(X),
    "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "read-only": lambda: read_only(X),
    "lists": X.tolist,
    "frame": lambda: frame(),
    "nullable frame": lambda: frame().astype("Float64"),
    "frame of several dtypes": lambda: frame().astype({"a": np.float32}),
}
LABELS = {
    "list": NAMES.tolist,
    "tuple": lambda: tuple(NAMES),
    "object": lambda: NAMES.astype(object),
    "read-only": lambda: read_only(NAMES),
    "series": lambda: series(NAMES),
    "categories, one unused": lambda: (
        series(NAMES).astype("category").cat.set_categories(["z", *LEVELS])
    ),
}
LABELS_WITH_MISSING = {
    "None": lambda: with_missing(NAMES),
    "NaN": lambda: with_missing(NAMES, np.nan),
    "masked": lambda: np.ma.masked_array(NAMES, MISSING),
    "string": lambda: series(with_missing(NAMES)).astype("string"),
    "category": lambda: series(with_missing(NAMES)).astype("category"),
    "Int64": lambda: series(with_missing(CODES)).astype("Int64"),
    "float": lambda: np.where(MISSING, np.nan, CODES),
    "boolean": lambda: series(with_missing(CODES > 0)).astype("boolean"),
    "arrow": lambda: arrow_strings(with_missing(NAMES)),
}


def frame():
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(X, columns=list("abcd"), index=INDEX)


def series(labels):
    pd = pytest.importorskip("pandas")
    return pd.Series(labels, index=INDEX)


def arrow_strings(labels):
    pytest.importorskip("pyarrow")
    return series(labels).astype("string[pyarrow]")


def cleaner():
    return TransitionCleaner(estimator=LeaveOneOutRidge("linear"))


def purified(X, y):
    """Given and purified labels, from a fit, from transform and from a pipeline."""
    samples = cleaner().fit_transform(X, y)
    pipe = Pipeline([("clean", cleaner()), ("classify", PurifiedClassifier(LogisticRegression()))])
    for again in (cleaner().fit(X, y).transform(X), pipe.fit(X, y)[:-1].transform(X)):
        for field in ("given", "label_codes", "status_codes", "classes"):
            np.testing.assert_array_equal(getattr(again, field), getattr(samples, field))
        np.testing.assert_allclose(again.proba, samples.proba, atol=1e-6)
    assert np.isin(pipe.predict(X), samples.classes).all()
    return samples


@pytest.mark.parametrize("kind", FEATURES)
def test_features_of_every_kind(kind):
    scale = 4 if kind == "integers" else 1
    samples, plain = purified(FEATURES[kind](), NAMES), cleaner().fit_transform(scale * X, NAMES)
    np.testing.assert_array_equal(samples.labels, plain.labels)
    assert (samples.labels == np.array(LEVELS[::-1])[TRUTH]).mean() > 0.95


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(kind):
    samples, plain = purified(X, LABELS[kind]()), cleaner().fit_transform(X, NAMES)
    np.testing.assert_array_equal(samples.labels, plain.labels)
    assert samples.classes.tolist() == ["ant", "bee", "cat"]


@pytest.mark.parametrize("kind", LABELS_WITH_MISSING)
def test_missing_labels_of_every_kind(kind):
    samples = purified(X, LABELS_WITH_MISSING[kind]())
    codes = CODES > 0 if kind == "boolean" else CODES
    np.testing.assert_array_equal(samples.given, np.where(MISSING, -1, codes))
    assert set(samples.status[MISSING]) == {"predicted"}


def test_rows_that_come_twice_with_other_labels_keep_their_own():
    rows, labels = np.concatenate([X, X[:30]]), np.concatenate([CODES, (CODES[:30] + 1) % 3])
    samples = purified(rows, labels)
    np.testing.assert_array_equal(samples.given, labels)
