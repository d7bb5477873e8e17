import pickle
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclean import LabelledSamples, SSLFeaturizer, TransitionCleaner
from skclean.datasets import load_noisy_digits

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
from torch import nn  # noqa: E402

from skclean.embeddings import Augmentation, MoCo, SimCLR, save_weights  # noqa: E402
from skclean.embeddings.backbones import make_backbone  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.3, random_state=0)
IMAGES = DIGITS.images


class Tiny(nn.Module):
    """Two convolutions, for images of any size."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 1)
        )

    def forward(self, x):
        return self.layers(x)


torch.manual_seed(0)
TINY = Tiny().eval()
METHODS = ["simclr", "moco", SimCLR(0.2, projection_dim=8), MoCo(queue_size=100, n_bn_splits=2)]


def tiny(method="simclr", **changes):
    settings = {"backbone": TINY, "epochs": 2, "batch_size": 64, "warmup_epochs": 1}
    return SSLFeaturizer(method, **settings | changes)


# By name: a module of torch has another hash each time, so that no check can see it unchanged.
SMALL = {"backbone": "shufflenet_v2_x0_5", "epochs": 1, "device": "cpu"}
# One name, as it stands in the names of the tests, which test processes compare.
WEIGHTS = Path(tempfile.gettempdir()) / "skclean-tests-shufflenet.safetensors"
save_weights(make_backbone(SMALL["backbone"], image_size=32, seed=0), WEIGHTS)


@parametrize_with_checks(
    [
        SSLFeaturizer("none", weights=WEIGHTS, **SMALL),
        SSLFeaturizer("simclr", **SMALL),
        SSLFeaturizer("moco", **SMALL),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", METHODS)
def test_training_moves_the_backbone_and_not_the_users(method):
    before = {k: v.clone() for k, v in TINY.state_dict().items()}
    state = torch.random.get_rng_state()
    featurizer = tiny(method).fit(IMAGES[:200])
    assert torch.equal(torch.random.get_rng_state(), state)
    after = featurizer.backbone_.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in TINY.state_dict().items())
    assert any(
        not torch.equal(v, before[k.removeprefix("network.")])
        for k, v in after.items()
        if k.removeprefix("network.") in before
    )
    assert featurizer.history_["loss"].shape == (2,)
    assert np.isnan(featurizer.history_["probe"]).all()
    samples = featurizer.transform(IMAGES)
    assert samples.shape == (1797, 16) and samples.dtype == IMAGES.dtype
    assert not featurizer.backbone_.training


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_embeddings(method):
    one = tiny(method).fit_transform(IMAGES[:200]).features
    np.testing.assert_array_equal(one, tiny(method).fit_transform(IMAGES[:200]).features)
    other = tiny(method, random_state=1).fit_transform(IMAGES[:200]).features
    assert not np.allclose(one, other)


def test_probe_watches_and_changes_nothing():
    watched = tiny(probe_every=1).fit(IMAGES[:300], probe_y=DIGITS.target[:300])
    np.testing.assert_array_equal(
        watched.transform(IMAGES).features, tiny().fit(IMAGES[:300]).transform(IMAGES).features
    )
    assert (watched.history_["probe"] > 0.2).all()
    with pytest.raises(ValueError, match="expected probe_y of 300 rows"):
        tiny().fit(IMAGES[:300], probe_y=[0, 1])


def test_embeddings_of_a_row_do_not_depend_on_its_batch():
    featurizer = tiny().fit(IMAGES[:200])
    whole = featurizer.transform(IMAGES[:200])
    np.testing.assert_allclose(
        featurizer.transform(IMAGES[50:53]).features, whole.features[50:53], rtol=1e-5, atol=1e-6
    )
    cleaner = TransitionCleaner().fit(whole, DIGITS.target_noisy[:200])
    part = cleaner.transform(featurizer.transform(IMAGES[50:90]))
    assert not (part.status == "predicted").any()


def test_whole_numbers_are_as_floats_where_a_training_is_resumed(tmp_path):
    first = {"learning_rate": 1.0, "weight_decay": 0.0}
    again = {"learning_rate": 1, "weight_decay": 0, "resume": True}
    results = [
        tiny(epochs=1, warmup_epochs=0, checkpoint_dir=tmp_path, **settings).fit(IMAGES[:64])
        for settings in (first, again)
    ]
    features = [featurizer.transform(IMAGES[:9]).features for featurizer in results]
    np.testing.assert_array_equal(*features)


def test_resumed_training_ends_as_one_that_was_not_stopped(tmp_path):
    whole = tiny(epochs=4).fit(IMAGES[:200]).transform(IMAGES).features
    settings = {"checkpoint_dir": tmp_path, "checkpoint_every": 1, "epochs": 4}

    class Stop(Exception):
        pass

    class Stops:
        def __init__(self, flip=0.5):
            self.calls, self.last, self.flip = 0, np.inf, flip

        def __call__(self, images, generator):
            self.calls += 1
            if self.calls > self.last:
                raise Stop
            return Augmentation(flip=self.flip)(images, generator)

    stops = Stops()
    stops.last = 17
    with pytest.raises(Stop):
        tiny(**settings, augmentation=stops).fit(IMAGES[:200])
    # Another object, as in another process.
    resumed = tiny(**settings, augmentation=Stops(), resume=True).fit(IMAGES[:200])
    np.testing.assert_array_equal(resumed.transform(IMAGES).features, whole)
    with pytest.raises(ValueError, match="learning_rate"):
        tiny(**settings, learning_rate=0.5, resume=True).fit(IMAGES[:200])
    with pytest.raises(ValueError, match="flip=0.1"):
        tiny(**settings, augmentation=Stops(0.1), resume=True).fit(IMAGES[:200])
    settings["augmentation"] = Stops()
    with pytest.raises(ValueError, match="images"):
        tiny(**settings, resume=True).fit(IMAGES[200:400])
    with pytest.raises(ValueError, match="resume=True"):
        tiny(**settings).fit(IMAGES[:200])


def test_pickle_clone_and_weights(tmp_path):
    featurizer = tiny().fit(IMAGES[:200])
    expected = featurizer.transform(IMAGES[:20]).features
    copy = pickle.loads(pickle.dumps(featurizer))
    np.testing.assert_array_equal(copy.transform(IMAGES[:20]).features, expected)
    assert clone(featurizer).backbone is not TINY
    save_weights(featurizer.backbone_, tmp_path / "w.safetensors")
    again = tiny("none", weights=tmp_path / "w.safetensors").fit(IMAGES[:200])
    np.testing.assert_allclose(again.transform(IMAGES[:20]).features, expected, rtol=1e-5)


def test_weights_alone_are_taken_as_they_are(tmp_path):
    save_weights(TINY, tmp_path / "w.safetensors")
    featurizer = SSLFeaturizer(backbone=Tiny(), weights=tmp_path / "w.safetensors").fit(IMAGES[:9])
    assert featurizer.method_ == "none" and featurizer.history_ == {}
    np.testing.assert_allclose(
        featurizer.transform(IMAGES).features,
        tiny("none").fit_transform(IMAGES).features,
        rtol=1e-5,
        atol=1e-6,
    )


def test_unreadable_images_are_left_out_of_the_training(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{i:03}.png" for i in range(80)]
    for path, image in zip(paths, IMAGES):
        Image.fromarray((image * 15).astype(np.uint8)).save(path)
    paths[40].write_bytes(b"none")
    with pytest.warns(UserWarning, match="040.png"):
        samples = tiny(on_error="skip", batch_size=16).fit_transform(paths)
    assert samples.status[40] == "unknown" and not samples.features[40].any()
    with pytest.raises(ValueError, match="040.png"):
        tiny().fit(paths)


def test_torch_dataset():
    images = torch.tensor(IMAGES[:100, None] / 16, dtype=torch.float32)
    dataset = torch.utils.data.TensorDataset(images, torch.zeros(100))
    samples = tiny().fit_transform(dataset)
    assert isinstance(samples, LabelledSamples) and len(samples.inputs) == 100
    assert samples.dtype == np.float32
    np.testing.assert_allclose(
        samples.features, tiny().fit_transform(images.numpy()).features, rtol=1e-5
    )


def test_float_images_of_any_range():
    one = tiny("none").fit(IMAGES)
    assert one.value_range_ == (0, 16)
    two = tiny("none").fit(IMAGES / 16)
    assert two.value_range_ == (0, 1)
    np.testing.assert_allclose(
        one.transform(IMAGES).features, two.transform(IMAGES / 16).features, rtol=1e-5, atol=1e-6
    )


def test_diverged_training_says_so():
    with pytest.raises(FloatingPointError, match="SSLFeaturizer: expected finite numbers"):
        tiny(learning_rate=1e30, epochs=5).fit(IMAGES[:200])


class Locked:
    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, images, generator):
        return images


def test_an_augmentation_that_cannot_be_copied_is_named():
    with pytest.raises(ValueError, match=r"expected augmentation to be .*copied, got a Locked"):
        tiny(augmentation=Locked()).fit(IMAGES[:50])
