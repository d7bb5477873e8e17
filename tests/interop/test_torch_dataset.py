import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.datasets import load_digits  # noqa: E402
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset  # noqa: E402

from skclean import GMMCleaner, LabelledSamples, SSLFeaturizer  # noqa: E402
from skclean.datasets import make_symmetric_noise  # noqa: E402
from skclean.interop import PurifiedDataset, from_torch  # noqa: E402

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (12, 8, 8)).astype(np.uint8)
Y = np.arange(12) % 3


class Pictures(torch.utils.data.Dataset):
    """Counts what is read."""

    def __init__(self, targets=None):
        self.read = 0
        if targets is not None:
            self.targets = targets

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        self.read += 1
        return torch.from_numpy(IMAGES[index]), int(Y[index])


class Single(Pictures):
    def __getitem__(self, index):
        return super().__getitem__(index)[0]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(IMAGES)


def purified(**changes):
    fields = {
        "proba": np.eye(3)[Y] * 0.7 + 0.1,
        "status": ["kept"] * 10 + ["unknown"] * 2,
        "weight": np.arange(12.0),
    }
    return LabelledSamples(np.zeros((12, 2), np.float32), Y, **(fields | changes))


@pytest.mark.parametrize("targets", [Y.tolist(), Y, torch.from_numpy(Y)])
def test_labels_that_the_dataset_tells_are_not_read(targets):
    dataset = Pictures(targets)
    samples = from_torch(dataset)
    np.testing.assert_array_equal(samples.given, Y)
    assert dataset.read == 0 and samples.shape == (12, 0)
    part = Subset(dataset, [5, 0, 4])
    np.testing.assert_array_equal(from_torch(part).labels, Y[[5, 0, 4]])
    np.testing.assert_array_equal(from_torch(Subset(part, [2])).labels, [Y[4]], "subset of subset")
    assert dataset.read == 0
    np.testing.assert_array_equal(samples.inputs[3][0], IMAGES[3])


def test_labels_that_are_read_once():
    dataset = Pictures()
    np.testing.assert_array_equal(from_torch(dataset).given, Y)
    assert dataset.read == 12
    tensors = TensorDataset(torch.zeros(3, 1, 4, 4), torch.tensor([4, 2, 4]))
    np.testing.assert_array_equal(from_torch(tensors).labels, [4, 2, 4])
    part = Subset(Pictures(), [5, 0, 4])
    np.testing.assert_array_equal(from_torch(part).labels, Y[[5, 0, 4]])
    assert part.dataset.read == 3
    both = ConcatDataset([tensors, tensors])
    np.testing.assert_array_equal(from_torch(both).labels, [4, 2, 4, 4, 2, 4])


def test_without_features_the_cleaner_says_what_comes_first():
    with pytest.raises(ValueError, match="inputs but no features; do put SSLFeaturizer first"):
        GMMCleaner().fit(from_torch(Pictures()))


def test_labels_and_features_that_are_passed():
    features = RNG.standard_normal((12, 5))
    names = np.array(["a", "b", "c"])[Y]
    samples = from_torch(Single(), y=names, features=features, trusted=Y == 0)
    assert samples.shape == (12, 5) and samples.trusted.sum() == 4
    np.testing.assert_array_equal(samples.labels, names)
    with pytest.raises(ValueError, match="items of an input and a label.* got Tensor as item 0"):
        from_torch(Single())
    with pytest.raises(ValueError, match="expected y of 12 rows"):
        from_torch(Single(), y=Y[:5])
    with pytest.raises(TypeError, match="from_torch: expected a dataset with __len__"):
        from_torch(Stream())


def test_from_a_dataset_to_a_data_loader():
    digits = load_digits()
    images, truth = digits.images[:400].astype(np.float32) / 16, digits.target[:400]
    noisy = make_symmetric_noise(truth, 0.3, random_state=0)[0]
    dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(noisy))
    embedded = SSLFeaturizer("kmeans", random_state=0).fit_transform(from_torch(dataset))
    samples = GMMCleaner().fit_transform(embedded)
    clean = PurifiedDataset(dataset, samples)
    assert np.mean(clean.targets == truth[clean.rows]) > np.mean(noisy == truth) + 0.1
    x, y, weight = next(iter(DataLoader(clean, batch_size=50)))
    np.testing.assert_array_equal(x, images[clean.rows[:50]])
    np.testing.assert_array_equal(y, clean.targets[:50])
    assert (weight == 1).all()


def test_rows_of_known_label_with_their_weights():
    dataset = PurifiedDataset(Pictures(Y), purified())
    assert len(dataset) == 10
    x, label, weight = dataset[4]
    np.testing.assert_array_equal(x, IMAGES[4])
    assert label.dtype == torch.int64 and int(label) == Y[4]
    assert weight.dtype == torch.float32 and float(weight) == 4
    np.testing.assert_array_equal(dataset.rows, np.arange(10))
    assert dataset.classes.tolist() == [0, 1, 2]
    everything = PurifiedDataset(Pictures(Y), purified(), drop_unknown=False)
    assert everything.targets.tolist() == [*Y[:10], -1, -1]


def test_soft_labels():
    dataset = PurifiedDataset(Single(), purified(), labels="soft")
    batch = next(iter(DataLoader(dataset, batch_size=10)))
    assert batch[1].dtype == torch.float32
    np.testing.assert_allclose(batch[1], (np.eye(3)[Y] * 0.7 + 0.1)[:10], rtol=1e-6)
    loss = torch.nn.CrossEntropyLoss(reduction="none")(torch.zeros(10, 3), batch[1])
    assert (loss * batch[2]).sum() > 0
    everything = PurifiedDataset(Single(), purified(), labels="soft", drop_unknown=False)
    assert everything.targets.shape == (12, 3)


def test_workers_and_pickling():
    dataset = PurifiedDataset(Pictures(Y), purified(weight=None))
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again.targets, dataset.targets)
    alone = [batch[1].tolist() for batch in DataLoader(again, batch_size=4)]
    helped = [batch[1].tolist() for batch in DataLoader(again, batch_size=4, num_workers=2)]
    assert alone == helped


def test_features_where_there_is_no_dataset():
    samples = GMMCleaner().fit_transform(RNG.standard_normal((40, 3)), np.arange(40) % 2)
    dataset = PurifiedDataset(None, samples)
    x, y, _ = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    np.testing.assert_array_equal(x, samples.features[samples.known])
    np.testing.assert_array_equal(y, samples.labels[samples.known])


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (LabelledSamples(np.zeros((5, 1)), Y[:5]), {}, "container of 12 rows.* got 5"),
        (LabelledSamples(np.zeros((12, 1)), Y), {"labels": "soft"}, "expected proba"),
        (LabelledSamples(np.zeros((12, 1)), Y), {"labels": "both"}, 'labels "hard" or "soft"'),
        (LabelledSamples(np.zeros((12, 1))), {}, "expected a container with labels"),
    ],
)
def test_containers_that_are_refused(samples, options, message):
    with pytest.raises(ValueError, match=message):
        PurifiedDataset(Pictures(Y), samples, **options)
