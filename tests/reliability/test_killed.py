"""Processes that are killed or ended at any moment: every file is the old one or the new one."""

import importlib.util
import os
import signal
import time

import numpy as np
import pytest

pq = pytest.importorskip("pyarrow.parquet")

import skclean  # noqa: E402
from skclean._files import replacing, scratch_path  # noqa: E402

if not hasattr(os, "fork"):
    pytest.skip("no fork", allow_module_level=True)

OUTPUTS = ("o.parquet", "r.html", "m.skclean")
WRITERS = {"save_cleaner": "m.skclean", "write_report": "r.html", "write_purified": "o.parquet"}
needs_torch = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "lightning_fabric", "safetensors", "tqdm"))),
    reason="no torch",
)


def purify(data):
    outputs = ("--out", OUTPUTS[0], "--report", OUTPUTS[1], "--save-model", OUTPUTS[2])
    return ("cli", "purify", data, "-c", "gmm", *outputs, "--force", "--quiet")


@pytest.fixture
def data(tmp_path):
    """A folder with two sets, of 60 and of 90 rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in (60, 90):
        y = np.arange(n) % 3
        X = 4 * np.eye(3, 5)[y] + rng.standard_normal((n, 5))
        np.savez(folder / f"d{n}.npz", X=X, y=np.where(rng.random(n) < 0.2, (y + 1) % 3, y))
    return folder


def rows_in(path):
    """Rows that a whole output is about; anything else fails."""
    if path.suffix == ".parquet":
        return pq.read_table(path).num_rows
    if path.suffix == ".skclean":
        return len(skclean.load(path).clean_proba_)
    page = path.read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    (n,) = (n for n in (60, 90) if f"d{n}.npz</title>" in page or f"Rows: {n}</title>" in page)
    return n


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def moments(rng, calls):
    """Half of the deaths are anywhere, half where files are written."""
    late = bool(rng.integers(2))
    return {"die_at": int(rng.integers(1, calls[late] + 1)), "in_writing": late}


def counted(forks, job, folder):
    """Calls of a whole run, and of its part from the first temporary file on."""
    ends = [forks.run(*job, folder=folder, die_at=-1, in_writing=late) for late in (False, True)]
    assert [end.code for end in ends] == [0, 0], ends[0].said
    return [end.calls for end in ends]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_purify(forks, data, rng, rounds, number, record_property):
    calls = counted(forks, purify("d60.npz"), data)
    died = 0
    for i in rounds(8 if number == signal.SIGKILL else 4, 0.05):
        there = {rows_in(data / name) for name in OUTPUTS}
        before = {name: (data / name).read_bytes() for name in OUTPUTS}
        job = purify("d90.npz" if i % 2 else "d60.npz")
        end = forks.run(*job, folder=data, number=number, **moments(rng, calls))
        assert end.code in (0, -9, 143) and "Traceback" not in end.said, end
        died += end.code != 0
        for name in OUTPUTS:
            n = rows_in(data / name)
            assert n in there | {90 if i % 2 else 60}
            assert n not in there or len(there) > 1 or (data / name).read_bytes() == before[name]
    record_property("died", died)
    assert died
    assert forks.run(*purify("d90.npz"), folder=data).code == 0
    assert sorted(os.listdir(data)) == sorted(["d60.npz", "d90.npz", *OUTPUTS])
    assert {rows_in(data / name) for name in OUTPUTS} == {90}


def test_purify_into_an_empty_folder(forks, data, rng, rounds):
    calls = counted(forks, purify("d60.npz"), data)
    for _ in rounds(4, 0.02):
        for name in OUTPUTS:
            (data / name).unlink(missing_ok=True)
        forks.run(*purify("d60.npz"), folder=data, **moments(rng, calls))
        there = [name for name in OUTPUTS if (data / name).exists()]
        assert {rows_in(data / name) for name in there} <= {60}
        # The table comes last and stands for all.
        assert OUTPUTS[0] not in there or len(there) == 3


def test_purify_at_any_time(forks, data, rng, rounds, record_property):
    """By the clock, so that the death may be inside of compiled code."""
    started = time.monotonic()
    assert forks.run(*purify("d60.npz"), folder=data).code == 0
    took = time.monotonic() - started
    died = 0
    for i in rounds(4, 0.05):
        job = forks.start(*purify("d90.npz" if i % 2 else "d60.npz"), folder=data)
        time.sleep(took * rng.random())
        os.kill(job.pid, signal.SIGKILL)
        died += forks.end(job).code == -signal.SIGKILL
        assert all(rows_in(data / name) in (60, 90) for name in OUTPUTS)
    record_property("died", died)
    assert forks.run(*purify("d90.npz"), folder=data).code == 0
    assert not hidden(data)


@pytest.mark.parametrize("name", WRITERS)
def test_writers(forks, data, rng, rounds, name, record_property):
    path, died = data / WRITERS[name], 0
    calls = counted(forks, (name, path, 60), data)
    for i in rounds(6, 0.05):
        n = 90 if i % 2 else 60
        end = forks.run(name, path, n, folder=data, **moments(rng, calls))
        assert end.code in (0, -signal.SIGKILL), end
        died += end.code != 0
        assert rows_in(path) in (60, 90)
        assert end.code or rows_in(path) == n
    record_property("died", died)
    assert forks.run(name, path, 90, folder=data).code == 0
    assert rows_in(path) == 90 and not hidden(data)


def test_only_what_killed_processes_left_is_removed(tmp_path):
    path, child = tmp_path / "o [1].npz", os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    mine, foreign = scratch_path(path), path.with_name(f".{path.name}.00000000-{child}-aaaaaa")
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{child}-"))
    nested = scratch_path(mine).with_name(f".{dead.name}.{dead.name.rsplit('.', 1)[1]}")
    others = [tmp_path / ".o [1].npz.backup", dead.with_name(dead.name.replace("[1]", "[2]"))]
    for file in (mine, foreign, dead, nested, *others):
        file.touch()
    folder = dead.with_name(dead.name[:-6] + "abcdef")
    folder.mkdir()
    (folder / "part-00000.parquet").touch()
    with replacing(path) as temporary:
        temporary.touch()
    assert set(tmp_path.iterdir()) == {path, mine, foreign, *others}


@needs_torch
@pytest.mark.parametrize("job", ["retrain", "simclr"])
def test_training_goes_on_to_the_same_end(forks, tmp_path, rng, rounds, job, record_property):
    whole, weights, died = tmp_path / "whole", tmp_path / "weights", 0
    calls = []
    for late in (False, True):
        counting = {"die_at": -1, "in_writing": late}
        end = forks.run(job, tmp_path / f"counted{late}", whole, folder=tmp_path, **counting)
        assert end.code == 0, end.said
        calls.append(end.calls)
    for i in rounds(1, 0.01):
        folder = tmp_path / f"checkpoints{i}"
        for _ in range(4):
            moment = moments(rng, calls)
            number = signal.SIGTERM if rng.integers(4) == 0 else signal.SIGKILL
            end = forks.run(job, folder, weights, folder=tmp_path, number=number, **moment)
            assert end.code in (0, -number), end
            died += end.code != 0
        end = forks.run(job, folder, weights, folder=tmp_path)
        assert end.code == 0, end
        assert weights.read_bytes() == whole.read_bytes()
        weights.unlink()
        assert not hidden(folder)
    record_property("died", died)
    assert died
