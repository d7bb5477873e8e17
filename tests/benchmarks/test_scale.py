import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import bench_scale
from benchmarks.bench_memory import make_file
from skclean import _device


@pytest.fixture
def folder(tmp_path):
    make_file(tmp_path, 2000, 16, 3)
    return tmp_path


@pytest.mark.parametrize("method", bench_scale.METHODS)
def test_methods_flag_wrong_labels_of_the_file(folder, method):
    record = bench_scale.run(method, "linear", folder)
    assert record["rows"] == 2000
    assert record["products"] > 0
    assert record["f1"] > 0.5


def test_methods_bring_rows_to_the_device(folder, monkeypatch):
    strict = pytest.importorskip("array_api_strict")
    X = np.load(folder / "X.npy")
    given = np.load(folder / "y.npy")[1]
    sent = []

    def upload(x, *_):
        sent.append(len(x))
        return strict.asarray(np.array(x))

    runtime = SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=OSError)
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(_device, "import_optional", lambda *_: cupy)
    monkeypatch.setattr(_device, "_upload", upload)
    for method in bench_scale.METHODS:
        here, there = (
            bench_scale.clean_proba(bench_scale.estimators(method, "linear", device), X, given)
            for device in (None, "cuda")
        )
        assert isinstance(there, np.ndarray) and sent.pop() == len(X)
        np.testing.assert_allclose(here, there, atol=1e-3)


def test_run_compares_with_clean_learning_on_the_same_rows(results, monkeypatch):
    pytest.importorskip("cleanlab")
    monkeypatch.setattr(bench_scale, "apart", lambda call, *arguments: call(*arguments))
    sizes = ["--rows", "1500", "--features", "16", "--classes", "3", "--peer-rows", "600"]
    bench_scale.main([*sizes, "--kernels", "linear", "--only", "papers", "CleanLearning"])
    records = json.loads((results / "scale.json").read_text())["records"]
    assert [r["rows"] for r in records] == [1500, 600, 600]
    assert records[1]["times faster than CleanLearning"] > 0
    assert "times faster than CleanLearning" not in records[0]


def test_goals_are_told_in_words():
    record = {
        "method": "papers", "kernel": "linear", "device": "cpu", "rows": 10,
        "products": 4.0, "products, processor": 2.0, "f1": 0.9,
        "times faster than CleanLearning": 30.0, "CleanLearning f1": 0.95,
    }  # fmt: skip
    gram, peer = bench_scale.verdicts([record], 10)
    assert gram.endswith("goal 3: met")
    assert peer.endswith("MISSED")
