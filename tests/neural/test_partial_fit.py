"""Weights of labels, and one epoch at a time by `partial_fit`."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from skclean import (  # noqa: E402
    GMMCleaner,
    LabelledSamples,
    NeuralRetrainer,
    PrototypeCleaner,
    SSLFeaturizer,
    TransitionCleaner,
    saving,
)
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.neural import MixMatch, ReMixMatch, Supervised  # noqa: E402
from skclean.neural.further import Kept  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.3, random_state=0)
X, Y, TRUE = (values[:400] for values in (DIGITS.data / 16, DIGITS.target_noisy, DIGITS.target))
IMAGES = DIGITS.images[:400]
CLASSES = np.arange(10)


def quick(objective="supervised", **changes):
    return NeuralRetrainer(objective, **{"epochs": 2, "hidden_units": 16} | changes)


def weights_of(retrainer):
    return [p.numpy() for network in retrainer.networks_ for p in network.state_dict().values()]


def assert_same(one, other):
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_labels_of_weight_zero_teach_nothing(method):
    weight = np.where(np.arange(400) < 200, 0, 1)
    other = np.where(weight, Y, (Y + 1) % 10)
    fitted = [
        getattr(quick("mixmatch"), method)(LabelledSamples(X, y, weight=weight)) for y in (Y, other)
    ]
    assert_same(*fitted)


def test_weights_count_in_every_call():
    """Rows of half the weight move the network half as far, by plain SGD."""

    def moved(weight):
        one = quick(optimizer="sgd", ema_decay=0.0, augmentation=as_it_is, weight_decay=0.0)
        one.set_params(batch_size=400, learning_rate=1e-3).partial_fit(X, Y, classes=CLASSES)
        before = weights_of(pickle.loads(pickle.dumps(one)))
        one._kept.optimizer.clear()
        after = weights_of(one.partial_fit(LabelledSamples(X, Y, weight=np.full(400, weight))))
        return np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)])

    np.testing.assert_allclose(moved(0.5), moved(1.0) / 2, rtol=0.05, atol=1e-5)


def as_it_is(x, generator):
    return x


# One epoch at a time


def test_initial_weights_are_for_images():
    with pytest.raises(ValueError, match="expected weights=None where features"):
        quick(weights="some.safetensors").partial_fit(X, Y, classes=CLASSES)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (X, {"objective": MixMatch(lambda_u=5), "learning_rate": 0.01}),
        (X, {"objective": Supervised("gce"), "optimizer": "sgd", "learning_rate": 0.1}),
        (X, {"objective": ReMixMatch(n_views=1), "graph": True}),
        (IMAGES, {"objective": "supervised", "learning_rate": 0.01}),
    ],
    ids=["mixmatch", "gce", "remixmatch", "images"],
)
def test_it_learns_from_batches(data, options):
    retrainer = quick(**options)
    for epoch in range(32):
        rows = slice(100 * (epoch % 4), 100 * (epoch % 4) + 100)
        retrainer.partial_fit(data[rows], Y[rows], classes=None if epoch else CLASSES)
    assert retrainer.n_iter_ == 32 == len(retrainer.history_["labelled"])
    assert (retrainer.history_["learning_rate"] == retrainer.history_["learning_rate"][0]).all()
    assert (retrainer.predict(data) == TRUE).mean() > 0.8


@pytest.mark.parametrize("objective", ["mixmatch", "supervised", "remixmatch"])
def test_epochs_of_one_set_are_those_of_fit(objective):
    """The state of the optimizer, the averages and the ramps go on."""
    whole = quick(objective, epochs=4, schedule="constant").fit(X, Y)
    parts = quick(objective, epochs=4, schedule="constant")
    for _ in range(4):
        parts.partial_fit(X, Y, classes=CLASSES)
    for a, b in zip(weights_of(whole), weights_of(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for term in whole.history_.keys() - {"seconds", "images_per_second"}:
        np.testing.assert_allclose(whole.history_[term], parts.history_[term], rtol=1e-5)


@pytest.mark.parametrize("cleaner", [GMMCleaner(), PrototypeCleaner(max_iter=2)])
@pytest.mark.filterwarnings("ignore:.*one Gaussian explains")
def test_two_networks_and_their_cleaners_go_on(cleaner):
    options = {"cleaner": cleaner, "n_networks": 2, "warmup_epochs": 2, "epochs": 4}
    whole = quick(MixMatch(), schedule="constant", **options).fit(X, Y)
    parts = quick(MixMatch(), **options)
    for _ in range(4):
        parts.partial_fit(X, Y, classes=CLASSES)
    assert (parts.history_["labelled_share"][:2] == 1).all()
    np.testing.assert_allclose(
        whole.history_["labelled_share"], parts.history_["labelled_share"], atol=0.01
    )


def test_it_goes_on_from_a_fit():
    retrainer = quick(epochs=10, learning_rate=0.01).fit(X[:200], Y[:200])
    before = retrainer.predict_proba(X)
    again = clone(retrainer).set_params(learning_rate=1e-9).fit(X[:200], Y[:200])
    again.networks_ = retrainer.networks_
    again.partial_fit(X[200:], Y[200:])
    np.testing.assert_allclose(again.predict_proba(X), before, atol=1e-5)
    retrainer.partial_fit(X[200:], Y[200:])
    assert retrainer.n_iter_ == 11 and np.abs(retrainer.predict_proba(X) - before).max() > 1e-3
    assert_same(retrainer.fit(X, Y), quick(epochs=10, learning_rate=0.01).fit(X, Y))


def test_frozen_layers_stay_so_behind_a_fit(tmp_path):
    body = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
    one = quick(backbone=body).fit(IMAGES, Y)
    for retrainer in (saving.load(saving.save(one, tmp_path / "it")), one):
        head = retrainer.networks_[0].head.weight.clone()
        network = retrainer.partial_fit(IMAGES, Y).networks_[0]
        assert torch.equal(network.body.network.weight, body.weight)
        assert not torch.equal(network.head.weight, head)


def test_classes_may_be_few_in_a_batch_and_in_its_container():
    names = np.array(list("abcdefghij"))
    retrainer = quick().partial_fit(X, names[Y], classes=names)
    threes = np.flatnonzero(Y == 3)
    retrainer.partial_fit(X[threes], names[Y[threes]])
    samples = TransitionCleaner().fit_transform(X[Y > 4], names[Y[Y > 4]])
    assert len(samples.classes) == 5
    retrainer.partial_fit(samples)
    assert list(retrainer.classes_) == list(names)
    assert list(quick().partial_fit(samples).classes_) == list(samples.classes)


def test_wrong_classes_are_errors_and_change_nothing():
    with pytest.raises(ValueError, match="expected classes in the first call"):
        quick().partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"expected labels of the 9 classes"):
        quick().partial_fit(X, Y, classes=np.arange(9))
    retrainer = quick().partial_fit(X, Y, classes=CLASSES)
    before = weights_of(retrainer)
    for y, classes in ((Y, np.arange(11)), (Y + 5, None)):
        with pytest.raises(ValueError, match="classes"):
            retrainer.partial_fit(X, y, classes=classes)
    with pytest.raises(ValueError, match="features"):
        retrainer.partial_fit(X[:, 1:], Y)
    with pytest.raises(ValueError, match="expected labels of some rows"):
        retrainer.partial_fit(LabelledSamples(X, Y, weight=np.zeros(400)))
    with pytest.raises(ValueError, match="expected devices=1"):
        clone(retrainer).set_params(devices=2, device="cpu").partial_fit(X, Y, classes=CLASSES)
    for a, b in zip(before, weights_of(retrainer), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "classes", [np.array([0, 1, None], object), [0, 1, np.nan], [[0, 1, 2]], 3, ["a", None]]
)
def test_classes_that_are_none(classes):
    with pytest.raises(ValueError, match="expected classes in one dimension and none of them"):
        quick().partial_fit(X, Y, classes=classes)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd"},
        {"n_networks": 2},
        {"weights": "other.safetensors"},
        {"hidden_units": 8},
        {"dropout": 0.5},
        {"objective": "mixmatch"},
        {"objective": Supervised("gce")},
        {"cleaner": GMMCleaner()},
    ],
    ids=str,
)
def test_what_the_state_is_made_with_must_stay(changes):
    retrainer = quick().partial_fit(X, Y, classes=CLASSES)
    before = weights_of(retrainer)
    with pytest.raises(ValueError, match=f"expected {next(iter(changes))}=.* as in the first"):
        retrainer.set_params(**changes).partial_fit(X, Y)
    for a, b in zip(before, weights_of(retrainer), strict=True):
        np.testing.assert_array_equal(a, b)
    retrainer.set_params(**quick().get_params(deep=False))
    retrainer.set_params(objective=Supervised(), hidden_units=[16], learning_rate=0.1)
    assert retrainer.partial_fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_initial_weights_may_be_left_out_later(method):
    featurizer = SSLFeaturizer("none", torch.nn.Conv2d(3, 4, 3)).fit(IMAGES)
    samples = LabelledSamples(IMAGES.reshape(400, -1), Y, inputs=IMAGES)
    retrainer = getattr(quick(weights=FrozenEstimator(featurizer), epochs=1), method)(samples)
    featurizer.set_params(n_workers=1, verbose=True)
    retrainer.partial_fit(IMAGES, Y).set_params(weights=None).partial_fit(IMAGES, Y)
    retrainer.set_params(weights=featurizer.set_params(batch_size=7))
    with pytest.raises(ValueError, match="expected weights=FrozenEstimator"):
        retrainer.partial_fit(IMAGES, Y)
    assert retrainer.n_iter_ == 3


def test_features_of_every_call_are_those_that_float32_holds():
    retrainer = quick().partial_fit(X, Y, classes=CLASSES).partial_fit(X * 1e-42, Y)
    with pytest.raises(ValueError, match=r"greatest size is from 0 to 1.7e\+38"):
        retrainer.partial_fit(X * 1e39, Y)


def test_behind_a_fit_the_networks_must_stay():
    retrainer = quick(optimizer="sgd").fit(X, Y)
    with pytest.raises(ValueError, match=r"expected hidden_units=\[16\] as in the first"):
        clone(retrainer).fit(X, Y).set_params(hidden_units=8).partial_fit(X, Y)
    retrainer.set_params(objective="mixmatch", optimizer="adam").partial_fit(X, Y)
    assert retrainer.history_["unlabelled"][-1] > 0 and isinstance(retrainer.objective_, MixMatch)


@pytest.mark.parametrize("objective", ["temporal_ensembling", Supervised("elr")])
def test_objectives_that_follow_rows_are_errors(objective):
    with pytest.raises(ValueError, match="that follows no row from epoch to epoch, got"):
        quick(objective).partial_fit(X, Y, classes=CLASSES)


def test_a_call_that_fails_changes_nothing():
    class Fails:
        def on_epoch_end(self, retrainer, epoch, record):
            raise KeyError(epoch)

    one, other = (quick().partial_fit(X, Y, classes=CLASSES) for _ in range(2))
    with pytest.raises(KeyError):
        one.set_params(callbacks=[Fails()]).partial_fit(X, Y)
    assert_same(one, other)
    assert_same(one.set_params(callbacks=None).partial_fit(X, Y), other.partial_fit(X, Y))


def test_images_must_be_those_of_the_calls_before():
    retrainer = quick().partial_fit(IMAGES, Y, classes=CLASSES)
    with pytest.raises(ValueError, match="expected images of 8 x 8 pixels"):
        retrainer.partial_fit(IMAGES[:, :6], Y)
    with pytest.raises(ValueError, match="expected images with values"):
        retrainer.partial_fit(IMAGES * 15, Y)


@pytest.mark.filterwarnings("ignore:.*one Gaussian explains")
def test_pickled_and_saved_between_two_calls(tmp_path):
    options = {"cleaner": PrototypeCleaner(max_iter=1), "warmup_epochs": 0}
    one = quick("mixmatch", **options).partial_fit(X, Y, classes=CLASSES)
    saving.save(one, tmp_path / "it")
    others = [pickle.loads(pickle.dumps(one)), saving.load(tmp_path / "it")]
    # Files may hold a part of what is kept, under this name.
    less = Kept.__new__(Kept)
    less.__dict__ |= {k: x for k, x in vars(one._kept).items() if k not in ("epoch", "history")}
    others.append(pickle.loads(pickle.dumps(one)))
    others[-1]._kept = pickle.loads(pickle.dumps(less))
    one.partial_fit(X, Y)
    for other in others:
        assert_same(other.partial_fit(X, Y), one)
