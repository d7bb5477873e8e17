import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("lightning_fabric", "safetensors", "tqdm"):
    pytest.importorskip(needed)

from sklearn.base import BaseEstimator, clone  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, train_test_split  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from skclean import (  # noqa: E402
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    PrototypeCleaner,
    PurifiedClassifier,
    SSLFeaturizer,
)
from skclean.datasets import load_noisy_digits, make_symmetric_noise  # noqa: E402
from skclean.embeddings import ConvKMeans  # noqa: E402
from skclean.neural import IEG, NeuralRetrainer  # noqa: E402
from skclean.neural.objectives.mixmatch import MixMatch  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
IMAGES, TEST_IMAGES, PIXELS, TEST_PIXELS, Y, Y_TEST, Y_NOISY, _ = train_test_split(
    DIGITS.images, DIGITS.data, DIGITS.target, DIGITS.target_noisy, test_size=0.3, random_state=0
)


def quick(objective="supervised", **changes):
    return NeuralRetrainer(objective, **{"epochs": 2, "hidden_units": 32} | changes)


def purified(**changes):
    """A container of 200 rows: right labels, of which every fourth is unknown."""
    status = np.where(np.arange(200) % 4, "kept", "unknown")
    fields = {"inputs": IMAGES[:200], "labels": Y[:200], "status": status}
    return LabelledSamples(PIXELS[:200], Y_NOISY[:200], **fields | changes)


def weights_of(retrainer):
    return [p.numpy() for network in retrainer.networks_ for p in network.state_dict().values()]


def assert_same(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


@parametrize_with_checks([NeuralRetrainer(epochs=20, learning_rate=0.01)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# What it learns


def test_labels_of_the_container_are_learned_and_not_y():
    given = (Y[:200] + 1) % 10
    samples = LabelledSamples(PIXELS[:200], given, labels=Y[:200], status=["corrected"] * 200)
    retrainer = quick(epochs=20, backbone="mlp").fit(samples, given)
    assert retrainer.score(TEST_PIXELS, Y_TEST) > 0.8


def test_unknown_rows_teach_no_label():
    samples = purified()
    other = np.where(samples.known, Y[:200], (Y[:200] + 1) % 10)
    one, two = quick(backbone="mlp"), quick(backbone="mlp")
    assert_same(one.fit(samples), two.fit(purified(labels=other)))


def test_remixmatch_learns_classes_of_unequal_size():
    rows = np.flatnonzero((Y < 2) | (np.arange(len(Y)) % 8 == 0))
    y = np.where(np.arange(len(rows)) % 2, np.nan, Y[rows])
    retrainer = quick("remixmatch", epochs=20, learning_rate=0.01).fit(PIXELS[rows], y)
    assert retrainer.score(PIXELS[rows], Y[rows]) > 0.95


def test_rows_without_a_label_are_the_unlabelled_ones():
    y = np.where(np.arange(len(Y)) % 10, np.nan, Y)
    retrainer = quick("mixmatch").fit(PIXELS, y)
    assert "unlabelled" in retrainer.history_
    assert np.array_equal(retrainer.classes_, np.arange(10))
    with pytest.warns(UserWarning, match="missing labels"):
        other = quick("mixmatch").fit(PIXELS, np.where(np.isnan(y), -1, y).astype(int))
    assert_same(retrainer, other)


def test_soft_labels():
    proba = np.full((200, 10), 0.02)
    proba[np.arange(200), Y[:200]] += 0.8
    soft = purified(proba=proba)
    one = quick(backbone="mlp", use="soft").fit(soft)
    with pytest.raises(AssertionError):
        assert_same(one, quick(backbone="mlp").fit(soft))
    with pytest.raises(ValueError, match="expected proba in the container"):
        quick(use="soft").fit(purified())


def test_rows_of_weight_zero_teach_nothing():
    weight = np.ones(200)
    weight[:50] = 0
    y = Y_NOISY[:200].copy()
    y[:50] = 3
    labels = np.where(weight > 0, Y[:200], 3)
    one = quick(backbone="mlp").fit(purified(weight=weight))
    assert_same(one, quick(backbone="mlp").fit(purified(weight=weight, labels=labels)))


@pytest.mark.parametrize("name", ["fixmatch", "remixmatch", "pi_model", "temporal_ensembling"])
def test_every_objective_by_name(name):
    retrainer = quick(name, graph=True, backbone="mlp", epochs=15).fit(purified())
    assert retrainer.score(TEST_PIXELS, Y_TEST) > 0.7
    assert np.isfinite(retrainer.history_["graph_uu"]).all()


def test_ieg_wants_trusted_rows():
    with pytest.raises(ValueError, match="expected trusted rows"):
        quick("ieg").fit(PIXELS, Y)
    trusted = np.arange(200) < 40
    samples = LabelledSamples(PIXELS[:200], np.where(trusted, Y[:200], Y_NOISY[:200]))
    retrainer = quick("ieg", optimizer="sgd").fit(samples.with_labels(trusted=trusted))
    assert np.isfinite(retrainer.history_["reweighted"]).all()


def test_ieg_on_features_whose_classes_overlap():
    rng = np.random.RandomState(0)
    y = rng.randint(10, size=1800)
    X = 0.26 * rng.standard_normal((10, 100))[y] + rng.standard_normal((1800, 100))
    trusted, test = np.arange(1000) < 100, slice(1000, None)
    noisy = make_symmetric_noise(y[:1000], 0.5, random_state=0)[0]
    samples = LabelledSamples(X[:1000], np.where(trusted, y[:1000], noisy), trusted=trusted)
    plain = LogisticRegression().fit(X[:1000], samples.given).score(X[test], y[test])
    options = {"epochs": 10, "hidden_units": 256}
    assert quick("ieg", **options).fit(samples).score(X[test], y[test]) > plain + 0.1
    # With the paper's weights the guesses of the first steps teach themselves to all rows.
    paper = quick(IEG(5, 20), **options).fit(samples)
    assert len(np.unique(paper.predict(X[test]))) < 5


def test_class_without_a_row_is_never_predicted_but_is_there():
    samples = LabelledSamples(PIXELS[:200], Y[:200], classes=np.arange(11))
    proba = quick("mixmatch", epochs=10).fit(samples).predict_proba(PIXELS)
    assert proba.shape == (len(PIXELS), 11) and proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert not (proba.argmax(axis=1) == 10).any()


# DivideMix


@pytest.mark.parametrize("cleaner", [GMMCleaner(), PrototypeCleaner()])
def test_two_networks_divide_the_rows_for_each_other(cleaner):
    retrainer = NeuralRetrainer(
        MixMatch(lambda_u=25), n_networks=2, cleaner=cleaner, epochs=14, warmup_epochs=6
    )
    retrainer.fit(PIXELS, Y_NOISY)
    assert len(retrainer.networks_) == 2
    assert retrainer.score(TEST_PIXELS, Y_TEST) > 0.9
    labelled = retrainer.history_["labelled_share"]
    assert (labelled[:6] == 1).all() and (labelled[6:] < 0.9).all()
    assert np.isnan(retrainer.history_["unlabelled"][:6]).all()
    logits = [n(torch.from_numpy(TEST_PIXELS).float()).detach() for n in retrainer.networks_]
    expected = torch.softmax(logits[0] + logits[1], dim=1)
    np.testing.assert_allclose(retrainer.predict_proba(TEST_PIXELS), expected, atol=1e-4)


def test_one_network_divides_by_its_own_outputs():
    retrainer = quick("mixmatch", cleaner=GMMCleaner(), warmup_epochs=1, epochs=3)
    retrainer.fit(PIXELS, Y_NOISY)
    assert retrainer.history_["labelled_share"][0] == 1 > retrainer.history_["labelled_share"][-1]


def test_higher_threshold_leaves_fewer_rows_labelled():
    shares = [
        quick("mixmatch", cleaner=GMMCleaner(), warmup_epochs=1, threshold=threshold)
        .fit(PIXELS, Y_NOISY)
        .history_["labelled_share"][-1]
        for threshold in (0.1, 0.9)
    ]
    assert shares[0] > shares[1] > 0


def test_container_without_labels_takes_y_only_for_a_cleaner():
    bare = LabelledSamples(PIXELS)
    with pytest.raises(ValueError, match="container with labels"):
        quick().fit(bare, Y_NOISY)
    retrainer = quick(cleaner=GMMCleaner(), warmup_epochs=1)
    assert_same(retrainer.fit(bare, Y_NOISY), clone(retrainer).fit(PIXELS, Y_NOISY))


# Images


def test_images_in_a_container_and_alone():
    retrainer = quick(epochs=8, learning_rate=0.01).fit(purified())
    assert retrainer.image_shape_ == (1, 8, 8) and retrainer.n_features_in_ == 64
    proba = retrainer.predict_proba(TEST_IMAGES)
    assert (proba.argmax(axis=1) == Y_TEST).mean() > 0.8
    contained = LabelledSamples(np.zeros((len(TEST_IMAGES), 3)), inputs=TEST_IMAGES)
    np.testing.assert_array_equal(retrainer.predict_proba(contained), proba)
    np.testing.assert_allclose(retrainer.predict_proba(TEST_IMAGES[:7]), proba[:7], atol=1e-5)


def test_flat_rows_are_images_for_a_backbone_of_images():
    one = quick(backbone="conv_net", epochs=1).fit(PIXELS[:100], Y[:100])
    assert one.image_shape_ == (1, 8, 8)
    assert_same(one, quick(epochs=1).fit(IMAGES[:100], Y[:100]))
    contained = LabelledSamples(PIXELS[:100], Y[:100])
    assert_same(one, quick(epochs=1, image_shape=(8, 8)).fit(contained))


@pytest.mark.parametrize("objective", ["supervised", "fixmatch"])
def test_gray_images_of_three_channels_are_trained_on_as_gray_ones(objective):
    one = quick(objective).fit(IMAGES[:60], Y[:60])
    three = np.repeat(IMAGES[:60, None], 3, axis=1)
    assert_same(one, quick(objective).fit(three, Y[:60]))
    three[-1, 0] = 0
    other = quick(objective).fit(three, Y[:60])
    assert any((a != b).any() for a, b in zip(weights_of(one), weights_of(other), strict=True))


def test_colour_images_and_backbones_by_name():
    X = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    retrainer = quick(epochs=1, batch_size=8).fit(X, np.arange(20) % 2)
    assert retrainer.networks_[0].body.n_features == 512
    own = torch.nn.Conv2d(3, 5, 3)
    assert quick(backbone=own, epochs=1).fit(X, np.arange(20) % 2).predict(X).shape == (20,)
    np.testing.assert_array_equal(retrainer.predict_proba(X[:0]).shape, (0, 2))


def test_starts_from_a_featurizer():
    own = torch.nn.Conv2d(3, 5, 3)
    featurizer = SSLFeaturizer("none", own).fit(IMAGES)
    retrainer = quick(weights=FrozenEstimator(featurizer), epochs=1, learning_rate=1e-9)
    started = clone(retrainer).fit(IMAGES, Y).networks_[0].body.network.weight
    np.testing.assert_allclose(started.numpy(), own.weight.detach().numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="without one"):
        quick(weights=SSLFeaturizer()).fit(IMAGES, Y)
    with pytest.raises(ValueError, match="expected backbone='auto' beside weights"):
        quick(backbone="resnet18", weights=featurizer).fit(IMAGES, Y)
    assert quick(backbone=own, weights=featurizer, epochs=1).fit(IMAGES, Y).n_iter_ == 1


def test_unreadable_rows_teach_nothing_and_are_uniform(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    paths = [str(tmp_path / f"{i:02}.png") for i in range(40)]
    for path, image in zip(paths, IMAGES):
        Image.fromarray((image * 15).astype(np.uint8)).save(path)
    (tmp_path / "07.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"07\.png"):
        quick().fit(paths, Y[:40])
    with pytest.warns(UserWarning, match=r"07\.png"):
        retrainer = quick(on_error="skip", epochs=1).fit(paths, Y[:40])
    y = Y[:40].copy()
    y[7] = (y[7] + 1) % 10
    with pytest.warns(UserWarning, match=r"07\.png"):
        assert_same(retrainer, clone(retrainer).fit(paths, y))
    with pytest.warns(UserWarning, match=r"07\.png"):
        proba = retrainer.predict_proba(paths)
    assert (proba[7] == 1 / len(retrainer.classes_)).all()
    assert not (proba[6] == 1 / len(retrainer.classes_)).any()


# In pipelines


def test_whole_pipeline_and_search_over_the_cleaner():
    features = SSLFeaturizer(ConvKMeans(n_filters=64, n_components=64, n_patches=3000))
    pipe = Pipeline(
        [
            ("features", features),
            ("clean", GMMCleaner()),
            ("relabel", CredibilityRelabeler()),
            ("retrain", NeuralRetrainer(epochs=6)),
        ]
    ).fit(IMAGES, Y_NOISY)
    assert pipe.score(TEST_IMAGES, Y_TEST) > 0.94
    pipe.set_params(retrain__backbone="mlp", retrain__epochs=2)
    search = GridSearchCV(pipe, {"clean__threshold": [0.3, 0.6]}, cv=2)
    search.fit(IMAGES[:400], Y_NOISY[:400])
    assert search.predict(TEST_IMAGES).shape == Y_TEST.shape
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_settings_of_the_objective_are_searched():
    search = GridSearchCV(
        quick(MixMatch(), epochs=1), {"objective__lambda_u": [1, 75]}, cv=2, error_score="raise"
    )
    assert search.fit(PIXELS[:200], Y[:200]).best_params_


def test_strings_as_classes_and_names_of_features():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(PIXELS[:100], columns=[f"p{i}" for i in range(64)])
    names = np.array(["zero", "one", *"abcdefgh"])
    retrainer = quick().fit(X, names[Y[:100]])
    assert retrainer.predict(X).dtype.kind == "U"
    assert list(retrainer.feature_names_in_) == list(X.columns)


def test_pickle_and_clone():
    retrainer = quick().fit(PIXELS[:100], Y[:100])
    again = pickle.loads(pickle.dumps(retrainer))
    np.testing.assert_array_equal(again.predict_proba(PIXELS), retrainer.predict_proba(PIXELS))
    assert_same(clone(retrainer).fit(PIXELS[:100], Y[:100]), retrainer)


# Randomness


@pytest.mark.parametrize("objective", ["mixmatch", "supervised"])
def test_runs_repeat_themselves_and_leave_global_generators(objective):
    torch.manual_seed(5)
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    one = quick(objective, dropout=0.2).fit(purified())
    torch.rand(3)
    assert_same(one, quick(objective, dropout=0.2).fit(purified()))
    torch.manual_seed(5)
    quick(objective, dropout=0.2).fit(purified())
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    with pytest.raises(AssertionError):
        assert_same(one, quick(objective, dropout=0.2, random_state=1).fit(purified()))


# Validation and callbacks


def test_validation_ends_the_training_and_keeps_the_best_weights():
    retrainer = quick(epochs=40, validation_fraction=0.25, n_iter_no_change=3, learning_rate=0.01)
    retrainer.fit(PIXELS, Y)
    scores = retrainer.history_["validation"]
    assert retrainer.n_iter_ == len(scores) < 40
    assert scores.argmax() == len(scores) - 4
    shorter = clone(retrainer).set_params(callbacks=[Ender(int(scores.argmax()))]).fit(PIXELS, Y)
    assert_same(retrainer, shorter)


def test_trusted_rows_are_held_out():
    trusted = np.arange(200) < 60
    y = np.where(trusted, Y[:200], Y_NOISY[:200])
    samples = LabelledSamples(PIXELS[:200], y).with_labels(trusted=trusted)
    retrainer = quick(validation_fraction="trusted", epochs=5).fit(samples)
    assert retrainer.history_["validation"].shape == (5,)
    with pytest.raises(ValueError, match="expected trusted rows"):
        quick(validation_fraction="trusted").fit(PIXELS, Y)


class Ender(BaseEstimator):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, retrainer, epoch, record):
        assert {"labelled", "learning_rate", "seconds"} <= set(record)
        self.seen = retrainer.predict(PIXELS[:5])
        return epoch == self.epoch


def test_callbacks_predict_and_end_the_training():
    ender = Ender(1)
    retrainer = quick(epochs=5, callbacks=[ender]).fit(PIXELS, Y)
    assert retrainer.n_iter_ == 2
    np.testing.assert_array_equal(retrainer.predict(PIXELS[:5]), ender.seen)


def test_training_that_ends_in_the_warm_up_keeps_its_best_weights():
    settings = {"cleaner": GMMCleaner(), "validation_fraction": 0.25, "learning_rate": 0.01}
    early = quick(epochs=9, warmup_epochs=8, callbacks=[Ender(4)], **settings).fit(PIXELS, Y)
    best = int(early.history_["validation"].argmax())
    shorter = quick(epochs=9, warmup_epochs=8, callbacks=[Ender(best)], **settings).fit(PIXELS, Y)
    assert_same(early, shorter)
    assert early.score(TEST_PIXELS, Y_TEST) > 0.8


# Errors


@pytest.mark.parametrize(
    ("changes", "X", "y", "message"),
    [
        ({}, PIXELS, None, "requires y to be passed"),
        ({}, IMAGES, None, "requires y to be passed"),
        ({}, IMAGES, Y[:5], "inconsistent numbers of samples"),
        ({}, PIXELS, np.zeros(len(PIXELS)), "one class"),
        ({}, IMAGES, np.zeros(len(IMAGES)), "one class"),
        ({"validation_fraction": 1e-6}, PIXELS, Y, "holds out a row"),
        ({"backbone": "resnet999"}, IMAGES, Y, "resnet999"),
        ({"objective": "other"}, PIXELS, Y, "objective"),
        ({"epochs": 0}, PIXELS, Y, "epochs"),
    ],
)
def test_bad_input_is_an_error(changes, X, y, message):
    with pytest.raises(ValueError, match=message):
        quick(**changes).fit(X, y)


def test_container_of_unknown_rows_is_an_error():
    with pytest.raises(ValueError, match="got no row"):
        quick().fit(purified(status=np.full(200, "unknown")))


def test_images_unlike_those_of_the_fit_are_an_error():
    retrainer = quick(epochs=1).fit(IMAGES[:50], Y[:50])
    with pytest.raises(ValueError, match="expected images of 8 x 8 pixels"):
        retrainer.predict(IMAGES[:, :6])


def test_without_a_cleaner_the_labels_are_those_given():
    one = quick().fit(LabelledSamples(PIXELS, Y))
    assert_same(one, quick().fit(PIXELS, Y))
    assert PurifiedClassifier().fit(LabelledSamples(PIXELS, Y)).classes_.tolist() == list(range(10))
