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
    flagged = ~np.asarray(found.known)
    wrong = given != y
    assert flagged[wrong].mean() > 2 * flagged[~wrong].mean()


def test_run_writes_a_record_for_each_method(results):
    from benchmarks import bench_peers

    bench_peers.main(["--rows", "300", "--seeds", "1", "--methods", "Gaussian", "Transition"])
    records = json.loads((results / "peers.json").read_text())["records"]
    assert {r["method"] for r in records} == {"TransitionCleaner", "GaussianMixture"}
    assert all(0 <= r["f1"] <= 1 for r in records)
