"""Datasets of images."""

import copyreg
import multiprocessing
import os
import pickle
import threading
import warnings
from contextlib import closing
from functools import partial
from itertools import islice

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.utils import _safe_indexing

from skclean import LabelledSamples
from skclean.embeddings.images import ImageItems, open_images
from skclean.exceptions import ImageReadError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8)


def first(images):
    return np.moveaxis(images, -1, 1)


class Pairs:
    """A dataset that is none of torch's."""

    def __init__(self, items):
        self.items = items
        self.asked = []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.asked.append(i)
        if isinstance(self.items[i], BaseException):
            raise self.items[i]
        return self.items[i], i


def test_items_of_every_type(pil):
    for X in (
        Pairs([pil.fromarray(image) for image in COLOUR]),
        Pairs(list(COLOUR)),
        Pairs(list(first(COLOUR))),
        [pil.fromarray(image) for image in COLOUR],
        [(image, 1) for image in COLOUR],
        [pil.fromarray(COLOUR[0]), *COLOUR[1:]],
        np.fromiter((pil.fromarray(image) for image in COLOUR), dtype=object, count=20),
    ):
        source = open_images(X)
        assert (source.n, source.shape, source.dtype) == (20, (3, 6, 5), np.uint8)
        np.testing.assert_array_equal(source.read([3, 1]), first(COLOUR)[[3, 1]])
        assert source.array() is None
        source.check()
        np.testing.assert_array_equal(source.array(), first(COLOUR))
    assert open_images([pil.fromarray(image) for image in GRAY]).shape == (3, 6, 5)
    assert open_images([(image, 0) for image in GRAY]).shape == (1, 6, 5)
    floats = open_images([(image / 255, 0) for image in first(COLOUR)])
    assert floats.dtype == np.float64
    np.testing.assert_array_equal(floats.read([2]), first(COLOUR)[[2]] / 255)
    sizes = [(COLOUR[0], 0), (COLOUR[1][:4], 0), (np.zeros((3, 8, 9), np.uint8), 0)]
    assert open_images(sizes, image_size=4).read(slice(None)).shape == (3, 3, 4, 4)


def test_bad_items_are_named():
    items = list(first(COLOUR) / 255)
    bad = {
        2: KeyError("lost"),
        4: {"image": 1},
        6: items[0][:, :4],
        8: first(COLOUR)[0],
        9: items[0][:1],
        10: np.full((3, 6, 5), np.nan),
        12: np.zeros((3, 6, 5), dtype=complex),
    }
    for row, item in bad.items():
        items[row] = item
    texts = [
        "row 2: KeyError: 'lost'",
        "row 4: expected a Pillow image, tensor or array, .* got dict",
        r"row 6: expected 6 x 5 pixels, got 4 x 5 pixels \(set image_size to fit\)",
        "row 8: expected float64, got uint8",
        "row 9: expected 3 channels, got 1",
    ]
    source = open_images(Pairs(items))
    with pytest.raises(ImageReadError, match="; ".join(texts) + "; and 2 more") as caught:
        source.check()
    assert caught.value.__cause__.__cause__ is items[2]
    source = open_images(Pairs(items), on_error="skip")
    with pytest.warns(UserWarning, match="7 of 20"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), list(bad))
    np.testing.assert_array_equal(
        source.read([1, 2]), [first(COLOUR)[1] / 255, np.zeros((3, 6, 5))]
    )
    with pytest.raises(ImageReadError, match="row 1: it holds NaN"):
        open_images([(items[0], 0), (items[10], 0)]).check()
    with pytest.raises(ImageReadError, match="expected uint8 to scale"):
        open_images([(items[0], 0)], image_size=4)
    with pytest.raises(KeyboardInterrupt):
        open_images(Pairs([KeyboardInterrupt()]), on_error="skip")


def test_no_item_of_a_batch_need_be_readable():
    options = {"like": (3, 6, 5), "on_error": "skip"}
    with pytest.warns(UserWarning, match="2 of 2 images cannot be read"):
        source = open_images(Pairs([KeyError("lost"), {}]), **options)
    assert (source.shape, source.dtype) == ((3, 6, 5), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.check()
    assert not source.readable.any() and not source.read(slice(None)).any()
    for items in ([KeyError("lost")], [COLOUR[0][:4]]):
        with pytest.raises(ValueError):
            open_images(Pairs(items), like=(3, 6, 5))
    with pytest.raises(ImageReadError):
        open_images(Pairs([KeyError("lost")]), on_error="skip")


def test_the_commonest_size_is_that_of_the_items():
    items = list(COLOUR)
    items[0], items[1], items[4] = COLOUR[0][:4], first(COLOUR)[1] / 255, KeyError("lost")
    data = Pairs(items)
    source = open_images(data, on_error="skip")
    assert (source.shape, source.dtype) == ((3, 6, 5), np.uint8)
    assert data.asked == list(range(0, 20, 2))
    with pytest.warns(UserWarning, match="3 of 20 .*row 0: expected 6 x 5 pixels, got 4 x 5"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), [0, 1, 4])
    assert open_images(data).shape == (3, 4, 5)


def test_rows_of_a_dataset():
    items = ImageItems(Pairs(list(COLOUR)))
    assert items.shape == (20,) and items.dataset.asked == []
    np.testing.assert_array_equal(items[-1][0], COLOUR[19])
    with pytest.raises(IndexError):
        items[20]
    mask = np.arange(20) % 3 == 0
    for key in (slice(4, 9), np.array([5, 1, 1]), mask, [2, 3], (np.array([7]), Ellipsis)):
        rows = np.arange(20)[key[0] if isinstance(key, tuple) else key]
        chosen = items[key]
        assert chosen.shape == (len(rows),) and chosen[0:0].shape == (0,)
        np.testing.assert_array_equal(chosen[::-1].rows, rows[::-1])
        np.testing.assert_array_equal(open_images(chosen).read(slice(None)), first(COLOUR)[rows])
        again = pickle.loads(pickle.dumps(chosen))
        np.testing.assert_array_equal(open_images(again).read(slice(None)), first(COLOUR)[rows])
        np.testing.assert_array_equal(_safe_indexing(items, rows).rows, rows)
    with pytest.raises(TypeError, match="conversion to an array"):
        np.asarray(items)
    assert repr(items) == "ImageItems(20 rows of Pairs)"


def test_containers_of_a_dataset():
    source = open_images(Pairs(list(COLOUR)))
    samples = LabelledSamples(np.zeros((20, 2)), inputs=source.inputs)[[4, 2]]
    np.testing.assert_array_equal(open_images(samples).read(slice(None)), first(COLOUR)[[4, 2]])
    train, test = train_test_split(source.inputs, random_state=0)
    assert (len(train), len(test)) == (15, 5)

    class Mean(BaseEstimator):
        def fit(self, X, y):
            self.shape = open_images(X).shape
            return self

        def score(self, X, y):
            means = open_images(X).read(slice(None)).mean(axis=(1, 2, 3))
            return float(np.abs(means - y).max())

    truth = COLOUR.mean(axis=(1, 2, 3))
    scores = cross_val_score(Mean(), source.inputs, truth, cv=KFold(4))
    np.testing.assert_allclose(scores, 0, atol=1e-9)


@pytest.fixture(scope="module")
def torch_dataset():
    data = pytest.importorskip("torch.utils.data")

    class Images(data.Dataset):
        def __init__(self, items):
            self.items = items

        def __len__(self):
            return len(self.items)

        def __getitem__(self, i):
            if isinstance(self.items[i], Exception):
                raise self.items[i]
            return self.items[i], i

    return Images


# Python warns of a fork beside the threads of torch.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Unpicklable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.lock = threading.Lock()


@forks
@pytest.mark.parametrize("n_workers", [None, 0, 2])
def test_torch_datasets(torch_dataset, n_workers):
    torch = pytest.importorskip("torch")
    state = torch.random.get_rng_state()
    source = open_images(torch_dataset(list(torch.tensor(first(COLOUR)))), n_workers=n_workers)
    order = RNG.permutation(20)[:17]
    found = list(source.batches(order, 5))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), order)
    for rows, read in found:
        np.testing.assert_array_equal(read, first(COLOUR)[rows])
    with closing(source.batches(order, 2)) as batches:
        next(batches)
    assert not multiprocessing.active_children()
    source.check()
    np.testing.assert_array_equal(source.array(), first(COLOUR))
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(source.read([6]), first(COLOUR)[[6]])


@forks
@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("causes_pickled", [False, True])
def test_bad_items_of_torch_datasets(torch_dataset, n_workers, causes_pickled, request):
    if causes_pickled:
        # As dask.distributed has it done.
        support, before = pytest.importorskip("tblib.pickling_support"), {*copyreg.dispatch_table}
        support.install(ImageReadError)
        for kind in copyreg.dispatch_table.keys() - before:
            request.addfinalizer(partial(copyreg.dispatch_table.pop, kind))
    items = list(COLOUR)
    items[3], items[5] = Unpicklable("one", "two"), COLOUR[5][:4]
    source = open_images(torch_dataset(items), n_workers=n_workers)
    with pytest.raises(ImageReadError, match="row 3: Unpicklable: one and two; row 5: ") as caught:
        source.check()
    cause = caught.value.__cause__
    assert cause.__cause__ is items[3] or "Traceback" in cause.__notes__[0]
    assert not multiprocessing.active_children()
    source = open_images(torch_dataset(items), n_workers=n_workers, on_error="skip")
    with pytest.warns(UserWarning, match="2 of 20"):
        source.check()
    np.testing.assert_array_equal(np.flatnonzero(~source.readable), [3, 5])
    assert not source.array()[[3, 5]].any()
    np.testing.assert_array_equal(source.array()[4], first(COLOUR)[4])


def test_datasets_that_cannot_be_indexed(torch_dataset):
    data = pytest.importorskip("torch.utils.data")

    class Stream(data.IterableDataset):
        def __iter__(self):
            yield COLOUR[0]

    class Endless(data.Dataset):
        def __getitem__(self, i):
            return COLOUR[0]

    with pytest.raises(TypeError, match="got the IterableDataset Stream; do pass a map-style"):
        open_images(Stream())
    with pytest.raises(ValueError, match="__len__, got Endless"):
        open_images(Endless())
    pairs = data.TensorDataset(pytest.importorskip("torch").tensor(COLOUR))
    np.testing.assert_array_equal(open_images(pairs).read([3]), first(COLOUR)[[3]])
    subset = data.Subset(torch_dataset(list(COLOUR)), [8, 4])
    np.testing.assert_array_equal(open_images(subset).read([1, 0]), first(COLOUR)[[4, 8]])


# Processes that stay


@forks
def test_workers_stay_while_they_are_asked_to(torch_dataset):
    torch = pytest.importorskip("torch")

    class Who(torch_dataset):
        def __getitem__(self, i):
            return np.full((2, 2, 3), os.getpid() % 251, dtype=np.uint8)

    def seen(source, stop=None):
        return {
            int(x)
            for _, part in islice(source.batches(np.arange(20), 3), stop)
            for x in part.ravel()
        }

    source = open_images(Who(list(COLOUR)), n_workers=2)
    assert len(seen(source)) <= 2 and not multiprocessing.active_children()
    with source.workers():
        first_pass = seen(source)
        assert len(multiprocessing.active_children()) == 2
        # A pass that ends early, and one inside of another, are as any other.
        assert seen(source, 2) <= first_pass
        for rows, _ in source.batches(np.arange(20), 7):
            other = [rows for rows, _ in source.batches(np.arange(20)[::-1], 6)]
            np.testing.assert_array_equal(np.concatenate(other), np.arange(20)[::-1])
        assert seen(source) <= first_pass
        assert len(multiprocessing.active_children()) == 2
        assert pickle.loads(pickle.dumps(open_images([COLOUR[0]]))).n == 1
    assert not multiprocessing.active_children()
    order = RNG.permutation(20)
    plain = open_images(torch_dataset(list(torch.tensor(first(COLOUR)))), n_workers=2)
    with plain.workers():
        for size in (3, 20, 7):
            found = list(plain.batches(order, size))
            np.testing.assert_array_equal(np.concatenate([rows for rows, _ in found]), order)
            for rows, read in found:
                np.testing.assert_array_equal(read, first(COLOUR)[rows])


@forks
def test_items_that_break_are_reported_once(torch_dataset, tmp_path):
    pytest.importorskip("torch")

    class Breaks(torch_dataset):
        def __getitem__(self, i):
            if i == 4 and (tmp_path / "gone").exists():
                raise KeyError("gone")
            return self.items[i]

    source = open_images(Breaks(list(COLOUR)), n_workers=2, on_error="skip")
    with source.workers():
        list(source.batches(np.arange(20), 6))
        assert source.readable.all()
        (tmp_path / "gone").touch()
        with pytest.warns(UserWarning, match="1 of 20 images .*row 4"):
            list(source.batches(np.arange(20), 6))
        for _, part in source.batches(np.arange(3, 6), 3):
            assert part[0].any() and not part[1].any()
    strict = open_images(Breaks(list(COLOUR)), n_workers=2)
    with strict.workers(), pytest.raises(ImageReadError, match="row 4"):
        list(strict.batches(np.arange(20), 6))
    assert not multiprocessing.active_children()
