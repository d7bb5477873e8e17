"""Outputs appear whole and together, or not at all."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pq = pytest.importorskip("pyarrow.parquet")

from skclean._files import replacing  # noqa: E402
from skclean.cli._outputs import Outputs  # noqa: E402

PURIFY = ("purify", "d.npz", "-c", "gmm", "--out", "o.parquet", "--save-model", "m.skclean")


@pytest.fixture
def data(tmp_path, noisy):
    np.savez(tmp_path / "d.npz", X=noisy.X, y=noisy.y)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_there_stays(run, data):
    (data / "o.parquet").write_text("mine")
    said = run(*PURIFY, code=1).stderr
    assert "--out: expected a new file" in said and "--force" in said
    (data / "o.parquet").unlink()
    (data / "m.skclean").write_text("mine")
    assert "--save-model: expected a new file" in run(*PURIFY, code=1).stderr
    assert names(data) == ["d.npz", "m.skclean"]
    run(*PURIFY, "--force")
    assert names(data) == ["d.npz", "m.skclean", "o.parquet"]
    assert (data / "m.skclean").read_bytes() != b"mine"


def test_it_is_refused_before_any_work(run, data, monkeypatch):
    (data / "o.parquet").write_text("mine")
    monkeypatch.setattr("skclean.cli._samples.read_data", pytest.fail)
    run(*PURIFY, code=1)


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_nothing_is_left_where_writing_fails(run, data, monkeypatch, fault):
    def fail(table, path, suffix):
        path.write_bytes(b"half")
        raise fault

    monkeypatch.setattr("skclean.cli._results.write_table", fail)
    stopped = isinstance(fault, KeyboardInterrupt)
    said = run(*PURIFY, code=130 if stopped else 1).stderr
    assert ("interrupted" if stopped else "No space left") in said
    assert names(data) == ["d.npz"]


def test_a_full_disk_leaves_the_old_file(run, data):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (data / "o.csv").write_text("mine")
    outputs = Outputs({"--out": data / "o.csv"}, force=True)
    with pytest.raises(OSError, match="space"), outputs.writing() as temporary:
        with open("/dev/full", "wb") as stream:
            stream.write(b"x" * 100_000)
        temporary["--out"].write_text("new")
    assert (data / "o.csv").read_text() == "mine" and names(data) == ["d.npz", "o.csv"]


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
@pytest.mark.parametrize("links", [True, False])
def test_where_a_file_cannot_be_named_all_are_as_they_were(data, monkeypatch, fault, links):
    """The table is named last, after the model and a report that was not there."""
    (data / "o").write_text("old table")
    (data / "m").write_text("old model")
    paths = {"--out": data / "o", "--report": data / "r", "--save-model": data / "m"}
    replace = Path.replace

    def fail(self, target):
        if target == data / "o" and "new" in self.read_text():
            raise fault
        return replace(self, target)

    def no_link(source, target):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(Path, "replace", fail)
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(type(fault)), Outputs(paths, force=True).writing() as temporary:
        for path in temporary.values():
            path.write_text("new")
    assert (data / "o").read_text() == "old table" and (data / "m").read_text() == "old model"
    assert names(data) == ["d.npz", "m", "o"]


def test_permissions_stay(run, data):
    for name in ("o.parquet", "m.skclean"):
        (data / name).write_text("mine")
        (data / name).chmod(0o600)
    run(*PURIFY, "--force")
    assert (data / "o.parquet").stat().st_mode & 0o777 == 0o600
    assert (data / "m.skclean").stat().st_mode & 0o777 == 0o600
    with replacing(data / "m.skclean") as path:
        path.write_text("new")
    assert (data / "m.skclean").stat().st_mode & 0o777 == 0o600
    assert names(data) == ["d.npz", "m.skclean", "o.parquet"]


def test_the_slower_of_two_runs_is_refused(data):
    first, second = (Outputs({"--out": data / "o", "--report": data / "r"}, False) for _ in "ab")
    with first.writing() as one:
        for path in one.values():
            path.write_text("first")
        with second.writing() as two:
            for path in two.values():
                path.write_text("second")
        with pytest.raises(ValueError, match="--out: expected a new file"), first.writing() as one:
            for path in one.values():
                path.write_text("first")
        for path in (data / "o", data / "r"):
            assert path.read_text() == "second"
            path.unlink()
    assert names(data) == ["d.npz", "o", "r"]


def test_files_of_one_run_belong_together(data):
    """Many runs that may replace each other: the two files are always of one of them."""

    def write(word):
        for _ in range(40):
            outputs = Outputs({"--out": data / "o", "--report": data / "r"}, force=True)
            with outputs.writing() as temporary:
                for path in temporary.values():
                    path.write_text(word * 1000)

    threads = [threading.Thread(target=write, args=(word,)) for word in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (data / "o").read_text() == (data / "r").read_text()
    assert set((data / "o").read_text()) in [{word} for word in "abcd"]
    assert names(data) == ["d.npz", "o", "r"]


def test_a_link_is_followed(run, data):
    (data / "deep").mkdir()
    (data / "deep" / "real.parquet").write_text("old")
    (data / "o.parquet").symlink_to(data / "deep" / "real.parquet")
    run(*PURIFY, "--force")
    assert (data / "o.parquet").is_symlink()
    assert pq.read_table(data / "deep" / "real.parquet").num_rows == 240


SLOW = """
import signal, sys, time
from skclean.cli import _results, main
write = _results.write_table
def slow(table, path, suffix):
    path.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(30)
_results.write_table = slow
# Processes of a background job ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "number, code",
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
)
def test_a_run_that_is_ended_leaves_no_output(data, env, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *PURIFY], cwd=data, env=env, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    left = names(data)
    assert "o.parquet" not in left and "m.skclean" not in left
    if number != signal.SIGKILL:
        assert left == ["d.npz"]
    # What a killed run leaves is hidden, and in nobody's way.
    assert all(name == "d.npz" or name.startswith(".") for name in left)


def test_two_processes_to_one_output(data, noisy, env):
    np.savez(data / "e.npz", X=noisy.X[:120], y=noisy.y[:120])
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "skclean", "purify", name, "-c", "gmm", "-o", "o.parquet"],
            cwd=data,
            env=env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for name in ("d.npz", "e.npz")
    ]
    said = [process.communicate(timeout=60)[1] for process in started]
    codes = [process.returncode for process in started]
    assert sorted(codes) == [0, 1]
    assert "expected a new file" in said[codes.index(1)]
    assert pq.read_table(data / "o.parquet").num_rows == (240 if codes[0] == 0 else 120)
    assert names(data) == ["d.npz", "e.npz", "o.parquet"]


def test_missing_integers_beside_minus_one_in_npz(run, noisy):
    """Where -1 is a value, what is missing is told apart from it."""
    pa = pytest.importorskip("pyarrow")
    columns = {f"x{j}": noisy.X[:, j] for j in range(5)}
    columns["y"] = np.where(noisy.codes > 0, 1, -1)
    extra = {"seen": [None, *range(239)], "id_of": [None, *[2**63] * 239]}
    kinds = {"seen": pa.int32(), "id_of": pa.uint64()}
    others = {name: pa.array(v, kinds[name]) for name, v in extra.items()}
    pq.write_table(pa.table(columns | others), "d.parquet")
    run("purify", "d.parquet", "-l", "y", "-f", "x?", "-c", "gmm", "-o", "o.npz")
    found = np.load("o.npz")
    np.testing.assert_array_equal(found["given_label"], columns["y"])
    assert set(found["purified_label"]) == {"", "-1", "1"}
    np.testing.assert_array_equal(found["purified_label"] == "", found["status"] == "unknown")
    np.testing.assert_array_equal(found["seen"], np.arange(240) - 1)
    assert found["seen"].dtype == np.int64
    assert found["id_of"][:2].tolist() == ["", str(2**63)]
