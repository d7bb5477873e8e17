import copy
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import _num_samples

from skclean._array import to_numpy
from skclean.exceptions import LabelsDroppedWarning
from skclean.samples import STATUSES, LabelledSamples

X = np.arange(15.0).reshape(5, 3)
Y = np.array(["b", "a", "c", "a", "b"])


def purified(**changes):
    fields = {
        "proba": [[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.2, 0.5, 0.3], [0, 1, 0], [0.1, 0.3, 0.6]],
        "status": ["corrected", "kept", "unknown", "trusted", "predicted"],
        "labels": ["a", "a", "c", "a", "c"],
        "clean_proba": [0.1, 0.9, 0.4, 1, 0.5],
        "right_proba": np.array([0.9, 0.9, 0.4, 1, 0.5]),
        "in_distribution_proba": [0.9, 0.8, 0.2, 1, np.nan],
        "weight": [1, 2, 0, 1, 1],
        "trusted": [False, False, False, True, False],
        "inputs": np.zeros((5, 2, 2)),
    }
    return LabelledSamples(X, Y, **(fields | changes))


# What a container says of its labels


def test_before_purification_labels_are_those_given():
    samples = LabelledSamples(X, Y)
    assert not samples.purified
    assert samples.status is None and samples.proba is None and samples.label_codes is None
    np.testing.assert_array_equal(samples.labels, Y)
    np.testing.assert_array_equal(samples.labels_or_missing(), Y)
    np.testing.assert_array_equal(samples.given_labels(), Y)
    assert samples.known.all()


def test_given_labels_with_missing_ones():
    samples = LabelledSamples(X, ["b", None, "c", "a", "b"])
    np.testing.assert_array_equal(
        samples.labels_or_missing(), np.array(["b", -1, "c", "a", "b"], dtype=object)
    )
    np.testing.assert_array_equal(samples.known, [True, False, True, True, True])
    with pytest.raises(ValueError, match="got neither in 1 rows, the first 1"):
        _ = samples.labels
    with_evidence = LabelledSamples(X, ["b", None, "c", "a", "b"], proba=np.full((5, 3), 1 / 3))
    np.testing.assert_array_equal(with_evidence.labels, ["b", "a", "c", "a", "b"])
    assert not with_evidence.purified


def test_features_alone_have_no_labels():
    samples = LabelledSamples(X)
    assert samples.given_labels() is None and not samples.purified
    with pytest.raises(ValueError, match="do pass y"):
        _ = samples.labels


def test_purified_labels():
    samples = purified()
    assert samples.purified
    # Row 2 is unknown: its label is the class of greatest probability, not the one passed.
    np.testing.assert_array_equal(samples.labels, ["a", "a", "b", "a", "c"])
    np.testing.assert_array_equal(
        samples.labels_or_missing(), np.array(["a", "a", -1, "a", "c"], dtype=object)
    )
    np.testing.assert_array_equal(samples.known, [True, True, False, True, True])
    np.testing.assert_array_equal(
        samples.status, ["corrected", "kept", "unknown", "trusted", "predicted"]
    )
    assert samples.status_codes.dtype == np.int8


def test_labels_follow_from_status_and_proba():
    np.testing.assert_array_equal(purified(labels=None).labels, ["a", "a", "b", "a", "c"])


def test_status_without_label_or_probability_is_refused():
    with pytest.raises(ValueError, match="got neither in row 0, status corrected"):
        purified(labels=None, proba=None)
    unknown = purified(labels=None, proba=None, status=["unknown", *["kept"] * 4])
    assert unknown.labels_or_missing().tolist() == [-1, "a", "c", "a", "b"]


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [([3, 5], np.int64), ([3.0, 5.0], np.float64), (np.array([3, 5], np.uint8), np.int64)],
)
def test_numeric_labels_or_missing_stay_numeric(classes, dtype):
    samples = LabelledSamples(
        X[:2], classes=classes, proba=np.eye(2), status=["unknown", "predicted"]
    )
    labels = samples.labels_or_missing()
    np.testing.assert_array_equal(labels, [-1, 5])
    assert labels.dtype == dtype


def test_minus_one_as_a_class_cannot_mark_unknown_rows():
    samples = LabelledSamples(X[:2], [-1, 1], proba=np.eye(2), status=["unknown", "kept"])
    with pytest.raises(ValueError, match="expected classes other than -1"):
        samples.labels_or_missing()
    samples = LabelledSamples(X[:3], [-1, 1, None], missing_label=None)
    assert samples.given_labels().tolist() == [-1, 1, None]
    again = LabelledSamples(X[:3], samples.given_labels(), missing_label=None)
    np.testing.assert_array_equal(again.given, samples.given)


# Fields and their checks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proba": np.full((4, 3), 1 / 3)}, r"proba of shape \(5, 3\).*got \(4, 3\)"),
        ({"proba": np.full((5, 2), 1 / 2)}, r"proba of shape \(5, 3\)"),
        ({"proba": np.full((5, 3), 0.34)}, "sum to 1.*in row 0"),
        ({"proba": [[1, 0, 0]] * 3 + [[1.5, -0.5, 0], [1, 0, 0]]}, "not negative.*in row 3"),
        ({"proba": [[1, 0, 0]] * 4 + [[np.nan, 0, 1]]}, "finite.*in row 4"),
        ({"clean_proba": [0, 0, 1.2, 0, 0]}, r"clean_proba in \[0, 1\], got 1.2 in row 2"),
        ({"right_proba": [0, -1, 1, 0, 0]}, r"right_proba in \[0, 1\], got -1.0 in row 1"),
        (
            {"in_distribution_proba": [2, 0, 0, 0, 0]},
            "in_distribution_proba in .* got 2.0 in row 0",
        ),
        ({"proba": [["a"] * 3] * 5}, "expected numbers as proba, got <U1"),
        ({"weight": list("abcde")}, "expected numbers as weight, got <U1"),
        ({"labels": ["a"]}, r"labels or label_codes of shape \(5,\).*got \(1,\)"),
        ({"clean_proba": [0, 1]}, r"clean_proba of shape \(5,\).*got \(2,\)"),
        ({"weight": [0, 1, -2, 0, 0]}, "weights of at least 0, got -2.0 in row 2"),
        ({"weight": [0, 1, 0, np.inf, 0]}, "finite weights.*in row 3"),
        ({"proba": np.ma.masked_less(np.eye(3)[[0, 1, 2, 0, 1]], 0.5)}, "finite.*in row 0"),
        ({"trusted": np.ma.masked_array([True] * 5, [0, 0, 0, 0, 1])}, "boolean mask"),
        ({"trusted": [3]}, "boolean mask of 5 rows, got int64.*isin"),
        ({"trusted": [True, False]}, r"trusted of shape \(5,\)"),
        ({"status": ["kept"] * 4 + ["good"]}, "got .*good.* in row 4"),
        ({"status": np.array([0, 1, 2, 3, 5])}, "got .*5.* in row 4"),
        ({"status": ["kept"]}, r"status of shape \(5,\)"),
        ({"labels": ["a", "a", "z", "a", "a"]}, "got .*z.* in row 2"),
        ({"inputs": np.zeros((4, 2))}, "inputs of 5 rows.*got 4"),
        ({"inputs": "images/"}, "inputs of 5 rows.*got 1"),
    ],
)
def test_fields_that_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        purified(**changes)


def test_inputs_may_be_a_list_and_no_dataset():
    class Endless:
        def __len__(self):
            return 5

        def __getitem__(self, row):
            return np.zeros(2)

    with pytest.raises(ValueError, match="inputs as an array, got Endless; .*from_torch"):
        LabelledSamples(X, inputs=Endless())
    samples = LabelledSamples(X, inputs=[[1]] * 5)
    with pytest.raises(ValueError, match="inputs as an array, got Endless"):
        samples.with_features(X, inputs=Endless())
    assert samples.inputs.shape == samples.with_features(X, inputs=[[2]] * 5).inputs.shape


def test_trusted_rows_need_a_given_label():
    with pytest.raises(ValueError, match="given label in every trusted row, got none in row 2"):
        LabelledSamples(X, [0, 1, None, 1, 0], trusted=[True, False, True, False, False])
    with pytest.raises(ValueError, match="row 0"):
        LabelledSamples(X, trusted=np.ones(5, bool))


def test_rounded_probabilities_pass():
    proba = np.full((5, 3), 0.333, dtype=np.float32)
    assert LabelledSamples(X, Y, proba=proba).proba.dtype == np.float32
    assert LabelledSamples(X, Y, clean_proba=np.full(5, 1 + 1e-12)).clean_proba.max() == 1
    assert np.isnan(LabelledSamples(X, Y, clean_proba=[1, 1, 1, 1, np.nan]).clean_proba[4])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(5), "Reshape your data"),
        (np.array([["a"]]), "expected numbers as features, got 'a' in column 0, row 0"),
        (np.ones((2, 2)) * 1j, "real numbers|omplex"),
    ],
)
def test_features_that_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        LabelledSamples(features)


def test_sparse_features_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="TruncatedSVD"):
        LabelledSamples(sparse.eye(4, format="csr"))


def test_proba_alone_numbers_the_classes():
    samples = LabelledSamples(X[:2], proba=np.eye(2))
    np.testing.assert_array_equal(samples.classes, [0, 1])
    with pytest.raises(ValueError, match="y or classes beside labels"):
        LabelledSamples(X, labels=Y)


# Immutable


def test_nothing_can_be_written():
    proba = np.full((5, 3), 1 / 3)
    features = X.copy()
    samples = LabelledSamples(features, Y, proba=proba)
    for change in (
        lambda: setattr(samples, "proba", None),
        lambda: setattr(samples, "other", None),
        lambda: delattr(samples, "proba"),
    ):
        with pytest.raises(AttributeError, match="with_labels"):
            change()
    for array in (samples.features, samples.given, samples.classes, samples.proba):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert np.shares_memory(samples.features, features)
    features[0, 0] = proba[0, 0] = 7  # the caller's own arrays stay writeable


def test_with_features():
    samples = purified()
    other = samples.with_features(np.zeros((5, 1), np.float32), inputs=X)
    assert other.shape == (5, 1) and other.dtype == np.float32 and other.inputs.shape == (5, 3)
    assert other.proba is samples.proba
    assert samples.shape == (5, 3)
    assert samples.with_features(X).inputs is samples.inputs
    assert samples.with_features(X, inputs=None).inputs is None
    with pytest.raises(ValueError, match="features of 5 rows"):
        samples.with_features(X[:4])
    with pytest.raises(ValueError, match="inputs of 5 rows"):
        samples.with_features(X, inputs=X[:4])


def test_with_labels_replaces_the_purified_labels_together():
    samples = purified()
    other = samples.with_labels(label_codes=[0, 1, 2, 0, -1], weight=np.ones(5))
    assert other.proba is None and other.status is None
    assert other.labels_or_missing().tolist() == ["a", "b", "c", "a", -1]
    np.testing.assert_array_equal(other.weight, 1)
    np.testing.assert_array_equal(other.clean_proba, samples.clean_proba)
    assert not samples.with_labels().purified
    with pytest.raises(ValueError, match="label_codes from -1 to 2"):
        samples.with_labels(label_codes=[0, 1, 2, 3, 0])
    with pytest.raises(ValueError, match="label_codes"):
        samples.with_labels(label_codes=[0, 1])


def test_with_classes():
    samples = purified().with_classes(["a", "aa", "b", "c"])
    np.testing.assert_array_equal(samples.labels, purified().labels)
    np.testing.assert_array_equal(samples.given_labels(), Y)
    np.testing.assert_array_equal(samples.proba[:, 1], 0)
    np.testing.assert_array_equal(samples.proba[:, [0, 2, 3]], purified().proba)
    with pytest.raises(ValueError, match=r"got .*c"):
        purified().with_classes(["a", "b"])
    np.testing.assert_array_equal(LabelledSamples(X).with_classes(["a", "b"]).classes, ["a", "b"])


# A duck array


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4),
        slice(None, None, -1),
        slice(-2, 100),
        [4, 0, 0],
        np.array([-1, 2]),
        np.array([True, False, True, False, True]),
        [],
    ],
)
def test_rows_by_slice_positions_and_mask(key):
    samples = purified()
    rows = np.arange(5)[key if not isinstance(key, list) else np.array(key, int)]
    for part in (samples[key], samples[key, ...], samples[key, :]):
        np.testing.assert_array_equal(part.features, X[rows])
        np.testing.assert_array_equal(part.labels_or_missing(), samples.labels_or_missing()[rows])
        for field in (
            "given",
            "proba",
            "status",
            "clean_proba",
            "in_distribution_proba",
            "trusted",
        ):
            np.testing.assert_array_equal(getattr(part, field), getattr(samples, field)[rows])
        for field in ("weight", "inputs"):
            np.testing.assert_array_equal(getattr(part, field), getattr(samples, field)[rows])
        np.testing.assert_array_equal(part.classes, samples.classes)


def test_other_keys():
    samples = purified()
    assert len(samples[3]) == 1 and samples[3].status == ["trusted"]
    assert len(list(samples)) == 5
    for key in ("a", (slice(None), 1), (0, 0, 0), 5, np.ones(4, bool), [0.5], [[0, 1]], True):
        with pytest.raises(IndexError):
            samples[key]


def test_inputs_of_pandas_are_taken_by_position():
    pd = pytest.importorskip("pandas")
    column = pd.Series([f"{i}.png" for i in range(5)], index=[4, 3, 2, 1, 0])
    for inputs, first in ((column, "3.png"), (column.to_frame(), ["3.png"])):
        for samples in (purified(inputs=inputs), purified().with_features(X, inputs=inputs)):
            assert samples[[3, 0]].inputs[0] == first
    assert purified().with_features(X, inputs=list(column)).inputs[0] == "0.png"


def test_masked_values_were_not_judged():
    samples = purified(clean_proba=np.ma.masked_less([0.1, 0.9, 0.8, 0.7, 0.6], 0.5))
    np.testing.assert_array_equal(np.isnan(samples.clean_proba), [True] + [False] * 4)


def test_array_warns_exactly_where_labels_are_lost():
    for samples in (
        purified(),
        LabelledSamples(X, Y),
        LabelledSamples(X, proba=np.eye(5), status=[4] * 5),
    ):
        with pytest.warns(LabelsDroppedWarning, match="OnFeatures"):
            np.testing.assert_array_equal(np.asarray(samples), X)
    assert np.asarray(LabelledSamples(X), dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array(LabelledSamples(X)), X)


def test_scikit_learn_takes_it():
    samples = purified()
    assert _num_samples(samples) == len(samples) == 5
    assert samples.ndim == 2 and samples.n_features == 3 and samples.dtype == np.float64
    for rows in ([0, 2], np.array([True, False, True, False, False]), slice(0, 2)):
        np.testing.assert_array_equal(_safe_indexing(samples, rows).labels[0], "a")
    with pytest.warns(LabelsDroppedWarning):
        np.testing.assert_array_equal(check_array(samples), X)


class Holder(BaseEstimator):
    def __init__(self, data=None):
        self.data = data


@pytest.mark.parametrize(
    "copied",
    [
        lambda s: pickle.loads(pickle.dumps(s)),
        copy.deepcopy,
        copy.copy,
        lambda s: clone(Holder(s)).data,
    ],
)
def test_copies(copied):
    samples, other = purified(), copied(purified())
    np.testing.assert_array_equal(other.labels, samples.labels)
    np.testing.assert_array_equal(other.features, samples.features)
    with pytest.raises(ValueError, match="read-only"):
        other.proba[0] = 0
    assert joblib.hash(other) == joblib.hash(samples)
    assert joblib.hash(other) != joblib.hash(purified(clean_proba=np.zeros(5)))


def test_memory_maps_stay_maps(tmp_path):
    features = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(5, 3))
    assert np.shares_memory(LabelledSamples(features, Y)[1:3].features, features)


def test_features_of_every_library(xp):
    samples = LabelledSamples(xp.asarray(X.astype(np.float32)), Y)
    assert samples.shape == (5, 3)
    assert type(samples.features) is type(xp.asarray(X))
    part = samples[np.array([4, 0])]
    np.testing.assert_array_equal(to_numpy(part.features), X[[4, 0]])
    np.testing.assert_array_equal(to_numpy(samples[np.arange(5) > 2].features), X[3:])
    np.testing.assert_array_equal(to_numpy(samples[1:9].features), X[1:])
    np.testing.assert_array_equal(to_numpy(samples[::-1].features), X[::-1])
    np.testing.assert_array_equal(part.labels, ["b", "b"])
    assert "5 rows" in repr(samples)
    if xp.name == "cupy":
        with pytest.raises(TypeError, match="with_features"):
            np.asarray(samples)


def test_images_as_features():
    samples = LabelledSamples(np.zeros((5, 8, 8, 3), np.uint8), Y)
    assert samples.shape == (5, 8, 8, 3) and samples.dtype == np.uint8
    assert "8 x 8 x 3" in repr(samples)


# To look at


def test_frame():
    pd = pytest.importorskip("pandas")
    frame = purified().to_frame()
    assert list(frame) == [
        "given",
        "label",
        "status",
        "label_proba",
        "clean_proba",
        "right_proba",
        "in_distribution_proba",
        "weight",
        "trusted",
    ]
    assert frame["label"].isna().tolist() == [False, False, True, False, False]
    assert frame["label"].tolist()[:2] == ["a", "a"]
    np.testing.assert_allclose(frame["label_proba"], [0.8, 0.9, 0.5, 0, 0.6])
    assert list(LabelledSamples(X, Y).to_frame(features=True)) == ["x0", "x1", "x2", "given"]
    table = pd.DataFrame(X, columns=["u", "v", "w"], index=list("pqrst"))
    samples = LabelledSamples(table, Y)
    assert samples.feature_names.tolist() == ["u", "v", "w"]
    part = samples[[3, 1]].to_frame(features=True)
    assert list(part.index) == ["s", "q"] and list(part) == ["u", "v", "w", "given"]
    assert list(samples.with_features(X[:, :2]).to_frame(True)) == ["x0", "x1", "given"]
    assert list(samples.with_features(X[:, :2]).to_frame().index) == list("pqrst")


def test_repr_counts():
    assert repr(purified()) == (
        "LabelledSamples(5 rows, 3 features, float64; 3 classes; given: 5, missing: 0; kept: 1, "
        "corrected: 1, unknown: 1, trusted: 1, predicted: 1; with inputs, proba, clean_proba, "
        "right_proba, in_distribution_proba, weight, trusted)"
    )
    assert set(purified().status) == set(STATUSES)


def test_copy_says_whether_an_array_is_made():
    samples = LabelledSamples(np.ones((2, 2)))
    assert np.shares_memory(samples.__array__(), samples.features)
    assert not np.shares_memory(samples.__array__(copy=True), samples.features)
    assert samples.__array__(copy=True).flags.writeable
    assert np.shares_memory(samples.__array__(np.float64, copy=False), samples.features)
    assert samples.__array__(np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="expected the dtype of the features, float64"):
        samples.__array__(np.float32, copy=False)


def test_messages_show_values_and_not_their_types():
    with pytest.raises(ValueError, match="got 2.5|got .2.5"):
        LabelledSamples(np.ones((2, 1)), np.array([1.0, 2.5]))
    with pytest.raises(ValueError, match=r"got 3 in row 1"):
        LabelledSamples(np.ones((2, 1)), np.array([0, 3]), classes=[0, 1])
    with pytest.raises(ValueError, match=r"got 9 in row 1"):
        LabelledSamples(np.ones((2, 1)), [0, 1], status=np.array([0, 9]))
