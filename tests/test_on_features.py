import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean.compose import OnFeatures, PurifiedClassifier
from skclean.samples import LabelledSamples
from tests.labelled import GIVEN, NAMES, TRUTH, N, X, samples


@pytest.mark.filterwarnings("ignore::skclean.exceptions.LabelsDroppedWarning")
@parametrize_with_checks(
    [
        OnFeatures(),
        OnFeatures(StandardScaler()),
        OnFeatures(SelectKBest(k=1)),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_labels_travel_along():
    before = samples(inputs=np.arange(N))
    wrapped = OnFeatures(PCA(2, svd_solver="full"))
    after = wrapped.fit_transform(before, GIVEN)
    np.testing.assert_allclose(after.features, PCA(2, svd_solver="full").fit_transform(X))
    for field in ("labels", "given", "status", "proba", "clean_proba", "inputs"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
    np.testing.assert_allclose(wrapped.transform(before[5:9]).features, after.features[5:9])
    assert wrapped.n_features_in_ == 4
    assert wrapped.get_feature_names_out().tolist() == ["pca0", "pca1"]


def test_without_a_transformer_nothing_changes():
    np.testing.assert_array_equal(OnFeatures().fit_transform(samples()).features, X)


def test_on_bare_arrays_it_is_the_transformer():
    wrapped = OnFeatures(StandardScaler())
    np.testing.assert_array_equal(wrapped.fit_transform(X), StandardScaler().fit_transform(X))
    np.testing.assert_array_equal(wrapped.transform(X[:3]), wrapped.transformer_.transform(X[:3]))
    assert wrapped.transform(samples()).labels[0] == "ant"


def test_a_supervised_transformer_learns_from_the_purified_labels():
    known = samples().known
    expected = LinearDiscriminantAnalysis().fit(X[known], NAMES[TRUTH][known]).transform(X)
    wrapped = OnFeatures(LinearDiscriminantAnalysis())
    for result in (wrapped.fit_transform(samples(), GIVEN), wrapped.fit(samples()).transform(X)):
        np.testing.assert_allclose(getattr(result, "features", result), expected)
    bare = LabelledSamples(X)
    expected = LinearDiscriminantAnalysis().fit(X, GIVEN).transform(X)
    np.testing.assert_allclose(wrapped.fit_transform(bare, GIVEN).features, expected)


@pytest.mark.parametrize(
    "transformer",
    [
        SelectKBest(k=2),
        SelectFromModel(LogisticRegression()),
        make_pipeline(StandardScaler(), SelectKBest(k=2)),
    ],
)
def test_a_transformer_need_not_say_that_it_is_supervised(transformer):
    known = samples().known
    expected = clone(transformer).fit(X[known], NAMES[TRUTH][known])
    found = OnFeatures(transformer).fit_transform(samples(), GIVEN)
    np.testing.assert_allclose(found.features, expected.transform(X))
    with pytest.raises((TypeError, ValueError), match="requires y|NoneType|Invalid"):
        OnFeatures(transformer).fit(LabelledSamples(X))


@pytest.mark.parametrize(
    "transformer", [PCA(2), VarianceThreshold(), make_pipeline(StandardScaler(), PCA(2))]
)
def test_an_unsupervised_transformer_learns_from_all_rows(transformer):
    expected = clone(transformer).fit(X).transform(X)
    found = OnFeatures(transformer).fit_transform(samples(), GIVEN)
    np.testing.assert_allclose(found.features, expected)
    broken = X.copy()
    broken[~samples().known] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        OnFeatures(transformer).fit(samples().with_features(broken))


def test_other_labels_beside_a_container_are_refused():
    with pytest.raises(ValueError, match=r"OnFeatures: expected y equal.*18 rows, the first 0"):
        OnFeatures(StandardScaler()).fit(samples(), NAMES[TRUTH])
    with pytest.raises(NotFittedError):
        OnFeatures(StandardScaler()).transform(X)
    with pytest.raises(ValueError, match="transformer"):
        OnFeatures("scale").fit(X)


def test_feature_names_travel_along():
    pd = pytest.importorskip("pandas")
    index = np.arange(N)[::-1]
    frame = pd.DataFrame(X, columns=list("abcd"), index=index)
    container = LabelledSamples(frame, GIVEN)
    wrapped = OnFeatures(StandardScaler()).fit(container)
    assert list(wrapped.feature_names_in_) == list("abcd")
    assert list(wrapped.get_feature_names_out()) == list("abcd")
    assert list(wrapped.transform(container).feature_names) == list("abcd")
    np.testing.assert_array_equal(wrapped.transform(container).index, index)
    chosen = OnFeatures(SelectKBest(k=2)).fit_transform(container, GIVEN)
    assert len(chosen.feature_names) == 2 and set(chosen.feature_names) < set("abcd")
    assert list(OnFeatures().fit_transform(container).feature_names) == list("abcd")
    silent = OnFeatures(FunctionTransformer(np.log1p)).fit_transform(container[:0])
    assert silent.feature_names is None
    halved = FunctionTransformer(lambda x: x[:, :2], feature_names_out="one-to-one")
    assert OnFeatures(halved).fit_transform(container).feature_names is None
    with pytest.raises(ValueError, match=r"OnFeatures: expected the features \[a, b, c, d\], got"):
        wrapped.transform(LabelledSamples(frame[list("badc")], GIVEN))
    wrapped.fit(X)
    assert not hasattr(wrapped, "feature_names_in_")


def test_frames_behind_a_fit_on_a_container_of_one():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(N)[::-1])
    model = make_pipeline(OnFeatures(StandardScaler()), PurifiedClassifier())
    model.fit(LabelledSamples(frame, GIVEN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = model.predict(LabelledSamples(frame))
        np.testing.assert_array_equal(model.predict(frame), expected)
        found = model[0].transform(frame)
        assert list(found) == list("abcd") and list(found.index) == list(frame.index)
    with pytest.raises(ValueError, match=r"OnFeatures: expected the features \[a, b, c, d\], got"):
        model.predict(frame[list("dcba")])


def test_frames_without_an_index_behind_a_fit_on_a_container():
    class Frame:  # As those of polars are.
        def __init__(self, data, schema):
            self.data, self.columns = np.asarray(data), schema

        def __array__(self, dtype=None, copy=None):
            return np.array(self.data, dtype=dtype)

    container = LabelledSamples(Frame(X, list("abcd")), GIVEN)
    wrapped = OnFeatures(StandardScaler()).fit(container)
    found = wrapped.transform(Frame(X, list("abcd")))
    assert isinstance(found, Frame) and found.columns == list("abcd")
    np.testing.assert_array_equal(found.data, wrapped.transform(container).features)
    with pytest.raises(ValueError, match=r"OnFeatures: expected the features \[a, b, c, d\], got"):
        wrapped.transform(Frame(X[:, ::-1], list("dcba")))


def test_tables_of_arrow_have_named_columns():
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    table = pa.Table.from_pandas(pd.DataFrame(X, np.arange(N)[::-1], list("abcd")))
    assert LabelledSamples(table).feature_names.tolist() == table.column_names
    table = table.select(list("abcd"))
    chosen = ColumnTransformer([("scale", StandardScaler(), ["a", "c"])])
    expected = chosen.fit_transform(pd.DataFrame(X, columns=list("abcd")))
    container = LabelledSamples(table, GIVEN)
    for X_fit in (container, table, table.to_batches()[0]):
        wrapped = OnFeatures(chosen).fit(X_fit)
        np.testing.assert_allclose(wrapped.transform(container).features, expected)
        np.testing.assert_allclose(wrapped.transform(table), expected)
        np.testing.assert_allclose(OnFeatures(chosen).fit_transform(table), expected)
    wrapped = OnFeatures(StandardScaler()).fit(container)
    for other in (LabelledSamples(table.select(list("dcba"))), table.select(list("dcba"))):
        with pytest.raises(ValueError, match=r"expected the features \[a, b, c, d\], got"):
            wrapped.transform(other)


def test_rows_of_what_is_no_plain_frame():
    pd = pytest.importorskip("pandas")

    class Narrow(pd.DataFrame):
        def __init__(self, data):
            super().__init__(data)

    lengths = FunctionTransformer(lambda texts: np.array([[len(text), 1.0] for text in texts]))
    texts, expected = pd.Series(["a", "bb", "ccc"]), [[1, 1], [2, 1], [3, 1]]
    np.testing.assert_array_equal(OnFeatures(lengths).fit_transform(texts), expected)
    np.testing.assert_array_equal(OnFeatures(lengths).fit(texts).transform(texts), expected)
    found = OnFeatures(PCA(2)).fit_transform(Narrow(pd.DataFrame(X)))
    np.testing.assert_allclose(found, PCA(2).fit_transform(X))


def test_frames_from_the_transformer():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(N)[::-1])
    container = LabelledSamples(frame, GIVEN)
    inner = StandardScaler().set_output(transform="pandas")
    with config_context(transform_output="pandas"):
        everywhere = OnFeatures(StandardScaler()).fit_transform(container)
    for result in (OnFeatures(inner).fit_transform(container), everywhere):
        table = result.to_frame(features=True)
        assert list(table)[:4] == list("abcd") and list(table.index) == list(frame.index)
    assert isinstance(OnFeatures(inner).fit_transform(frame), pd.DataFrame)
    chain = make_pipeline(StandardScaler(), PCA(2)).set_output(transform="pandas")
    assert list(OnFeatures(chain).fit_transform(container).feature_names) == ["pca0", "pca1"]
    bare = OnFeatures(inner).fit_transform(LabelledSamples(X, GIVEN))
    assert bare.feature_names.tolist() == ["x0", "x1", "x2", "x3"] and bare.index is None


@pytest.mark.parametrize(
    "chosen",
    [["a", "b"], np.array(["a", "b"], dtype=object), slice("a", "b"), make_column_selector("a|b")],
)
def test_columns_are_chosen_by_name(chosen):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("cabd"), index=np.arange(N)[::-1])
    container = LabelledSamples(frame, GIVEN)
    choose = ColumnTransformer([("scaled", StandardScaler(), chosen)])
    expected = StandardScaler().fit_transform(X[:, 1:3])
    for transformer in (choose, make_pipeline(choose, FunctionTransformer())):
        wrapped = OnFeatures(transformer).fit(container)
        found = wrapped.transform(container)
        np.testing.assert_allclose(found.features, expected)
        np.testing.assert_allclose(wrapped.transform(container[:3]).features, expected[:3])
        np.testing.assert_array_equal(found.index, frame.index)
        np.testing.assert_allclose(wrapped.transform(X), expected)
    assert list(OnFeatures(choose).fit_transform(container).feature_names) == [
        "scaled__a",
        "scaled__b",
    ]
    classifier = PurifiedClassifier(make_pipeline(choose, GaussianNB())).fit(container)
    for test in (container, frame):
        np.testing.assert_array_equal(
            classifier.predict(test), GaussianNB().fit(expected, GIVEN).predict(expected)
        )
    with pytest.raises(ValueError, match=r"OnFeatures: expected a container of a DataFrame.*frame"):
        OnFeatures(choose).fit(LabelledSamples(X, GIVEN))


@pytest.mark.parametrize("chosen", [[2, 3], lambda x: [2, 3], lambda x: [int(x[0, 0] < 9) + 1, 3]])
def test_columns_chosen_by_position_are_those_of_an_array(chosen):
    choose = ColumnTransformer([("first", FunctionTransformer(lambda x: x[:, :1]), chosen)])
    found = OnFeatures(choose).fit_transform(samples())
    np.testing.assert_array_equal(found.features, X[:, 2:3])
