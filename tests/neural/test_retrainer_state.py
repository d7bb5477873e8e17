"""What a fit learns from, keeps, goes on from and refuses."""

from threading import Thread

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from skclean import (  # noqa: E402
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    NeuralRetrainer,
    SSLFeaturizer,
    TransitionCleaner,
)
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.neural import IEG, MixMatch  # noqa: E402
from skclean.neural.learners import outputs  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.3, random_state=0)
X, Y, TRUE = (values[:400] for values in (DIGITS.data / 16, DIGITS.target_noisy, DIGITS.target))
TRUSTED = np.arange(400) < 60
CHECKED = np.where(TRUSTED, TRUE, Y)


class Spy(IEG):
    """Remembers the rows and labels that it is shown."""

    def terms(self, network, batch, memory=None):
        for part, seen in ((batch.labelled, SEEN), (batch.trusted, PROBED)):
            seen.update(zip(part.rows.tolist(), part.target.argmax(dim=1).tolist()))
        return super().terms(network, batch, memory)


SEEN, PROBED = {}, {}


@pytest.fixture
def seen():
    SEEN.clear()
    PROBED.clear()
    return SEEN, PROBED


@pytest.mark.parametrize("purify", [False, True])
def test_ieg_sees_given_labels_and_trusted_rows_apart(seen, purify):
    samples = LabelledSamples(X, CHECKED, trusted=TRUSTED)
    if purify:
        steps = [("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())]
        samples = Pipeline(steps).fit(samples).transform(samples)
    NeuralRetrainer(Spy(), epochs=3, class_balanced=False, optimizer="sgd").fit(samples)
    labelled, probed = seen
    assert not set(labelled) & set(np.flatnonzero(TRUSTED))
    assert len(labelled) > 300
    assert all(CHECKED[row] == label for row, label in labelled.items())
    assert probed and all(TRUSTED[row] and TRUE[row] == label for row, label in probed.items())


def test_trusted_rows_beside_plain_labels(seen):
    NeuralRetrainer(Spy(), epochs=2, optimizer="sgd").fit(X, CHECKED, trusted=TRUSTED)
    assert set(seen[1]) <= set(np.flatnonzero(TRUSTED))
    images = DIGITS.images[:400]
    NeuralRetrainer(Spy(), epochs=1, optimizer="sgd").fit(images, CHECKED, trusted=TRUSTED)
    with pytest.raises(ValueError, match="trusted as a boolean mask"):
        NeuralRetrainer("supervised", epochs=1).fit(images, CHECKED, trusted=[1, 2])


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({}, np.roll(Y, 1)),
        ({"ema_decay": 0.5}, Y),
        ({"dropout": 0.5}, Y),
        ({"hidden_units": 64}, Y),
        ({"use": "soft"}, Y),
    ],
)
def test_a_run_goes_on_with_its_own_labels_and_settings_alone(tmp_path, changes, labels):
    settings = {"epochs": 2, "checkpoint_dir": tmp_path}
    samples = TransitionCleaner().fit_transform(X, Y)
    NeuralRetrainer("supervised", **settings).fit(samples)
    other = samples if labels is Y else TransitionCleaner().fit_transform(X, labels)
    again = NeuralRetrainer("supervised", **settings, **changes, resume=True)
    with pytest.raises(ValueError, match="expected the settings of the checkpoint"):
        again.fit(other)


def test_a_run_on_images_goes_on_with_the_embeddings_of_its_graph_alone(tmp_path):
    samples = LabelledSamples(X[:100], Y[:100], inputs=DIGITS.images[:100])
    options = {"backbone": "conv_net", "epochs": 1, "checkpoint_dir": tmp_path}
    NeuralRetrainer(graph=True, **options).fit(samples)
    again = NeuralRetrainer(graph=True, **options, resume=True).fit(samples)
    with pytest.raises(ValueError, match="got embeddings="):
        again.fit(samples.with_features(X[:100] ** 2))


def test_a_run_takes_numbers_of_numpy_for_others(tmp_path):
    numbers = {"learning_rate": 0.25, "batch_size": 64, "dropout": 0.5}
    NeuralRetrainer("supervised", epochs=2, checkpoint_dir=tmp_path, **numbers).fit(X, Y)
    numpy = {"learning_rate": np.float32(0.25), "batch_size": np.int64(64)}
    again = NeuralRetrainer("supervised", epochs=np.int32(2), checkpoint_dir=tmp_path, resume=True)
    again.set_params(dropout=np.float16(0.5), **numpy).fit(X, Y)
    assert again.n_iter_ == 2
    numpy |= {"class_balanced": np.bool_(True), "n_iter_no_change": np.int64(2)}
    numpy |= {"validation_fraction": 0.1, "hidden_units": [np.int64(8)]}
    objectives = MixMatch(lambda_u=np.float64(25)), MixMatch(lambda_u=25.0)
    options = {"epochs": 1, "checkpoint_dir": tmp_path / "other"}
    NeuralRetrainer(objectives[0], **options, **numpy).fit(X, Y)
    plain = {"n_iter_no_change": 2, "validation_fraction": 0.1, "hidden_units": [8]}
    again = NeuralRetrainer(objectives[1], **options, **numbers, resume=True)
    assert again.set_params(**plain, dropout=0.0).fit(X, Y).n_iter_ == 1
    others = {"graph": np.bool_(True), "devices": np.int64(1), "num_nodes": np.int64(1)}
    assert "graph_lu" in NeuralRetrainer(epochs=1, **others).fit(X, Y).history_


def test_a_run_takes_lists_for_tuples_and_whole_floats_for_integers(tmp_path):
    options = {"epochs": 1, "checkpoint_dir": tmp_path, "backbone": "conv_net", "resume": True}
    first = {"image_shape": (8, 8), "clip_norm": 2.0, "ema_decay": 0}
    other = {"image_shape": [8, 8], "clip_norm": 2, "ema_decay": 0.0}
    NeuralRetrainer(MixMatch(lambda_u=25), **options, **first).fit(X, Y)
    again = NeuralRetrainer(MixMatch(lambda_u=25.0), **options, **other).fit(X, Y)
    again.set_params(image_shape=np.array([8, 8])).fit(X, Y)
    with pytest.raises(ValueError, match=r"got image_shape='\[4, 16\]' in place of '\[8, 8\]'"):
        again.set_params(image_shape=(4, 16)).fit(X, Y)


def test_a_run_goes_on_with_its_own_schedule_alone(tmp_path):
    def scheduled(share, **options):
        options |= {"epochs": 2, "checkpoint_dir": tmp_path, "schedule": lambda t, n: share}
        return NeuralRetrainer("supervised", **options).fit(X, Y)

    scheduled(1)
    scheduled(1, resume=True)
    with pytest.raises(ValueError, match="shares of the learning rate"):
        scheduled(0.01, resume=True)


class Viewing(torch.nn.Module):
    """Flattens by `view`, as many do; that wants the channels first in memory."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x):
        return self.conv(x).relu().view(len(x), -1)


def test_networks_that_want_channels_first_are_trained():
    images = X[:100].reshape(-1, 8, 8)
    options = {"backbone": Viewing(), "epochs": 1, "device": "cpu"}
    featurizer = SSLFeaturizer("simclr", **options).fit(images)
    retrainer = NeuralRetrainer("supervised", **options).fit(images, Y[:100])
    assert retrainer.predict_proba(images).shape == (100, 10)
    again = retrainer.set_params(backbone="auto", weights=featurizer).fit(images, Y[:100])
    assert again.predict(images).shape == (100,)


def test_a_callback_may_train_in_a_thread():
    class Trains:
        def on_epoch_end(self, retrainer, epoch, record):
            fit = NeuralRetrainer("supervised", epochs=1).fit
            thread = Thread(target=fit, args=(X, Y), daemon=True)
            thread.start()
            thread.join(20)
            return thread.is_alive()

    options = {"epochs": 2, "callbacks": [Trains()]}
    assert NeuralRetrainer("supervised", **options).fit(X, Y).n_iter_ == 2


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    class Fails:
        def on_epoch_end(self, retrainer, epoch, record):
            raise KeyError(epoch)

    retrainer = NeuralRetrainer("supervised", epochs=2, callbacks=[Fails()])
    with pytest.raises(KeyError):
        retrainer.fit(X, Y)
    with pytest.raises(NotFittedError):
        retrainer.predict(X)
    retrainer.set_params(callbacks=None).fit(X, Y)
    expected = retrainer.predict_proba(X)
    names = np.array(list("abcdefghij"))[Y]
    with pytest.raises(KeyError):
        retrainer.set_params(callbacks=[Fails()]).fit(X, names)
    np.testing.assert_array_equal(retrainer.classes_, np.arange(10))
    np.testing.assert_array_equal(retrainer.predict_proba(X), expected)


def test_nothing_stays_of_a_fit_on_other_inputs():
    retrainer = NeuralRetrainer("supervised", epochs=1).fit(DIGITS.images[:100], Y[:100])
    assert retrainer.image_shape_ == (1, 8, 8)
    retrainer.fit(X[:100], Y[:100])
    assert not hasattr(retrainer, "image_shape_") and not hasattr(retrainer, "value_range_")


@pytest.mark.parametrize("end", [True, np.True_])
def test_a_callback_ends_the_training_for_good(tmp_path, end):
    class Ends:
        epochs = 0

        def on_epoch_end(self, retrainer, epoch, record):
            Ends.epochs += 1
            return end if epoch == 2 else None

    settings = {"epochs": 9, "callbacks": [Ends()], "checkpoint_dir": tmp_path}
    first = NeuralRetrainer("supervised", **settings).fit(X, Y)
    assert first.n_iter_ == 3 and Ends.epochs == 3
    again = NeuralRetrainer("supervised", **settings, resume=True).fit(X, Y)
    assert Ends.epochs == 3
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))


def test_early_stopping_waits_for_the_division():
    retrainer = NeuralRetrainer(
        MixMatch(lambda_u=1),
        cleaner=GMMCleaner(),
        epochs=8,
        warmup_epochs=5,
        validation_fraction=0.2,
        n_iter_no_change=1,
        learning_rate=1e-6,
    ).fit(X, Y)
    assert retrainer.n_iter_ > 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cleaner": GMMCleaner(), "epochs": 10}, "expected warmup_epochs below epochs=10"),
        ({"n_iter_no_change": 3}, "expected validation_fraction beside n_iter_no_change"),
        ({"weights": "nowhere.pt"}, "expected weights=None where features are trained on"),
        ({"objective": "ieg", "validation_fraction": "trusted"}, "expected a share"),
    ],
)
def test_settings_without_effect_are_errors(changes, message):
    samples = LabelledSamples(X, CHECKED, trusted=TRUSTED)
    with pytest.raises(ValueError, match=message):
        NeuralRetrainer(**({"objective": "supervised"} | changes)).fit(samples)


def test_an_objective_without_parts_and_terms_with_taken_names_are_errors():
    class Own:
        def start(self, n_rows, n_classes, device):
            return None

        def terms(self, network, batch, memory):
            loss = network(batch.labelled.x).square().mean()
            return {"validation": loss}

    with pytest.raises(ValueError, match="expected an objective with parts"):
        NeuralRetrainer(Own(), epochs=1).fit(X, Y)
    Own.parts = frozenset({"labelled"})
    with pytest.raises(ValueError, match=r"names of their own, got \['validation'\]"):
        NeuralRetrainer(Own(), epochs=1).fit(X, Y)


@pytest.mark.parametrize("parts", [["labelled"], "labelled", frozenset({"labeled"})])
def test_parts_are_a_set_of_known_names(parts):
    with pytest.raises(ValueError, match="parts, a set .* got Named with .*label"):
        NeuralRetrainer(Named(parts), epochs=1).fit(X, Y)


class Named:
    def __init__(self, parts):
        self.parts = parts

    def start(self, n_rows, n_classes, device):
        return None

    def terms(self, network, batch, memory):
        return {}


def test_memory_is_a_module():
    objective = Named(frozenset({"labelled"}))
    objective.start = lambda n_rows, n_classes, device: {"mean": torch.zeros(n_classes)}
    with pytest.raises(ValueError, match="start of Named to return a torch module, .* got dict"):
        NeuralRetrainer(objective, epochs=1).fit(X, Y)


@pytest.mark.parametrize(
    ("terms", "got"),
    [
        (lambda loss: {}, "an empty one"),
        (lambda loss: loss.mean(), "Tensor"),
        (lambda loss: {"mine": loss.mean(), "other": 0.0}, "float as 'other'"),
        (lambda loss: {"mine": loss}, r"Tensor of shape \(40,\) as 'mine'"),
    ],
)
def test_terms_that_are_no_dict_of_scalars(terms, got):
    objective = Named(frozenset({"labelled"}))
    objective.terms = lambda network, batch, memory: terms(network(batch.labelled.x).sum(dim=1))
    with pytest.raises(ValueError, match=f"a dict of scalar tensors, got {got} from Named"):
        NeuralRetrainer(objective, epochs=1).fit(X, Y)


def test_terms_without_a_gradient():
    objective = Named(frozenset({"labelled"}))
    objective.terms = lambda network, batch, memory: {"mine": torch.zeros(())}
    with pytest.raises(ValueError, match=r"a gradient, got \['mine'\] without from Named"):
        NeuralRetrainer(objective, epochs=1).fit(X, Y)
    objective.terms = lambda network, batch, memory: {"mine": network(batch.labelled.x).sum() * 0}
    assert NeuralRetrainer(objective, epochs=1).fit(X, Y).history_["mine"].tolist() == [0]


class Trusting:
    """A cleaner that can do nothing but judge."""

    def assess(self, given, proba, features=None):
        return np.ones(len(given))


def test_a_cleaner_needs_nothing_but_assess():
    cleaner = Trusting()
    retrainer = NeuralRetrainer(cleaner=cleaner, warmup_epochs=1, epochs=2).fit(X, Y)
    assert retrainer.history_["labelled_share"].tolist() == [1, 1]
    assert retrainer.cleaner is cleaner


class Judging(GMMCleaner):
    """Keeps how many rows it judged."""

    judged = []  # of all clones

    def assess(self, given, proba, features=None):
        self.judged.append(len(given))
        return super().assess(given, proba, features)


def test_files_that_break_are_judged_by_no_cleaner(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr("skclean.embeddings._source.CACHE_BYTES", 0)
    paths = [tmp_path / f"{i}.png" for i in range(100)]
    for path, pixels in zip(paths, DIGITS.images):
        image.fromarray((pixels * 15).astype(np.uint8)).save(path)

    class Breaks:
        def on_epoch_end(self, retrainer, epoch, record):
            for path in paths[:20] if epoch == 1 else ():
                path.write_bytes(b"")

    settings = {"warmup_epochs": 2, "epochs": 4, "on_error": "skip", "callbacks": [Breaks()]}
    retrainer = NeuralRetrainer(cleaner=Judging(), backbone="conv_net", **settings)
    with pytest.warns(UserWarning, match="images cannot be read"):
        retrainer.fit(paths, Y[:100])
    assert Judging.judged == [80, 80] and retrainer.n_iter_ == 4


def test_unreadable_rows_are_predicted_uniformly():
    readable = np.arange(400) != 7
    retrainer = NeuralRetrainer("supervised", epochs=1).fit(X, Y)
    proba = retrainer.predict_proba(LabelledSamples(X, readable=readable))
    np.testing.assert_allclose(proba[7], 0.1)
    assert (proba[readable].max(axis=1) > 0.1).all()
    images = DIGITS.images[:400].copy()
    images[7] = 1e6
    samples = LabelledSamples(np.empty((400, 0)), Y, inputs=images, readable=readable)
    retrainer = NeuralRetrainer("supervised", epochs=1).fit(samples)
    assert retrainer.value_range_ == (0, 16)
    np.testing.assert_allclose(retrainer.predict_proba(samples)[7], 0.1)


def test_looking_at_outputs_leaves_torch_as_it_was():
    retrainer = NeuralRetrainer("supervised", epochs=1).fit(X, Y)

    class Inputs:
        def batches(self, rows, batch_size):
            yield torch.zeros(2, 64)

    for _ in outputs(retrainer.networks_, Inputs(), np.arange(2), 2):
        assert not torch.is_inference_mode_enabled()
