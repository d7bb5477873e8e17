import gzip
import struct

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from benchmarks.papers import data as image_data
from benchmarks.papers import published
from benchmarks.papers.budget import share_for, share_run
from benchmarks.papers.networks import SMALL, make_network
from benchmarks.papers.noise import Column, corrupt
from benchmarks.papers.protocols import METHODS, Method, Purify, Train
from benchmarks.papers.runner import problem_of
from benchmarks.papers.stages import Changes, Outcome, Problem, embed, run
from skclean import GMMCleaner


def test_python_files_of_cifar_are_read(tmp_path, images, python_cifar):
    python_cifar(tmp_path / "cifar-10-batches-py", 10)
    found = image_data.load(tmp_path, "cifar10")
    assert found.images.shape == (100, 32, 32, 3) and found.test_images.shape == (20, 32, 32, 3)
    np.testing.assert_array_equal(found.images[:20], images(20, 10, 32)[0])
    assert image_data.load(tmp_path, "cifar100") is None


def test_cifar100_has_fine_classes(cifar100):
    found = image_data.load(cifar100, "cifar100")
    assert len(np.unique(found.y)) == 100 and found.images.shape == (200, 32, 32, 3)


def test_mnist_is_read_from_idx_files(tmp_path):
    X = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    for stem, array in (("images-idx3", X), ("labels-idx1", np.array([3, 4], np.uint8))):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (tmp_path / f"train-{stem}-ubyte").write_bytes(head + array.tobytes())
        (tmp_path / f"t10k-{stem}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    found = image_data.load(tmp_path, "mnist")
    np.testing.assert_array_equal(found.images, X)
    np.testing.assert_array_equal(found.y_test, [3, 4])


def test_symmetric_noise_of_the_papers_may_draw_the_true_class(cifar10):
    found = image_data.load(cifar10, "cifar10")
    wrong = {
        noise: np.mean(corrupt(found, Column("cifar10", noise, 1.0), 0)[1] != found.y)
        for noise in ("sym", "flip")
    }
    assert wrong["flip"] == 1 and 0.8 < wrong["sym"] < 1


def test_open_set_noise_leaves_no_class_of_its_own(cifar10):
    found = image_data.load(cifar10, "cifar10")
    foreign = {"cifar100": np.zeros((200, 16, 16, 3), np.uint8)}
    mixed, given = corrupt(found, Column("cifar10", "open-cifar100", 0.6), 0, foreign)
    replaced = mixed.images.reshape(100, -1).max(axis=1) == 0
    assert replaced.sum() == 60 and set(given) <= set(range(10))
    np.testing.assert_array_equal(mixed.y == 10, replaced)


def test_trusted_rows_are_no_foreign_images(cifar10):
    found = image_data.load(cifar10, "cifar10")
    foreign = {"cifar100": np.zeros((200, 16, 16, 3), np.uint8)}
    column, method = Column("cifar10", "open-cifar100", 0.6), Method((), trusted=1)
    problem = problem_of(found, column, method, 0, Changes(), foreign)
    counts = np.bincount(problem.data.y[problem.trusted], minlength=11)
    assert counts.tolist() == [1] * 10 + [0]
    np.testing.assert_array_equal(problem.given[problem.trusted], found.y[problem.trusted])


def test_webs_trusted_rows_are_all_that_were_verified(food101n):
    found = image_data.load(food101n, "food101n")
    column = Column("food101n", "given", 0.0)
    method = METHODS["ieg-table7"]["Ours-RN50"](column)
    problem = problem_of(found, column, method, 0, Changes(), None)
    np.testing.assert_array_equal(problem.trusted, found.verified)
    unchecked = found._replace(verified=None)
    assert problem_of(unchecked, column, method, 0, Changes(), None) is None


def test_too_few_labels_before_any_network_are_told(cifar10):
    found = image_data.load(cifar10, "cifar10")
    few = found.rows(np.flatnonzero(found.y < 2)[:16], np.flatnonzero(found.y_test < 2))
    method = Method((Purify((GMMCleaner(),)), Train({})), features="pixels")
    problem = Problem(few, few.y, None, 0)
    outcome = run(method, problem, Changes(), embed(method, few, 0, Changes()))
    assert np.isnan([outcome.best, outcome.last, outcome.fitted]).all()
    assert "too few labels" in outcome.notes[0] and share_run(outcome, 50_000, 16) == 0


def test_share_of_the_web_is_of_the_papers_epochs():
    method = METHODS["cpc-table1"]["Ours"](Column.parse("clothing1m given 0"))
    outcome = Outcome(epochs=[8], published=[80])
    assert share_run(outcome, method.epoch_rows, 32_000) == pytest.approx(0.1)
    assert method.steps[0].settings["weight_decay"] == 1e-3


def test_published_numbers_are_complete():
    for name, table in published.tables().items():
        assert {c.split()[0] for c in table["columns"]} <= set(table["data"])
        for row in table["rows"]:
            assert len(row["values"]) == len(table["columns"]), (name, row)
            assert all(v is None or 0 < v < 100 for v in row["values"])
        known = {row["method"] for row in table["rows"]} | {"TransitionCleaner, NeuralRetrainer"}
        assert set(METHODS[name]) <= known
        for column in table["columns"]:
            assert Column.parse(column).rate <= 0.9


def test_every_protocol_is_one_of_the_library():
    from sklearn.base import clone

    from benchmarks.papers.stages import feature_settings, train_settings
    from skclean import NeuralRetrainer, SSLFeaturizer

    changes = Changes(share=0.5, backbone="conv_net")
    for name, methods in METHODS.items():
        for text in published.tables()[name]["columns"]:
            for specify in methods.values():
                method = specify(Column.parse(text))
                settings = feature_settings(method, changes)
                if settings is not None:
                    SSLFeaturizer(**settings)._validate_params()
                for step in method.steps:
                    if isinstance(step, Train):
                        found = train_settings(step, changes, 1000, 0)
                        assert found["epochs"] <= max(1, step.settings["epochs"])
                        clone(NeuralRetrainer(**found))._validate_params()


def test_budget_scales_epochs_then_rows():
    method = Method((Train({"epochs": 100}),))
    # A millisecond a row and epoch, 1,000 rows: 100 s for all.
    task = [((0.0, 1e-3), method, 1, 0)]
    assert share_for(200, task, 1000, Changes()) == (1.0, 1000)
    share, rows = share_for(25, task, 1000, Changes())
    assert share == pytest.approx(0.25, abs=0.01) and rows == 1000
    share, rows = share_for(0.5, task, 1000, Changes())
    assert rows == 500


@pytest.mark.parametrize("name", [n for n in SMALL if n != "wrn28_10"])
def test_small_networks_map_images_to_features(name):
    torch = pytest.importorskip("torch")
    network, again = make_network(name, 0), make_network(name, 0)
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert network(torch.rand(2, 3, 16, 16)).ndim == 2


def test_resnet29_has_the_published_number_of_parameters():
    n = sum(p.numel() for p in make_network("resnet29v2", 0).parameters())
    assert n == pytest.approx(0.84e6, rel=0.03)
