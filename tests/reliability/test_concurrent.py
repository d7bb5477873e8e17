"""Several processes that write to the same names: every file is whole and of one of them."""

import os
import re

import numpy as np
import pytest

pq = pytest.importorskip("pyarrow.parquet")

import skclean  # noqa: E402

ROWS = (60, 75, 90)


def rows_in_report(path):
    page = path.read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    return int(re.search(r"<title>(?:Labels of d|Rows: )(\d+)", page)[1])


def test_purify(forks, tmp_path, rng, rounds):
    """The table, the report and the model are of one run."""
    for n in ROWS:
        y = np.arange(n) % 3
        np.savez(tmp_path / f"d{n}.npz", X=4 * np.eye(3, 5)[y] + rng.standard_normal((n, 5)), y=y)
    outputs = ("--out", "o.parquet", "--report", "r.html", "--save-model", "m.skclean")
    for _ in rounds(2, 0.02):
        jobs = [("cli", "purify", f"d{n}.npz", "-c", "gmm", *outputs, "--force") for n in ROWS]
        started = [forks.start(*job, folder=tmp_path) for job in jobs]
        ends = [forks.end(job) for job in started]
        assert [end.code for end in ends] == [0] * 3, ends
        n = pq.read_table(tmp_path / "o.parquet").num_rows
        assert n in ROWS and rows_in_report(tmp_path / "r.html") == n
        assert len(skclean.load(tmp_path / "m.skclean").clean_proba_) == n
    names = [f"d{n}.npz" for n in ROWS] + ["o.parquet", "r.html", "m.skclean"]
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_purify_without_force(forks, tmp_path, rounds):
    """One run wins; the others are refused and leave nothing."""
    for n in ROWS:
        y = np.arange(n) % 3
        np.savez(tmp_path / f"d{n}.npz", X=4 * np.eye(3, 5)[y], y=(y + (np.arange(n) < 5)) % 3)
    for _ in rounds(1, 0.02):
        jobs = [("cli", "purify", f"d{n}.npz", "-c", "gmm", "--out", "o.npz", "-q") for n in ROWS]
        started = [forks.start(*job, folder=tmp_path) for job in jobs]
        ends = [forks.end(job) for job in started]
        assert sorted(end.code for end in ends) == [0, 1, 1], ends
        assert all("expected a new file" in end.said for end in ends if end.code)
        (winner,) = (n for n, end in zip(ROWS, ends, strict=True) if end.code == 0)
        with np.load(tmp_path / "o.npz") as found:
            assert len(found["status"]) == winner
        (tmp_path / "o.npz").unlink()
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("job", ["save_cleaner", "write_report", "write_purified"])
def test_writers(forks, tmp_path, rounds, job):
    path = tmp_path / "file"
    for _ in rounds(2, 0.05):
        started = [forks.start(job, path, n, folder=tmp_path) for n in ROWS]
        seen = []
        while not seen or (len(seen) < 1000 and not path.exists()):
            seen.append(path.exists())
        ends = [forks.end(started_job) for started_job in started]
        assert [end.code for end in ends] == [0] * 3, ends
        if job == "save_cleaner":
            n = len(skclean.load(path).clean_proba_)
        else:
            n = rows_in_report(path) if job == "write_report" else pq.read_table(path).num_rows
        assert n in ROWS
        assert os.listdir(tmp_path) == ["file"]
