import json
import struct

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from benchmarks import _registry
from benchmarks.papers import runner
from benchmarks.papers.protocols import METHODS

TINY = ["--backbone", "conv_net", "--features", "pixels", "--rows", "90", "--test-rows", "30"]


def run(name, path, results, *arguments):
    _registry.run(name, ["--data", str(path), *TINY, "--share", "1e-9", *arguments])
    return json.loads((results / f"{name}.json").read_text())["records"]


#: Table -> column and rows; what one table runs, the others need not run again.
ON_CIFAR_10 = {
    "reed-table2": ("cifar10 sym 50", "REED"),
    "dmlp-table1": ("cifar10 sym 90", "DMLP-DivideMix"),
    "dmlp-table2": ("asym 40", "DMLP-Naive"),
    "cpc-table2": ("cifar10 asym", "Ours"),
    "ieg-table1": ("sym 40", "Ours (M=0.01k)"),
    "ieg-table3": ("asym 40", "Ours-RN29"),
    "ieg-table4": ("cifar10", "Ours-RN29"),
    "two-stage-table3": ("cifar10 asym 60", "ours"),
    "cifar-n": ("cifar10 worse", "TransitionCleaner"),
}


@pytest.mark.parametrize("name", ON_CIFAR_10)
def test_tables_on_cifar10(name, cifar10, results):
    column, method = ON_CIFAR_10[name]
    records = run(name, cifar10, results, "--columns", column, "--methods", method)
    assert {r["method"] for r in records} == {m for m in METHODS[name] if method in m}
    for r in records:
        assert 0 <= r["ours"] <= 100 and 0 < r["share"] < 0.01
        if r["published"] is not None:
            assert r["difference"] == pytest.approx(r["ours"] - r["published"])
        assert any("conv_net" in note for note in r["notes"])


def test_two_figures_of_one_run_are_best_and_last(cifar10, results):
    records = run("reed-table2", cifar10, results, "--columns", "10 sym 20", "--methods", "CE")
    best, last = records
    assert (best["report"], last["report"]) == ("best", "last")
    assert (best["published"], last["published"]) == (86.8, 82.7)
    assert best["ours"] >= last["ours"]


def test_foreign_images_take_the_place_of_rows(tmp_path, cifar10, images, results):
    np.savez(tmp_path / "foreign.npz", x_train=images(80, 4)[0])
    foreign = ["--foreign", f"cifar100={tmp_path / 'foreign.npz'}", "--methods", "RN29"]
    records = run("ieg-table5", cifar10, results, *foreign, "--columns", "open-")
    # The other two columns need images that were not given.
    assert {r["column"] for r in records} == {"cifar10 open-cifar100 60"}
    assert all(r["given"] < 50 for r in records)


def test_budget_bounds_what_is_run(cifar10, results, monkeypatch):
    # 90 rows at 10 ms a row and epoch: 300 epochs would be 270 s.
    monkeypatch.setattr(runner, "measured", lambda *_: np.array([0.0, 0.01]))
    arguments = ["--columns", "10 sym 20", "--methods", "CE", "--share", "1", "--budget", "3"]
    best, _ = run("reed-table2", cifar10, results, *arguments)
    assert 1 <= best["epochs"][0] <= 3 and best["rows"] == 90


def test_columns_without_data_are_left_out_with_a_word(cifar100, results, capsys):
    arguments = ["--columns", "cifar10 sym", "--data", str(cifar100)]
    _registry.run("reed-table2", arguments)
    assert "no cifar10 in" in capsys.readouterr().out


def test_mnist_networks_see_pixels(tmp_path, images, results):
    for part, n in (("train", 120), ("t10k", 40)):
        X, y = images(n, 10, 8, channels=1)
        for stem, array in (("images-idx3", X), ("labels-idx1", y.astype(np.uint8))):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (tmp_path / f"{part}-{stem}-ubyte").write_bytes(head + array.tobytes())
    records = run("two-stage-table3", tmp_path, results, "--columns", "mnist asym 20")
    assert {r["method"] for r in records} == {"cross-entropy", "ours"}
