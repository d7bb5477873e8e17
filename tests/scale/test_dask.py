"""Dask arrays give what NumPy arrays give, to the last bit, however they are chunked."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
    _blocks,
)
from skclean.datasets import load_noisy_digits
from skclean.evidence import LeaveOneOutRidge

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
X, Y = DIGITS.data[:900] / 16, DIGITS.target_noisy[:900]
SMALL = LeaveOneOutRidge(n_landmarks=100)
LINEAR = LeaveOneOutRidge("linear")
CHUNKS = {
    "one row": (1,) * 20 + (880,),
    "uneven": (1, 0, 300, 99, 500),
    "one chunk": (900,),
}
CLEANERS = {
    "transition": TransitionCleaner(estimator=SMALL),
    "refitted": TransitionCleaner(estimator=SMALL, n_refits=1),
    "linear": TransitionCleaner(estimator=LINEAR),
    "mixture": GMMCleaner(estimator=SMALL),
    "class-aware": GMMCleaner(estimator=SMALL, class_aware=True),
    "credibility": CredibilityRelabeler(cleaner=GMMCleaner(estimator=SMALL)),
    "ranking": RankingCleaner(estimator=SMALL),
    "open set": OpenSetFilter(estimator=SMALL),
    "meta": LeastSquaresMetaPurifier(estimator=SMALL),
    "paper": LeastSquaresMetaPurifier("paper", estimator=LINEAR),
    "auto": AutoPurifier([("linear", TransitionCleaner(estimator=LINEAR))]),
}


@pytest.fixture(autouse=True)
def units(monkeypatch):
    """Several blocks and units, of data as small as this, and two threads in memory."""
    monkeypatch.setattr(_blocks, "BLOCK_ROWS", 64)
    monkeypatch.setattr(_blocks, "UNIT_ROWS", 256)
    monkeypatch.setattr(_blocks, "_TASK", 1)
    with threadpool_limits(2, user_api="blas"):
        yield


def on_dask(X, chunks="uneven"):
    return da.from_array(X, chunks=(CHUNKS[chunks], X.shape[1]))


def assert_same(found, expected):
    for field in ("label_codes", "status_codes", "clean_proba", "right_proba"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    np.testing.assert_array_equal(np.asarray(found.proba), expected.proba)


@pytest.mark.parametrize("name", CLEANERS)
def test_same_labels_as_in_memory(name):
    cleaner, new = CLEANERS[name], X + 0.05
    expected = cleaner.fit_transform(X, Y)
    predicted = cleaner.transform(new)
    found = cleaner.fit_transform(on_dask(X), Y)
    assert isinstance(found.features, da.Array)
    assert isinstance(found.proba, da.Array)
    assert isinstance(found.label_codes, np.ndarray)
    assert_same(found, expected)
    np.testing.assert_array_equal(cleaner.transduction_, expected.labels)
    assert_same(cleaner.transform(on_dask(X)), expected)
    assert_same(cleaner.transform(on_dask(new)), predicted)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_any_chunking(chunks):
    cleaner = TransitionCleaner(estimator=SMALL)
    expected = cleaner.fit_transform(X, Y)
    labels = da.from_array(Y, chunks=100)
    assert_same(cleaner.fit_transform(on_dask(X, chunks), labels), expected)


def test_columns_in_chunks():
    cleaner = TransitionCleaner(estimator=LINEAR)
    expected = cleaner.fit_transform(X, Y)
    assert_same(cleaner.fit_transform(da.from_array(X, chunks=(200, 10)), Y), expected)


@pytest.mark.parametrize("name", ["transition", "mixture", "meta"])
def test_trusted_and_missing_labels(name):
    cleaner, y, trusted = CLEANERS[name], Y.astype(float), np.arange(900) % 30 == 0
    y[5:400:7] = np.nan
    trusted &= ~np.isnan(y)
    expected = cleaner.fit_transform(X, y, trusted=trusted)
    assert_same(cleaner.fit_transform(on_dask(X), y, trusted=trusted), expected)


def test_some_rows_of_the_fit_and_some_new():
    cleaner = TransitionCleaner(estimator=SMALL).fit(X, Y)
    mixed = np.where(np.arange(900)[:, None] % 3 == 0, X + 0.05, X)
    expected = cleaner.transform(mixed)
    cleaner.fit(on_dask(X), Y)
    assert_same(cleaner.transform(on_dask(mixed)), expected)
    in_memory = cleaner.transform(X)
    assert isinstance(in_memory.proba, np.ndarray)


def test_probabilities_of_the_container():
    P = np.random.default_rng(0).dirichlet(np.ones(10), 900)
    P[np.arange(900), DIGITS.target[:900]] += 2
    P /= P.sum(axis=1, keepdims=True)
    expected = GMMCleaner().fit_transform(LabelledSamples(X, Y, proba=P))
    found = GMMCleaner().fit_transform(LabelledSamples(on_dask(X), Y, proba=on_dask(P)))
    assert_same(found, expected)


def test_more_scores_than_the_model_is_fitted_to(monkeypatch):
    monkeypatch.setattr("skclean.decision.transition.MAX_SCORES", 4000)
    cleaner = TransitionCleaner(estimator=SMALL)
    assert_same(cleaner.fit_transform(on_dask(X), Y), cleaner.fit_transform(X, Y))


@pytest.mark.parametrize(("name", "most"), [("transition", 8), ("credibility", 8), ("auto", 9)])
def test_passes_over_the_features(name, most):
    """Finite, landmarks, products, regularisation, leave one out, thrice for the index of rows."""
    read = np.zeros(4, int)

    def counted(x, block_info=None):
        read[block_info[0]["chunk-location"][0]] += 1
        return x

    lazy = da.from_array(np.tile(X, (4, 1))[:1024], chunks=(256, 64))
    lazy = lazy.map_blocks(counted, dtype=X.dtype, meta=np.empty((0, 0)))
    with dask.config.set(scheduler="synchronous"):
        cleaner = CLEANERS[name].fit(lazy, np.tile(Y, 4)[:1024])
        assert (read[1:] <= most).all()
        read[:] = 0
        # Behind another step, a relabeler only checks and indexes the rows.
        samples = LabelledSamples(lazy, np.tile(Y, 4)[:1024])
        samples = CLEANERS["mixture"].fit_transform(samples)
        read[:] = 0
        relabeler = CredibilityRelabeler()
        relabelled = relabeler.fit_transform(samples)
        assert (read[1:] <= 4).all()
    expected = CredibilityRelabeler().fit(samples.with_features(lazy.compute()))
    np.testing.assert_array_equal(
        relabeler.transform(lazy.compute()).label_codes, relabelled.label_codes
    )
    np.testing.assert_array_equal(expected.transduction_, relabelled.labels)
    assert cleaner.n_features_in_ == 64


def test_pipeline():
    pipe = Pipeline([("clean", GMMCleaner(estimator=SMALL)), ("relabel", CredibilityRelabeler())])
    assert_same(pipe.fit_transform(on_dask(X), Y), pipe.fit_transform(X, Y))


def test_features_stay_lazy():
    """No pass over the features keeps more of them than a chunk for each thread."""
    alive, most = set(), 0
    # More rows than are held for the choice of the regularisation.
    rows, given = np.tile(X, (4, 1)), np.tile(Y, 4)

    def read(block_info=None):
        nonlocal most
        (start, stop), _ = block_info[None]["array-location"]
        alive.add(start)
        most = max(most, len(alive))
        part = rows[start:stop].copy().view(Watched)
        part.gone = lambda: alive.discard(start)
        return part

    chunks = ((256,) * 14 + (16,), (64,))
    lazy = da.map_blocks(read, chunks=chunks, dtype=X.dtype, meta=np.empty((0, 0)))
    with dask.config.set(scheduler="synchronous"):
        TransitionCleaner(estimator=LINEAR).fit(lazy, given)
    assert most <= 2


class Watched(np.ndarray):
    """An array that tells when it is gone."""

    gone = None

    def __del__(self):
        if self.gone is not None:
            self.gone()


@pytest.mark.parametrize(
    ("cleaner", "fit", "said"),
    [
        (MetaReweighter(), {}, r"X.compute\(\)"),
        (PrototypeCleaner(), {}, r"X.compute\(\)"),
        (GMMCleaner(LogisticRegression()), {}, "threshold"),
        (GMMCleaner(estimator=LogisticRegression()), {}, r"X.compute\(\)"),
        (LeastSquaresMetaPurifier("paper", batch_size=50), {}, "batch_size=None"),
        (TransitionCleaner(), {"groups": np.arange(900) // 2}, "groups"),
    ],
)
def test_what_needs_memory_says_so(cleaner, fit, said):
    with pytest.raises(ValueError, match=said):
        cleaner.fit(on_dask(X), Y, **fit)


def test_unknown_chunks_and_frames_are_refused():
    unknown = on_dask(X)[da.from_array(Y > 0, chunks=900)]
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        TransitionCleaner().fit(unknown, Y[Y > 0])
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        LabelledSamples(unknown)
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_dask_array(on_dask(X))
    with pytest.raises(ValueError, match="to_dask_array"):
        TransitionCleaner().fit(frame, Y)


def test_masked_values_are_refused():
    masked = da.ma.masked_greater(on_dask(X), 0.5)
    for call in (LabelledSamples, lambda features: TransitionCleaner().fit(features, Y)):
        with pytest.raises(ValueError, match="without masked values, got a dask array of masked"):
            call(masked)


def test_nan_and_gathering_are_refused():
    with pytest.raises(ValueError, match="finite"):
        TransitionCleaner().fit(on_dask(np.where(X > 0.9, np.nan, X)), Y)
    with pytest.raises(TypeError, match=r"features.compute\(\)"):
        np.asarray(LabelledSamples(on_dask(X), Y))
    P = np.full((900, 10), 0.2)
    with pytest.raises(ValueError, match="sum to 1"):
        LabelledSamples(on_dask(X), Y, proba=on_dask(P))


def test_features_set_in_place_between_two_cleaners():
    lazy = da.from_array(X, chunks=(256, 64))
    first = TransitionCleaner(estimator=SMALL).fit_transform(lazy, Y)
    lazy[:300] = 0.5 * lazy[:300] + 1
    second = TransitionCleaner(estimator=SMALL)
    purified = second.fit_transform(first)
    assert first.features is lazy
    np.testing.assert_array_equal(second.transform(lazy.compute()).status, purified.status)


def test_features_that_were_rewritten_are_read_anew():
    values = X.copy()

    class Store:
        shape, dtype, ndim = X.shape, X.dtype, 2

        def __getitem__(self, key):
            return values[key].copy()

    lazy = da.from_array(Store(), chunks=(700, 64), name="features")
    before = TransitionCleaner(estimator=SMALL).fit(lazy, Y)
    values[:] = values[::-1].copy()
    cleaner = TransitionCleaner(estimator=SMALL)
    purified = cleaner.fit_transform(lazy, Y)
    np.testing.assert_array_equal(cleaner.transform(X[::-1]).status, purified.status)
    values[0, 0] = np.inf
    with pytest.raises(ValueError, match="finite features"):
        TransitionCleaner(estimator=SMALL).fit(lazy, Y)
    assert before.classes_ is not None
