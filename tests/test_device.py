from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

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
    _array,
    _device,
)
from skclean.datasets import load_noisy_digits
from skclean.evidence import LeaveOneOutRidge

strict = pytest.importorskip("array_api_strict")

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
X, NOISY, TRUTH = DIGITS.data[:400], DIGITS.target_noisy[:400], DIGITS.target[:400]
ESTIMATORS = [
    TransitionCleaner(),
    GMMCleaner(),
    RankingCleaner(),
    PrototypeCleaner(max_iter=2),
    MetaReweighter(n_cycles=1, cycle_length=20),
    OpenSetFilter(),
    CredibilityRelabeler(),
    LeastSquaresMetaPurifier(),
    AutoPurifier(),
]


class OnGPU(np.ndarray):
    """An array whose rows are written by `set`, as CuPy's are."""

    def set(self, values, stream):
        assert stream is not None and len(values) == len(self)
        self[...] = values


class Stream:
    def synchronize(self):
        pass


CUPY = SimpleNamespace(
    empty=lambda shape, dtype: np.empty(shape, dtype).view(OnGPU),
    cuda=SimpleNamespace(
        Stream=Stream,
        runtime=SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=OSError),
    ),
)
CUPYX = SimpleNamespace(empty_pinned=np.empty)


class Explicit:
    """NumPy for the one module that may move arrays to the host."""

    def __getattr__(self, name):
        return getattr(np, name)

    def asarray(self, x, *args, **kwargs):
        return np.array(x._array) if hasattr(x, "_array") else np.asarray(x, *args, **kwargs)


@pytest.fixture
def gpu(monkeypatch):
    """Stands in for a GPU: arrays of array-api-strict, which no NumPy function takes."""

    def refuse(*_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    kind = type(strict.asarray([0.0]))
    monkeypatch.setattr(kind, "__array__", refuse)
    if hasattr(kind, "__buffer__"):
        monkeypatch.setattr(kind, "__buffer__", refuse)
    monkeypatch.setattr(_array, "np", Explicit())
    monkeypatch.setattr(_device, "import_optional", lambda *_: CUPY)
    monkeypatch.setattr(_device, "_upload", lambda x, *_: strict.asarray(np.array(x)))


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 7, 100])
@pytest.mark.parametrize("n", [0, 1, 7, 20])
def test_rows_go_through_two_buffers(monkeypatch, n, rows_at_a_time):
    x = np.random.default_rng(0).standard_normal((n, 5)).astype(np.float32)
    monkeypatch.setattr(_device, "BUFFER_BYTES", 20 * rows_at_a_time)
    out = _device._upload(x, CUPY, CUPYX)
    assert isinstance(out, OnGPU) and out.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(out), x)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_results_are_those_of_the_host_and_on_it(gpu, estimator):
    expected = estimator.fit_transform(X, NOISY)
    there = type(estimator)(**estimator.get_params(deep=False) | {"device": "cuda"})
    found = there.fit_transform(X, NOISY)
    assert found.features is not None and isinstance(found.features, np.ndarray)
    np.testing.assert_array_equal(found.features, X)
    assert np.mean(found.labels == expected.labels) > 0.99
    for field in (found.proba, found.clean_proba, there.label_distributions_):
        assert field is None or isinstance(field, np.ndarray)
    new = LabelledSamples(DIGITS.data[400:450], DIGITS.target_noisy[400:450])
    judged = there.transform(new)
    assert isinstance(judged.features, np.ndarray)
    assert np.mean(judged.labels == estimator.transform(new).labels) > 0.95
    np.testing.assert_array_equal(there.transform(X).labels, found.labels)


@pytest.mark.parametrize(
    "kind, settings",
    [
        (TransitionCleaner, {"n_refits": 1}),
        (GMMCleaner, {}),
        (OpenSetFilter, {}),
        (LeastSquaresMetaPurifier, {"solver": "paper"}),
        (LeastSquaresMetaPurifier, {"solver": "paper", "batch_size": 100, "n_periods": 2}),
    ],
)
def test_evidence_alone_on_the_device(gpu, kind, settings):
    found = [
        kind(estimator=LeaveOneOutRidge("linear", device=d), **settings).fit(X, NOISY)
        for d in (None, "cuda")
    ]
    assert np.mean(found[0].transduction_ == found[1].transduction_) > 0.98
    new = LabelledSamples(DIGITS.data[400:450], DIGITS.target_noisy[400:450])
    assert isinstance(found[1].transform(new).proba, np.ndarray)


def test_other_estimators_stay_on_the_host(gpu):
    with pytest.raises(ValueError, match="expected LeaveOneOutRidge .* got a LogisticRegression"):
        GMMCleaner(estimator=LogisticRegression(), cv=3, device="cuda").fit(X, NOISY)


def test_evidence_comes_back_to_the_host(gpu):
    here, there = (LeaveOneOutRidge(device=d).fit(X, NOISY) for d in (None, "cuda"))
    for a, b in (
        (here.loo_scores_, there.loo_scores_),
        (here.predict_proba(X), there.predict_proba(X)),
    ):
        assert isinstance(b, np.ndarray)
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_arrays_of_a_device_come_to_the_host():
    x = strict.asarray(X)
    assert isinstance(_device.to_device(x, "cpu", "me"), np.ndarray)
    assert _device.to_device(x, None, "me") is x


def test_what_is_missing_is_said(monkeypatch):
    def none():
        raise OSError("no CUDA-capable device is detected")

    runtime = SimpleNamespace(getDeviceCount=none, CUDARuntimeError=OSError)
    without = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(_device, "import_optional", lambda *_: without)
    with pytest.raises(ValueError, match="GMMCleaner: expected a CUDA device.*no CUDA-capable"):
        GMMCleaner(device="cuda").fit(X, NOISY)
    with pytest.raises(ValueError, match="'device' parameter"):
        GMMCleaner(device="gpu").fit(X, NOISY)


def test_dask_has_devices_of_its_own():
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match="device=None for a dask array"):
        TransitionCleaner(device="cuda").fit(da.from_array(X, chunks=(100, -1)), NOISY)


def test_on_a_gpu():
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        pytest.skip("no CUDA device")
    cleaner = TransitionCleaner(device="cuda").fit(X, NOISY)
    assert np.mean(cleaner.transduction_ == TRUTH) > 0.95
    assert isinstance(cleaner.label_distributions_, np.ndarray)
