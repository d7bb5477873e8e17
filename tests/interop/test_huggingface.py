import numpy as np
import pytest

datasets = pytest.importorskip("datasets")

from datasets import Array2D, ClassLabel, Dataset, Features, Image, Sequence, Value  # noqa: E402

from skclean import GMMCleaner, LabelledSamples, TransitionCleaner  # noqa: E402
from skclean.interop import from_huggingface, to_huggingface  # noqa: E402

RNG = np.random.default_rng(0)
TRUTH = np.arange(90) % 3
X = 3 * np.eye(3, 4)[TRUTH] + RNG.standard_normal((90, 4))
GIVEN = np.where(RNG.random(90) < 0.3, RNG.integers(0, 3, 90), TRUTH)
#: Not in alphabetical order: codes of the dataset are not those of the container.
NAMES = ["dog", "cat", "ant"]


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def split():
    kinds = {
        "embedding": Sequence(Value("float32"), length=4),
        "exact": Sequence(Value("float64")),
        "grid": Array2D((2, 2), "float32"),
        "x": Value("int32"),
        "label": ClassLabel(names=NAMES),
        "checked": Value("bool"),
        "text": Value("string"),
    }
    columns = {
        "embedding": X.tolist(),
        "exact": X.tolist(),
        "grid": X.reshape(90, 2, 2).tolist(),
        "x": np.arange(90).tolist(),
        "label": [-1, None, *GIVEN[2:].tolist()],
        "checked": [None, None] + [True] * 2 + [False] * 86,
        "text": [f"row {i}" for i in range(90)],
    }
    return Dataset.from_dict(columns, features=Features(kinds))


def test_names_become_classes(split):
    samples = from_huggingface(split, "embedding", label="label", trusted="checked", inputs="text")
    assert samples.classes.tolist() == sorted(NAMES)
    np.testing.assert_array_equal(samples.labels_or_missing()[2:], np.array(NAMES)[GIVEN[2:]])
    assert (samples.given[:2] == -1).all()
    np.testing.assert_allclose(samples.features, X, rtol=1e-6)
    assert samples.dtype == np.float32 and samples.inputs[7] == "row 7"
    assert np.flatnonzero(samples.trusted).tolist() == [2, 3]


def test_columns_of_features(split):
    exact = from_huggingface(split, "exact")
    np.testing.assert_array_equal(exact.features, X)
    assert exact.given is None
    assert from_huggingface(split, "grid").shape == (90, 2, 2)
    assert from_huggingface(split, "x").shape == (90, 1)
    both = from_huggingface(split, ["grid", "x"])
    assert both.shape == (90, 5)
    np.testing.assert_array_equal(both.features[:, 4], np.arange(90))
    shuffled = split.shuffle(seed=0)
    np.testing.assert_array_equal(from_huggingface(shuffled, "x").features[:, 0], shuffled["x"][:])


def test_a_format_that_is_set_changes_nothing(split):
    plain = from_huggingface(split, "exact", label="label")
    for form in ("numpy", "arrow"):
        samples = from_huggingface(split.with_format(form), "exact", label="label")
        np.testing.assert_array_equal(samples.given, plain.given)
        np.testing.assert_array_equal(samples.features, plain.features)


def test_other_labels():
    rows = {"x": [0.0, 1.0, 2.0], "y": ["b", None, "a"], "z": [7, 3, None]}
    split = Dataset.from_dict(rows)
    assert from_huggingface(split, "x", label="y").given.tolist() == [1, -1, 0]
    assert from_huggingface(split, "x", label="z").given.tolist() == [1, 0, -1]
    back = to_huggingface(split, from_huggingface(split, "x", label="z"))
    assert back["purified_label"][:] == [7, 3, None]


def test_images_as_features_and_as_inputs():
    pytest.importorskip("PIL")
    pictures = RNG.integers(0, 255, (5, 6, 6, 3)).astype(np.uint8)
    kinds = Features({"image": Image(), "label": Value("int64")})
    split = Dataset.from_dict({"image": list(pictures), "label": [0, 1, 0, 1, 1]}, features=kinds)
    samples = from_huggingface(split, "image", label="label")
    assert samples.dtype == np.uint8
    np.testing.assert_array_equal(samples.features, pictures)
    lazy = from_huggingface(split, inputs="image", label="label")
    assert lazy.shape == (5, 0) and lazy.inputs.shape == (5,)
    np.testing.assert_array_equal(np.asarray(lazy[[3]].inputs[0]), pictures[3])
    from skclean import SSLFeaturizer

    embedded = SSLFeaturizer("kmeans", random_state=0).fit_transform(lazy)
    assert embedded.features.shape[1] > 0 and embedded.given.tolist() == [0, 1, 0, 1, 1]
    ragged = Dataset.from_dict(
        {"image": [pictures[0], pictures[1][:4]]}, features=Features({"image": Image()})
    )
    with pytest.raises(ValueError, match="one shape in every row of column 'image'"):
        from_huggingface(ragged, "image")


def test_purified_labels_stand_beside_the_given_ones(split):
    samples = TransitionCleaner().fit_transform(from_huggingface(split, "exact", label="label"))
    done = to_huggingface(split, samples, soft=True)
    assert done.features["purified_label"] == split.features["label"]
    codes = np.array(done["purified_label"][:])
    assert np.mean(codes[samples.known] == TRUTH[samples.known]) > 0.9
    np.testing.assert_array_equal(
        np.array(NAMES)[codes[samples.known]], samples.labels[samples.known]
    )
    assert done["purified_status"][:] == samples.status.tolist()
    np.testing.assert_allclose(done["purified_proba"][:], samples.proba)
    assert done["text"][:] == split["text"][:] and len(done) == 90
    with pytest.raises(ValueError, match="expected no columns .*purified_label.*remove_columns"):
        to_huggingface(done, samples)
    assert "second_label" in to_huggingface(done, samples, prefix="second_").column_names


def test_unknown_labels_are_minus_one_of_a_class_label(split):
    shuffled = split.shuffle(seed=1)
    samples = GMMCleaner().fit_transform(from_huggingface(shuffled, "exact", label="label"))
    done = to_huggingface(shuffled, samples)
    codes = np.array(done["purified_label"][:])
    np.testing.assert_array_equal(codes == -1, ~samples.known)
    np.testing.assert_array_equal(done["x"][:], shuffled["x"][:])
    renamed = to_huggingface(split.remove_columns("label"), samples)
    assert renamed.features["purified_label"].names == sorted(NAMES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a column of features or of inputs, got neither"),
        ({"features": "nope"}, "column of the dataset, got 'nope'"),
        ({"features": "text"}, "numbers of one shape in every row of column 'text'"),
        ({"features": "x", "trusted": "label"}, "booleans in column 'label' as trusted"),
        ({"features": "x", "label": "exact"}, "y should be a 1d array"),
    ],
)
def test_columns_that_are_refused(split, options, message):
    with pytest.raises(ValueError, match=message):
        from_huggingface(split, **options)


def test_what_is_no_split(split):
    parts = datasets.DatasetDict(train=split)
    with pytest.raises(ValueError, match="expected a datasets.Dataset, got DatasetDict"):
        from_huggingface(parts, "x")
    samples = LabelledSamples(X[:5], GIVEN[:5])
    with pytest.raises(ValueError, match="container of 90 rows.* got 5"):
        to_huggingface(split, samples)
    with pytest.raises(ValueError, match="expected proba"):
        to_huggingface(split, LabelledSamples(X, GIVEN), soft=True)
