import json

import numpy as np
import pytest

from benchmarks import _peers
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

    bench_peers.main(["--rows", "300", "--seeds", "1", "--methods", "Gaussian", "Transition"])
    records = json.loads((results / "peers.json").read_text())["records"]
    assert {r["method"] for r in records} == {"TransitionCleaner", "GaussianMixture"}
    assert all(0 <= r["f1"] <= 1 for r in records)


def test_ieg_loop_learns_from_trusted_rows():
    pytest.importorskip("torch")
    from benchmarks._published import ieg

    X, y, given = gaussian_classes(600, 16, 4)
    trusted = np.arange(600) < 20
    given = np.where(trusted, y, given)
    found = ieg(X, given, trusted, 4, cycles=1, length=100)
    assert np.mean(found.labels == y) > np.mean(given == y) + 0.05
