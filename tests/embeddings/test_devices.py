import logging
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from skclean.embeddings.devices import (  # noqa: E402
    DeviceImages,
    gather_rows,
    launch,
    make_fabric,
    reseed,
    seed_of,
    seeded,
    spawns,
)
from skclean.embeddings.images import open_images  # noqa: E402


def test_one_process_on_the_host(capfd):
    environment, threads = dict(os.environ), torch.get_num_threads()
    level = logging.getLogger("lightning_fabric").level
    fabric = make_fabric("cpu")
    assert fabric.world_size == 1 and fabric.device == torch.device("cpu")
    assert fabric.strategy.precision.precision == "32-true"
    assert not spawns(fabric) and gather_rows(fabric) is None
    assert launch(fabric, lambda fabric, a, b: (fabric.global_rank, a, b), 1, b=2) == (0, 1, 2)
    assert dict(os.environ) == environment and torch.get_num_threads() == threads
    assert logging.getLogger("lightning_fabric").level == level
    assert capfd.readouterr() == ("", "")


def test_a_gpu_is_taken_where_there_is_one():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.backends.mps.is_available():
        assert make_fabric().device.type == expected


def test_errors():
    with pytest.raises(ValueError, match="fit: expected torchrun.*num_nodes=2"):
        make_fabric("cpu", num_nodes=2, name="fit")
    with pytest.raises(ValueError, match="expected (devices=1 on mps|a device that is there)"):
        make_fabric("mps", devices=2)
    with pytest.raises(ValueError, match="fit: expected device None, 'cpu'.*got 'gpu'"):
        make_fabric("gpu", name="fit")
    with pytest.raises(ValueError, match="CUDA devices that torch finds.*'cuda:99'"):
        make_fabric("cuda:99")


def test_seeds_differ_and_stay():
    seeds = {seed_of(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, 2) == seed_of(1, 2) != seed_of(2, 1)


def test_the_global_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded(3):
            drawn.append(torch.rand(4))
            reseed(3, "cpu")
            drawn.append(torch.rand(4))
    assert all(torch.equal(x, drawn[0]) for x in drawn)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("kind", ["uint8", "gray", "float32", "float64"])
def test_batches_are_scaled(kind, held):
    rng = np.random.default_rng(0)
    X = {
        "uint8": rng.integers(0, 256, (10, 6, 5, 3), dtype=np.uint8),
        "gray": rng.integers(0, 256, (10, 6, 5), dtype=np.uint8),
        "float32": rng.normal(size=(10, 3, 6, 5)).astype(np.float32),
        "float64": rng.normal(size=(10, 3, 6, 5)),
    }[kind]
    before = X.copy()
    source = open_images(X)
    if held:
        source.check()
    value_range = (-3.0, 5.0) if kind.startswith("float") else None
    low, high = value_range or (0, 255)
    order = np.array([3, 9, 0, 1, 1, 7, 2])
    batches = list(DeviceImages(source, "cpu", value_range).batches(order, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    found = torch.cat(batches)
    assert found.dtype == torch.float32 and found.shape == (7, 3, 6, 5)
    expected = (X.astype(np.float64) - low) / (high - low)
    if kind == "gray":
        expected = np.repeat(expected[:, None], 3, axis=1)
    elif kind == "uint8":
        expected = expected.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.numpy(), expected[order], rtol=1e-6, atol=1e-7)
    found.zero_()
    np.testing.assert_array_equal(X, before)
