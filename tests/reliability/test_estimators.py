"""Every cleaner and purifier on whatever arrays and labels people may pass.

Either there is a result that holds what the documentation promises, or a ValueError or TypeError
that says who expected what. ``SKCLEAN_SOAK=5000 pytest tests/reliability`` draws that many batches
for each estimator, new ones each time; without it there are few and always the same.
"""

import os
import re
import warnings
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOAK = int(os.environ.get("SKCLEAN_SOAK", "0"))

ESTIMATORS = {
    "auto": AutoPurifier(),
    "credibility": CredibilityRelabeler(),
    "gmm": GMMCleaner(),
    "gmm by class": GMMCleaner(class_aware=True),
    "gmm of folds": GMMCleaner(estimator=LogisticRegression(max_iter=20), cv=2),
    "least squares": LeastSquaresMetaPurifier(),
    "least squares, paper": LeastSquaresMetaPurifier(solver="paper", n_periods=2, period=2),
    "least squares, slices": LeastSquaresMetaPurifier(
        solver="paper", n_periods=1, period=2, batch_size=16
    ),
    "meta": MetaReweighter(n_cycles=1, cycle_length=4),
    "meta, paper": MetaReweighter(rule="paper", n_probe=0, n_cycles=1, cycle_length=4),
    "meta, hidden": MetaReweighter(hidden_layer_size=3, n_cycles=1, cycle_length=4, batch_size=7),
    "open set": OpenSetFilter(),
    "prototype": PrototypeCleaner(max_iter=2),
    "prototype, paper": PrototypeCleaner(objective="paper", max_iter=2),
    "ranking": RankingCleaner(),
    "transition": TransitionCleaner(),
    "steps": Pipeline(
        [
            ("clean", GMMCleaner()),
            ("relabel", CredibilityRelabeler()),
            ("open set", OpenSetFilter()),
        ]
    ),
}
SCALES = (1.0, 1e-3, 1e3, 1e-10, 1e10, 1e-60, 1e60)
SINGLE_SCALES = (1.0, 1e-3, 1e3, 1e-10, 1e10)
#: Beyond these, squares of features, and their squares, are more than the dtype holds.
LARGEST = {"f8": 1e70, "object": 1e70, "f4": 1e15, "u1": 100, "i1": 100}
DTYPES = ("f8", "f4", "f2", "i8", "i1", "u1", "bool", "object")
LABELS = ("integers", "strings", "booleans", "floats", "unicode", "negative")
NONSENSE = ("bytes", "mixed", "continuous", "infinite", "columns", "none", "short")
#: What scikit-learn says of X and y without a name.
SCIKIT_LEARN = (
    "Input [Xy] contains|Expected 2D array|could not convert string to float|"
    "solver needs samples of at least 2 classes|Cannot have number of splits"
)
FORMS = ("array", "container", "fortran", "strided", "read-only", "list", "partly readable")


class Batch(NamedTuple):
    """What is passed to an estimator."""

    X: Any
    y: Any
    options: dict


@st.composite
def batches(draw):
    """Batches of 0 to 60 rows: Hypothesis chooses their shape and faults, a seed the numbers."""
    n = draw(st.integers(12, 60) | st.integers(0, 11))
    n_features, n_classes = draw(st.integers(1, 8)), draw(st.sampled_from((3, 2, 6, 1)))
    faulty = draw(st.sampled_from((None, None, None, "X", "y", "options")))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    truth = rng.integers(0, n_classes, n)
    apart = draw(st.sampled_from((3.0, 0.0, 30.0)))
    X = apart * rng.standard_normal((n_classes, n_features))[truth]
    X = X + rng.standard_normal((n, n_features))
    X = draw(features(X, rng, faulty == "X"))
    y, labelled = draw(labels(truth, n_classes, rng, faulty == "y"))
    options = {"trusted": draw(masks(labelled, rng)), "groups": draw(group_labels(n, rng))}
    if faulty == "options":
        bad = [np.arange(n), np.zeros(n + 1, dtype=bool), np.full(n, None), ["a"] * (n - 1) + [1.0]]
        options[draw(st.sampled_from(("trusted", "groups")))] = draw(st.sampled_from(bad))
    return Batch(*in_form(X, y, draw(st.sampled_from(FORMS)), rng), options)


@st.composite
def features(draw, X, rng, faulty):
    """Features of every dtype and size; faulty ones hold NaN, an infinity or a word."""
    n, d = X.shape
    faults = draw(st.sets(st.sampled_from(("constant", "duplicates", "zeros", "offset", "copies"))))
    if "constant" in faults:
        X[:, 0] = 7.25
    if "duplicates" in faults and n:
        X = X[rng.integers(0, max(n // 3, 1), n)]
    if "zeros" in faults:
        X[: n // 2] = 0
    if "offset" in faults:
        X += 1e6
    if "copies" in faults:
        X[:] = X[:, :1]
    dtype = draw(st.sampled_from(DTYPES))
    scales = {"f8": SCALES, "object": SCALES, "f4": SINGLE_SCALES}.get(dtype, (1.0,))
    X *= draw(st.sampled_from(scales))
    if draw(st.integers(0, 3)) == 3:
        X[:, -1] *= draw(st.sampled_from(scales[:5]))
    largest = LARGEST.get(dtype, 1e4)
    X = np.clip(X, 0 if dtype == "u1" else -largest, largest)
    X = X.astype(dtype)
    if faulty and n:
        X = X if X.dtype.kind in ("f", "O") else X.astype(object)
        bad = (np.nan, np.inf, "word", None) if X.dtype == object else (np.nan, -np.inf)
        X[rng.integers(n), rng.integers(d)] = draw(st.sampled_from(bad))
    return X


@st.composite
def labels(draw, truth, n_classes, rng, faulty):
    """Noisy labels, and the mask of those that are there; None where they make no sense."""
    n = len(truth)
    wrong = rng.random(n) < draw(st.sampled_from((0.3, 0.0, 1.0)))
    codes = np.where(wrong, rng.integers(0, n_classes, n), truth)
    missing = rng.random(n) < draw(st.sampled_from((0.0, 0.0, 0.0, 0.3, 0.3, 0.95, 1.0)))
    kind = draw(st.sampled_from(NONSENSE if faulty else LABELS))
    if kind in ("strings", "unicode"):
        names = (
            ["a", "b", "ç 漢字", "", "\U0001f600", "<b>"] if kind == "unicode" else list("abcdef")
        )
        y = np.array([None if m else names[c] for c, m in zip(codes, missing)], dtype=object)
    elif kind == "floats":
        y = np.where(missing, np.nan, codes)
    elif kind == "negative":
        y, missing = codes - 3, np.zeros(n, dtype=bool)
        if len(np.unique(y)) > 2:
            missing = y == -1
    elif kind == "booleans":
        y = np.array([None if m else bool(c % 2) for c, m in zip(codes, missing)], dtype=object)
    else:
        y, missing = codes + 10, np.zeros(n, dtype=bool)
    nonsense = {
        "bytes": lambda: y.astype(bytes),
        "mixed": lambda: np.array([str(v) if i % 2 else v for i, v in enumerate(y)], dtype=object),
        "continuous": lambda: y + 0.25,
        "infinite": lambda: np.where(y > 10, np.inf, y),
        "columns": lambda: np.column_stack([y, y]),
        "none": lambda: None,
        "short": lambda: y[:-1],
    }
    return (nonsense[kind](), None) if faulty else (y, ~missing)


@st.composite
def masks(draw, labelled, rng):
    """Trusted rows, out of those that have a label."""
    share = draw(st.sampled_from((None, None, 0.3, 0.05, 1.0, 0.0)))
    if share is None or labelled is None:
        return None
    return labelled & (rng.random(len(labelled)) < share)


@st.composite
def group_labels(draw, n, rng):
    """Groups of rows."""
    groups = {
        "none": None,
        "pairs": np.arange(n) // 2,
        "one": np.zeros(n, dtype=int),
        "own": rng.permutation(n),
        "names": np.array(["x", "y", "z"])[rng.integers(0, 3, n)],
    }
    return groups[draw(st.sampled_from(("none", "none", *groups)))]


def in_form(X, y, form, rng):
    """The same batch in another memory layout or in a container."""
    if form == "fortran":
        return np.asfortranarray(X), y
    if form == "strided":
        return np.repeat(X, 2, axis=0)[::2], y
    if form == "read-only":
        X.flags.writeable = False
        return X, y
    if form == "list":
        return X.tolist(), y if y is None or y.ndim > 1 else y.tolist()
    if form in ("container", "partly readable"):
        readable = rng.random(len(X)) < 0.8 if form == "partly readable" else None
        try:
            return LabelledSamples(X, y, readable=readable), None
        except ValueError as error:
            check_message(str(error), {"LabelledSamples"})
    return X, y


def check(estimator, batch):
    """None where there was a result, else the error; AssertionError if it is not as promised."""
    # The last step of a pipeline is the one that speaks.
    options = {} if isinstance(estimator, Pipeline) else batch.options
    before = fingerprint(batch)
    with strict_numbers():
        try:
            fitted = clone(estimator)
            samples = fitted.fit_transform(batch.X, batch.y, **options)
        except (ValueError, TypeError) as error:
            steps = getattr(estimator, "steps", [("", estimator)])
            check_message(str(error), {type(step).__name__ for _, step in steps})
            return str(error)
        finally:
            assert fingerprint(batch) == before, "the caller's arrays were written to"
        check_result(samples, fitted, options)
        other = clone(estimator).fit(batch.X, batch.y, **options)
        assert_same(other.transform(batch.X), samples)
        again = other.transform(samples.with_labels() if samples.trusted is None else batch.X)
        assert_same(again, samples)
        check_new_rows(other, samples)
    assert fingerprint(batch) == before, "the caller's arrays were written to"
    return None


def check_message(message, names):
    """Whoever speaks says who, or which argument, and what was expected; also scikit-learn."""
    named = re.match(r"[A-Za-z]+: |y should be ", message) or any(n in message for n in names)
    told = re.search("expected|is required by|should be", message, flags=re.IGNORECASE)
    assert (named and told) or re.search(SCIKIT_LEARN, message), message


def check_result(samples, fitted, options):
    n, classes = len(samples), samples.classes
    assert np.array_equal(classes, np.unique(classes))
    assert samples.proba.shape == (n, len(classes))
    assert np.isfinite(samples.proba).all() and (samples.proba >= 0).all()
    np.testing.assert_allclose(samples.proba.sum(axis=1), 1, atol=1e-3)
    assert np.isin(samples.labels, classes).all()
    readable = np.ones(n, dtype=bool) if samples.readable is None else samples.readable
    kept = np.isin(samples.status, ("kept", "trusted"))
    assert np.array_equal(samples.label_codes[kept], samples.given[kept])
    assert (samples.status[~readable] == "unknown").all()
    if options.get("trusted") is not None:
        assert (samples.status[samples.trusted & readable] == "trusted").all()
    judged = (samples.given >= 0) & readable
    if samples.clean_proba is not None:
        clean = samples.clean_proba
        assert ((clean[judged] >= 0) & (clean[judged] <= 1)).all()
    for field in ("right_proba", "in_distribution_proba"):
        values = getattr(samples, field)
        assert values is None or ((values >= 0) & (values <= 1) | np.isnan(values)).all(), field
    assert samples.weight is None or np.isfinite(samples.weight).all()
    last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    assert np.array_equal(last.classes_, classes)
    for name, value in vars(last).items():
        if name.endswith("_") and isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert not np.isinf(value).any(), name
    if hasattr(last, "transition_matrix_"):
        np.testing.assert_allclose(last.transition_matrix_.sum(axis=1), 1, atol=1e-6)
    if hasattr(last, "clean_proba_") and last._tells_how_many:
        assert "nan" not in str(last.audit())


def check_new_rows(fitted, samples):
    """Rows that were not in the fit: by their features alone, and with labels."""
    features = np.asarray(samples.features)
    with np.errstate(over="ignore"):
        new = features[::2] * features.dtype.type(0.75)
    if not np.isfinite(new).all():
        return
    given = samples.given_labels() if (samples.given >= 0).all() else None
    for rows in (new, new[:0], LabelledSamples(new, None if given is None else given[::2])):
        if isinstance(fitted, Pipeline) and isinstance(rows, LabelledSamples):
            continue
        judged = fitted.transform(rows)
        assert len(judged) == len(rows) and np.array_equal(judged.classes, samples.classes)
        assert np.isfinite(judged.proba).all()
        np.testing.assert_allclose(judged.proba.sum(axis=1), 1, atol=1e-3)


def assert_same(samples, expected):
    for field in ("given", "label_codes", "status_codes", "trusted"):
        np.testing.assert_array_equal(getattr(samples, field), getattr(expected, field), field)
    for field in ("proba", "clean_proba", "right_proba", "in_distribution_proba", "weight"):
        value, wanted = getattr(samples, field), getattr(expected, field)
        assert (value is None) == (wanted is None), field
        if value is not None:
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7, err_msg=field)


def fingerprint(batch):
    features = batch.X.features if isinstance(batch.X, LabelledSamples) else batch.X
    options = [v for v in batch.options.values() if v is not None]
    return repr([np.asarray(v, dtype=object).tolist() for v in (features, batch.y, *options)])


@contextmanager
def strict_numbers():
    """Overflow and its kin are errors; what the library warns of is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (RuntimeWarning, DeprecationWarning, FutureWarning):
            warnings.simplefilter("error", category)
        yield


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_result_that_holds_or_an_error_that_says_why(name):
    @settings(
        max_examples=SOAK or 40,
        derandomize=not SOAK,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(batches())
    def run(batch):
        check(ESTIMATORS[name], batch)

    run()
