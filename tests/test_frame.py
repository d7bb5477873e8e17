"""Containers to DataFrames and back, and scikit-learn's semi-supervised estimators behind them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelPropagation, LabelSpreading, SelfTrainingClassifier

from skclean import GMMCleaner, LabelledSamples, OnFeatures

RNG = np.random.default_rng(0)
TRUTH = np.arange(240) % 3
X = 3 * np.eye(3, 4)[TRUTH] + RNG.standard_normal((240, 4))
NAMES = np.array(["ant", "bee", "cat"])
GIVEN = np.where(RNG.random(240) < 0.3, RNG.integers(0, 3, 240), TRUTH)


def table(pd, n=4):
    columns = {f"x{j}": X[:n, j] for j in range(4)}
    return pd.DataFrame(columns | {"label": NAMES[GIVEN[:n]]}, index=list("wxyz")[:n])


@pytest.mark.parametrize("classes", [np.array([0, 1, 2]), np.array([10.0, 20.0, 30.0])])
@pytest.mark.parametrize(
    "model",
    [
        SelfTrainingClassifier(LogisticRegression()),
        LabelSpreading(kernel="knn"),
        LabelPropagation(gamma=1.0, max_iter=1000),
    ],
)
def test_minus_one_is_what_semi_supervised_estimators_take(model, classes):
    samples = GMMCleaner().fit_transform(X, classes[GIVEN])
    y = samples.labels_or_missing()
    assert (y[~samples.known] == -1).all() and not samples.known.all()
    model.fit(samples.features, y)
    np.testing.assert_array_equal(model.classes_, classes)
    assert np.mean(model.predict(X) == classes[TRUTH]) > 0.9


def test_self_training_takes_strings_and_the_integer_minus_one():
    y = GMMCleaner().fit_transform(X, NAMES[GIVEN]).labels_or_missing()
    assert y.dtype == object
    codes = np.where(y == -1, -1, np.searchsorted(NAMES, np.where(y == -1, "ant", y).astype(str)))
    model = SelfTrainingClassifier(LogisticRegression()).fit(X, codes)
    assert np.mean(NAMES[model.predict(X)] == NAMES[TRUTH]) > 0.9


def test_cleanlab_names_stand_beside_ours():
    pytest.importorskip("pandas")
    y = np.array([*NAMES[GIVEN][:-1], None], dtype=object)
    samples = GMMCleaner().fit_transform(X, y)
    frame = samples.to_frame(cleanlab=True)
    assert list(frame)[: len(samples.to_frame().columns)] == list(samples.to_frame())
    assert list(frame)[-5:] == [
        "is_label_issue",
        "label_quality",
        "label_score",
        "given_label",
        "predicted_label",
    ]
    assert frame["is_label_issue"].dtype == bool
    np.testing.assert_array_equal(frame["is_label_issue"][:-1], ~samples.known[:-1])
    np.testing.assert_array_equal(frame["label_quality"], samples.clean_proba)
    best = samples.proba.argmax(axis=1)
    np.testing.assert_array_equal(frame["predicted_label"].astype(str), NAMES[best])
    # A row without a given label has no issue with it.
    last = frame.iloc[-1]
    assert not last["is_label_issue"] and np.isnan(last["label_score"])
    assert frame["given_label"].isna().tolist() == [False] * 239 + [True]


def test_cleanlab_trains_on_what_the_frame_says():
    pytest.importorskip("pandas")
    learning = pytest.importorskip("cleanlab.classification")
    samples = GMMCleaner().fit_transform(X, GIVEN)
    frame = samples.to_frame(cleanlab=True)
    model = learning.CleanLearning(LogisticRegression())
    model.fit(X, GIVEN, label_issues=frame)
    assert np.mean(model.predict(X) == TRUTH) > 0.9
    theirs = learning.CleanLearning(LogisticRegression(), seed=0).find_label_issues(X, GIVEN)
    assert set(theirs) <= set(frame)


def test_cleanlab_names_without_clean_proba_are_filled_from_proba():
    pytest.importorskip("pandas")
    samples = LabelledSamples(
        [[0.0], [1.0]],
        ["a", "b"],
        proba=[[0.2, 0.8], [0.3, 0.7]],
        status=["corrected", "kept"],
        labels=["b", "b"],
    )
    frame = samples.to_frame(cleanlab=True)
    assert frame["label_quality"].tolist() == [0.2, 0.7]
    assert frame["is_label_issue"].tolist() == [True, False]
    with pytest.raises(ValueError, match="to_frame: expected given labels that a cleaner"):
        LabelledSamples(X, GIVEN).to_frame(cleanlab=True)


@pytest.mark.parametrize("names", [["a", "given"], ["a", "a"]])
def test_no_column_takes_the_place_of_another(names):
    pd = pytest.importorskip("pandas")
    samples = LabelledSamples(pd.DataFrame(X[:, :2], columns=names), GIVEN)
    assert list(samples.to_frame()) == ["given"]
    with pytest.raises(ValueError, match=f"features of other names .* got '{names[1]}'; do rename"):
        samples.to_frame(features=True)


def test_there_and_back():
    pd = pytest.importorskip("pandas")
    frame = table(pd)
    samples = LabelledSamples.from_frame(frame, ["x0", "x1", "x2", "x3"], label="label")
    np.testing.assert_array_equal(samples.features, X[:4])
    assert samples.feature_names.tolist() == ["x0", "x1", "x2", "x3"]
    again = LabelledSamples.from_frame(samples.to_frame(features=True), "x", label="given")
    np.testing.assert_array_equal(again.features, samples.features)
    np.testing.assert_array_equal(again.labels, NAMES[GIVEN[:4]])
    assert list(again.index) == list("wxyz")
    assert list(again[[2, 0]].to_frame().index) == ["y", "w"]


def test_other_columns_come_along():
    pd = pytest.importorskip("pandas")
    frame = table(pd).assign(
        checked=[True, None, False, True], w=[1, 2, 3, 4], text=["a", "b", "c", "d"]
    )
    samples = LabelledSamples.from_frame(
        frame, "x", label="label", trusted="checked", weight="w", inputs="text"
    )
    assert samples.trusted.tolist() == [True, False, False, True]
    assert samples.weight.tolist() == [1, 2, 3, 4]
    assert samples.inputs.tolist() == ["a", "b", "c", "d"]
    bare = LabelledSamples.from_frame(frame, ["x1"])
    assert bare.given is None and bare.shape == (4, 1)


@pytest.mark.parametrize("dtype", ["float32", "Float32", "float64", "Float64", "int64", "Int64"])
def test_dtypes_of_features(dtype):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]}).astype(dtype)
    samples = LabelledSamples.from_frame(frame, ["b", "a"])
    assert samples.dtype == (np.float32 if "32" in dtype else np.float64)
    np.testing.assert_array_equal(samples.features, [[3, 1], [4, 2]])


def test_missing_features_are_nan_until_they_are_imputed():
    pd = pytest.importorskip("pandas")
    from sklearn.impute import SimpleImputer

    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [0.0, 1.0, np.nan]})
    samples = LabelledSamples.from_frame(frame, ["a", "b"])
    np.testing.assert_array_equal(samples.features, [[1, 0], [np.nan, 1], [3, np.nan]])
    assert np.isfinite(OnFeatures(SimpleImputer()).fit_transform(samples).features).all()


@pytest.mark.parametrize(
    "dtype",
    ["object", "string", "category", "string[pyarrow]", "boolean", "Int64", "arrow"],
)
def test_dtypes_of_labels(dtype):
    pd = pytest.importorskip("pandas")
    if "arrow" in dtype:
        pa = pytest.importorskip("pyarrow")
    values = {"boolean": [True, None, False], "Int64": [7, None, 3]}.get(dtype, ["b", None, "a"])
    if dtype == "arrow":
        dtype = pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": pd.Series(values, dtype=dtype)})
    samples = LabelledSamples.from_frame(frame, "x", label="y")
    assert samples.given.tolist() == [1, -1, 0]
    assert samples.classes.tolist() == sorted(v for v in values if v is not None)


def test_a_column_of_embeddings():
    pd = pytest.importorskip("pandas")
    for rows in (X[:4].tolist(), list(X[:4]), [tuple(row) for row in X[:4]]):
        frame = pd.DataFrame({"embedding": pd.Series(rows), "label": NAMES[GIVEN[:4]]})
        samples = LabelledSamples.from_frame(frame, "embedding", label="label")
        np.testing.assert_array_equal(samples.features, X[:4])
        assert samples.feature_names is None
    single = pd.DataFrame({"e": list(X[:4].astype(np.float32))})
    assert LabelledSamples.from_frame(single, "e").dtype == np.float32


def test_arrow_tables_and_columns_of_arrow():
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    arrays = {
        "e": pa.array(X[:3].tolist(), pa.list_(pa.float32(), 4)),
        "x": pa.array([1, None, 3]),
        "checked": pa.array([True, None, False]),
        "label": pa.array(["b", None, "a"]).dictionary_encode(),
    }
    arrow = pa.table(arrays)
    for frame in (arrow, arrow.to_pandas(), arrow.to_pandas(types_mapper=pd.ArrowDtype)):
        samples = LabelledSamples.from_frame(frame, "e", label="label", trusted="checked")
        np.testing.assert_allclose(samples.features, X[:3], rtol=1e-6)
        assert samples.given.tolist() == [1, -1, 0]
        assert samples.trusted.tolist() == [True, False, False]
        column = LabelledSamples.from_frame(frame, ["x"]).features
        np.testing.assert_array_equal(column, [[1], [np.nan], [3]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["x0", "nope"]}, "one column 'nope' as features, got 0 among .*x0"),
        ({"features": "z"}, "columns of features, got none by 'z'"),
        ({"features": []}, "columns of features, got none"),
        ({"features": ["x0", "label"]}, "numbers as features, got .* in column 'label'"),
        ({"features": "x", "label": "y"}, "one column 'y' as label, got 0"),
        ({"features": "x", "trusted": "x0"}, "booleans in column 'x0' as trusted, got"),
        ({"features": "x", "weight": "label"}, "numbers as weight, got .* in column"),
        ({"features": "x", "label": "x0"}, "continuous"),
        ({"features": "ragged"}, "2 numbers in every row of column 'ragged', got .* in row 1"),
        ({"features": ["when"]}, "numbers as features, got datetime64.* in column 'when'"),
    ],
)
def test_columns_that_are_refused(options, message):
    pd = pytest.importorskip("pandas")
    frame = table(pd).assign(
        ragged=[[1.0, 2.0], [1.0], None, [3.0, 4.0]],
        when=[pd.Timestamp("2020-01-01"), pd.NaT, pd.NaT, pd.NaT],
    )
    with pytest.raises(ValueError, match=message):
        LabelledSamples.from_frame(frame, **options)


def test_a_twin_column_and_what_is_no_frame():
    pd = pytest.importorskip("pandas")
    frame = table(pd)
    twins = pd.concat([frame, frame[["x0"]]], axis=1)
    with pytest.raises(ValueError, match="one column 'x0' as features, got 2"):
        LabelledSamples.from_frame(twins, "x")
    with pytest.raises(ValueError, match="expected a DataFrame, got ndarray"):
        LabelledSamples.from_frame(X, "x")


def test_labels_are_no_features():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x0": [0.0, 1.0], "x1": [2.0, 3.0], "x_label": [0, 1], "x_sure": True})
    columns = {"label": "x_label", "trusted": "x_sure"}
    samples = LabelledSamples.from_frame(frame, "x", **columns)
    assert samples.feature_names.tolist() == ["x0", "x1"]
    for features in (["x0", "x_label"], "x_label"):
        with pytest.raises(ValueError, match="features without the labels, got column 'x_label'"):
            LabelledSamples.from_frame(frame, features, **columns)
