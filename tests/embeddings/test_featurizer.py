import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    PurifiedClassifier,
    SSLFeaturizer,
    TransitionCleaner,
)
from skclean.datasets import load_noisy_digits
from skclean.embeddings import ConvKMeans

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
IMAGES = DIGITS.images
QUICK = ConvKMeans(n_filters=32, n_components=32, n_patches=2000)


def quick(**changes):
    return SSLFeaturizer(QUICK, **changes)


@pytest.fixture
def files(tmp_path):
    """Paths of sixty digits as image files."""
    Image = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{i:02}.png" for i in range(60)]
    for path, image in zip(paths, IMAGES):
        Image.fromarray((image * 15).astype(np.uint8)).convert("RGB").save(path)
    return np.array([str(path) for path in paths])


@parametrize_with_checks([SSLFeaturizer(), SSLFeaturizer(ConvKMeans(n_filters=8), batch_size=2)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# What comes out


def test_images_travel_with_their_embeddings():
    samples = quick().fit_transform(IMAGES, DIGITS.target_noisy)
    assert isinstance(samples, LabelledSamples)
    assert samples.shape == (1797, 32)
    assert samples.inputs is IMAGES or np.shares_memory(samples.inputs, IMAGES)
    assert samples.given is None and samples.status is None and samples.readable is None


def test_labels_touch_nothing():
    one = quick().fit_transform(IMAGES[:200], DIGITS.target_noisy[:200]).features
    np.testing.assert_array_equal(one, quick().fit_transform(IMAGES[:200]).features)


def test_embeddings_are_better_than_pixels():
    train, test, y, y_test = train_test_split(IMAGES, DIGITS.target, random_state=0, test_size=0.9)
    model = LogisticRegression(max_iter=2000)
    pixels = model.fit(train.reshape(len(train), -1) / 16, y)
    raw = pixels.score(test.reshape(len(test), -1) / 16, y_test)
    featurizer = SSLFeaturizer("kmeans").fit(IMAGES)
    embedded = model.fit(featurizer.transform(train).features, y)
    assert embedded.score(featurizer.transform(test).features, y_test) > raw + 0.01


def test_transform_repeats_itself_and_the_fit():
    featurizer = quick().fit(IMAGES)
    samples = featurizer.transform(IMAGES)
    np.testing.assert_array_equal(samples.features, featurizer.transform(IMAGES).features)
    np.testing.assert_array_equal(samples.features, quick().fit_transform(IMAGES).features)
    np.testing.assert_allclose(
        featurizer.transform(IMAGES[7:9]).features, samples.features[7:9], rtol=1e-6
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_random_state_decides(seed):
    one = quick(random_state=seed).fit_transform(IMAGES[:300]).features
    two = quick(random_state=seed).fit_transform(IMAGES[:300]).features
    other = quick(random_state=seed + 2).fit_transform(IMAGES[:300]).features
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)


def test_no_rows_have_no_embeddings():
    images = np.random.default_rng(0).random((20, 8, 8))
    for X in (images, images.reshape(20, -1), (images * 255).astype(np.uint8)):
        fitted = SSLFeaturizer(ConvKMeans(n_filters=8)).fit(X)
        found = fitted.transform(X[:0]).features
        assert found.shape == (0, fitted.transform(X).features.shape[1])


def test_no_paths_have_no_embeddings(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    paths = [str(tmp_path / f"{i}.png") for i in range(20)]
    for path in paths:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), "u1")).save(path)
    fitted = SSLFeaturizer(ConvKMeans(n_filters=8))
    samples = fitted.fit_transform(paths)
    for none in (np.array(paths)[:0], np.array(paths, object)[:0], samples[:0]):
        found = fitted.transform(none)
        assert found.shape == (0, samples.shape[1]) and len(found.inputs) == 0
        with pytest.raises(ValueError, match="0 sample"):
            SSLFeaturizer().fit(none)


def test_container_keeps_its_labels():
    given = LabelledSamples(np.zeros((1797, 1)), DIGITS.target_noisy, inputs=IMAGES)
    samples = quick().fit_transform(given)
    np.testing.assert_array_equal(samples.given, DIGITS.target_noisy)
    assert samples.shape == (1797, 32)


def test_container_without_inputs_is_read_by_its_features():
    flat = quick().fit_transform(LabelledSamples(DIGITS.data, DIGITS.target_noisy))
    assert flat.inputs.shape == (1797, 8, 8)
    np.testing.assert_array_equal(flat.features, quick().fit_transform(IMAGES).features)


def test_flat_rows_and_images_are_one():
    pd = pytest.importorskip("pandas")
    samples = quick().fit_transform(IMAGES[:100])
    featurizer = quick(image_shape=(8, 8)).fit(DIGITS.data[:100])
    assert featurizer.n_features_in_ == 64
    np.testing.assert_array_equal(
        featurizer.transform(DIGITS.data[:100]).features, samples.features
    )
    frame = pd.DataFrame(DIGITS.data[:100], index=np.arange(100) + 5)
    embedded = quick().fit_transform(frame)
    np.testing.assert_array_equal(embedded.features, samples.features)
    assert embedded.index.tolist() == frame.index.tolist()


def test_names_of_the_features():
    names = quick().fit(IMAGES).get_feature_names_out()
    assert len(names) == 32 and names[0] == "sslfeaturizer0"


# In a pipeline


def test_pipeline_from_images_to_purified_labels(tmp_path):
    steps = [
        ("features", SSLFeaturizer("kmeans")),
        ("clean", GMMCleaner()),
        ("relabel", CredibilityRelabeler()),
        ("classify", PurifiedClassifier(LogisticRegression(max_iter=1000))),
    ]
    rows, test = train_test_split(np.arange(1797), random_state=0)
    y = DIGITS.target_noisy[rows]
    pipe = Pipeline(steps, memory=joblib.Memory(tmp_path, verbose=0)).fit(IMAGES[rows], y)
    purified = pipe[:-1].transform(IMAGES[rows])
    assert (purified.labels == DIGITS.target[rows]).mean() > 0.94
    assert purified.inputs.shape == (len(rows), 8, 8)
    assert pipe.score(IMAGES[test], DIGITS.target[test]) > 0.94
    again = Pipeline(steps, memory=joblib.Memory(tmp_path, verbose=0)).fit(IMAGES[rows], y)
    np.testing.assert_array_equal(again.predict(IMAGES[test]), pipe.predict(IMAGES[test]))


def test_grid_search_over_settings_of_the_method():
    pipe = Pipeline(
        [("features", quick()), ("clean", TransitionCleaner()), ("classify", PurifiedClassifier())]
    )
    grid = {"features__method__n_filters": [2, 32]}
    search = GridSearchCV(pipe, grid, cv=2).fit(IMAGES[:500], DIGITS.target_noisy[:500])
    assert search.best_params_ == {"features__method__n_filters": 32}


def test_pickle_and_clone():
    featurizer = quick().fit(IMAGES[:200])
    copy = pickle.loads(pickle.dumps(featurizer))
    np.testing.assert_array_equal(
        copy.transform(IMAGES[:50]).features, featurizer.transform(IMAGES[:50]).features
    )
    assert not hasattr(clone(featurizer), "method_")


# Files


def test_files_give_what_their_pixels_give(files):
    pixels = np.repeat((IMAGES[:60] * 15).astype(np.uint8)[..., None], 3, axis=3)
    samples = quick().fit_transform(files)
    np.testing.assert_array_equal(samples.inputs, files)
    np.testing.assert_array_equal(samples.features, quick().fit_transform(pixels).features)


def test_broken_file_is_named(files):
    open(files[17], "wb").close()
    with pytest.raises(ValueError, match="17.png"):
        quick().fit(files)
    featurizer = quick().fit(files[:17])
    with pytest.raises(ValueError, match="17.png"):
        featurizer.transform(files)


def test_broken_file_is_skipped_and_stays_unknown(files):
    open(files[17], "wb").close()
    whole = np.delete(files, 17)
    with pytest.warns(UserWarning, match="17.png"):
        samples = quick(on_error="skip").fit_transform(files)
    np.testing.assert_array_equal(np.flatnonzero(~samples.readable), [17])
    assert samples.status[17] == "unknown"
    assert not samples.features[17].any()
    expected = quick().fit_transform(whole)
    np.testing.assert_allclose(
        samples.features[samples.readable], expected.features, rtol=1e-5, atol=1e-6
    )
    purified = GMMCleaner().fit_transform(samples, DIGITS.target_noisy[:60])
    assert purified.status[17] == "unknown" and np.isnan(purified.clean_proba[17])


@pytest.mark.filterwarnings("ignore:.*cannot be read:UserWarning")
def test_nothing_to_learn_from_is_an_error(tmp_path):
    pytest.importorskip("PIL.Image")
    with pytest.raises(ValueError, match="SSLFeaturizer: expected images that can be read"):
        quick(on_error="skip").fit([str(tmp_path / "none.png"), str(tmp_path / "no.png")])


# Output of the caller's


def test_out_is_written_whole_or_not_at_all(tmp_path, files):
    featurizer = quick().fit(files[:40])
    expected = featurizer.transform(files).features
    path = tmp_path / "embeddings.npy"
    samples = featurizer.transform(files, out=path)
    assert isinstance(samples.features.base, np.memmap)
    np.testing.assert_array_equal(samples.features, expected)
    np.testing.assert_array_equal(np.load(path), expected)
    array = np.empty_like(expected)
    assert np.shares_memory(featurizer.transform(files, out=array).features, array)
    np.testing.assert_array_equal(array, expected)
    # A file that breaks after the quick look at its header stops the run in the middle.
    content = open(files[50], "rb").read()
    with open(files[50], "wb") as stream:
        stream.write(content[: len(content) - 30])
    with pytest.raises(ValueError, match="50.png"):
        featurizer.transform(files, out=path)
    np.testing.assert_array_equal(np.load(path), expected)
    assert sorted(p.name for p in tmp_path.glob("*embeddings*")) == ["embeddings.npy"]


@pytest.mark.parametrize(
    ("out", "got"),
    [
        (np.empty((3, 2)), r"got float64 \(3, 2\)"),
        (np.empty((60, 32), dtype=int), r"got int64 \(60, 32\)"),
        (np.broadcast_to(np.float32(0), (60, 32)), r"got float32 \(60, 32\) read-only"),
        ([1.0], "got list"),
    ],
)
def test_out_of_another_shape_is_an_error(files, out, got):
    featurizer = quick().fit(files)
    match = rf"expected out as a path or a writable array, .* {got}"
    with pytest.raises(ValueError, match=match):
        featurizer.transform(files, out=out)


# Errors


@pytest.mark.parametrize(
    ("changes", "images", "message"),
    [
        ({}, np.zeros((5, 8, 8, 2), np.uint8), "channel"),
        ({}, np.full((5, 8, 8), np.nan), "NaN"),
        ({"image_shape": (3, 3)}, np.zeros((5, 8)), "image_shape"),
        ({"method": "sift"}, IMAGES, "The 'method' parameter"),
        ({"method": QUICK, "epochs": 0}, IMAGES, "The 'epochs' parameter"),
    ],
)
def test_bad_input_is_an_error(changes, images, message):
    with pytest.raises(ValueError, match=message):
        SSLFeaturizer(**changes).fit(images)


def test_images_unlike_those_of_the_fit_are_an_error():
    featurizer = quick().fit(IMAGES[:50])
    with pytest.raises(ValueError, match="expected images"):
        featurizer.transform(IMAGES[:5, :6])


@pytest.mark.parametrize(
    ("fitted", "images"),
    [
        ((IMAGES * 15).astype(np.uint8), IMAGES / 16),
        (IMAGES / 16, (IMAGES * 15).astype(np.uint8)),
        (IMAGES / 16, IMAGES * 15),
        ((IMAGES * 4000).astype(np.uint16), (IMAGES * 15).astype(np.uint8)),
        ((IMAGES * 4000).astype(np.uint16), IMAGES / 16),
    ],
)
def test_images_with_other_values_than_those_of_the_fit_are_an_error(fitted, images):
    featurizer = quick().fit(fitted[:50])
    with pytest.raises(ValueError, match=r"expected images (of|with).*as in the fit"):
        featurizer.transform(images[:50])


def test_rows_marked_unreadable_are_not_learned_from_and_stay_marked():
    readable = np.arange(300) >= 60
    samples = LabelledSamples(np.zeros((300, 1)), inputs=IMAGES[:300], readable=readable)
    embedded = quick().fit_transform(samples)
    assert (embedded.status == np.where(readable, "kept", "unknown")).all()
    expected = quick().fit_transform(IMAGES[60:300])
    np.testing.assert_allclose(embedded.features[60:], expected.features, rtol=1e-5, atol=1e-6)
    purified = GMMCleaner().fit_transform(embedded, DIGITS.target_noisy[:300])
    again = quick().fit(IMAGES[60:300]).transform(purified)
    assert (again.status[:60] == "unknown").all()


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(files):
    featurizer = quick()
    open(files[3], "wb").close()
    with pytest.raises(ValueError, match="03.png"):
        featurizer.fit(files)
    with pytest.raises(NotFittedError):
        featurizer.transform(files[:2])
    featurizer.fit(IMAGES[:50])
    expected = featurizer.transform(IMAGES[:5]).features
    with pytest.raises(ValueError, match="03.png"):
        featurizer.fit(files)
    np.testing.assert_array_equal(featurizer.transform(IMAGES[:5]).features, expected)


def test_memory_fits_once(tmp_path, monkeypatch):
    fits = []
    original = ConvKMeans.fit_images
    monkeypatch.setattr(ConvKMeans, "fit_images", lambda *args: fits.append(1) or original(*args))
    pipe = Pipeline(
        [("features", quick()), ("clean", GMMCleaner())], memory=joblib.Memory(tmp_path, verbose=0)
    )
    for _ in range(2):
        clone(pipe).fit(IMAGES[:200], DIGITS.target_noisy[:200])
    assert len(fits) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "none"}, "expected weights for method='none'"),
        ({"method": "kmeans", "weights": "file.safetensors"}, "expected weights=None"),
        ({"method": ConvKMeans(), "weights": "file.safetensors"}, "expected weights=None"),
        ({"method": ConvKMeans}, r"instance as method, .* do pass ConvKMeans\(\)"),
        ({"method": "simclr", "epochs": 3, "warmup_epochs": 3}, "expected warmup_epochs below"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(changes, message):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=message):
        SSLFeaturizer(**changes).fit(IMAGES[:20])
