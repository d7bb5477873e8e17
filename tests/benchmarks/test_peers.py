import json

import numpy as np
import pytest

from benchmarks import _peers, _small
from benchmarks.suites.problems import gaussian_classes


@pytest.mark.parametrize("name", list(_peers.PEERS))
def test_peers_find_wrong_labels(name):
    if "cleanlab" in name:
        pytest.importorskip("cleanlab")
    if "Datalab" in name:
        pytest.importorskip("datasets")
    X, y, given = gaussian_classes(600, 16, 4)
    found = _peers.PEERS[name](X, given)
    if found is None:
        pytest.skip("not installed")
    kept, wrong = np.asarray(found.known), given != y
    assert 0 < kept.sum() < len(kept) and wrong[kept].mean() < wrong.mean() / 2


def test_run_writes_a_record_for_each_method(results):
    from benchmarks import bench_peers

    only = ["--sets", "iris", "wine", "--only", "sym 20", "asym"]
    bench_peers.main([*only, "--seeds", "1", "--methods", "Gaussian", "Transition"])
    records = json.loads((results / "peers.json").read_text())["records"]
    assert {r["method"] for r in records} == {"TransitionCleaner", "GaussianMixture"}
    assert {(r["set"], r["setting"]) for r in records} == {
        (name, noise) for name in ("iris", "wine") for noise in ("sym 20 %", "asym 40 %")
    }
    assert all(0 <= r["f1"] <= 1 and 0.6 < r["given"] < 0.9 for r in records)


@pytest.mark.parametrize("name", list(_small.SETS))
def test_small_sets_are_those_of_their_seed(name):
    X, y = _small.load(name, 0)
    again, other = _small.load(name, 0), _small.load(name, 1)
    assert len(X) == len(y) <= 2500 and np.isfinite(X).all()
    assert np.array_equal(X, again[0]) and not np.array_equal(X, other[0])
    assert np.array_equal(np.unique(y), np.arange(y.max() + 1)) and y.max() > 0


def test_ieg_loop_learns_from_trusted_rows():
    pytest.importorskip("torch")
    from benchmarks._published import ieg

    X, y, given = gaussian_classes(600, 16, 4)
    trusted = np.arange(600) < 20
    given = np.where(trusted, y, given)
    found = ieg(X, given, trusted, 4, cycles=1, length=100)
    assert np.mean(found.labels == y) > np.mean(given == y) + 0.05
