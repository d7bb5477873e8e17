"""What was decided in the report, in the table."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
arrow_csv = pytest.importorskip("pyarrow.csv")

from skclean.cli._tables import read_table  # noqa: E402

HEAD = "id,given_label,suggested_label,decision,label\r\n"
TABLE = {
    "id": ["a", "b,1", "c", "d", "e"],
    "label": ["cat", "dog", "cat", None, "dog"],
    "given_label": ["cat", "dog", "cat", None, "dog"],
    "purified_label": ["dog", "cat", None, "cat", "dog"],
    "status": ["corrected", "corrected", "unknown", "corrected", "kept"],
}
DECISIONS = [
    ("a", "cat", "dog", "accept", "dog"),
    ("b,1", "dog", "cat", "reject", "dog"),
    ("c", "cat", "dog", "accept", "dog"),
    ("d", "", "cat", "reject", ""),
]
OTHERS = [("a", "cat", "dog", "other", "cow"), ("d", "", "cat", "other", "dog")]


def write(rows, name="d.csv", head=HEAD):
    quoted = [",".join(f'"{cell}"' for cell in row) for row in rows]
    Path(name).write_text(head + "\r\n".join(quoted) + "\r\n", encoding="utf-8", newline="")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_decisions_are_applied(run, suffix):
    table = pa.table(TABLE)
    if suffix == "csv":
        arrow_csv.write_csv(table, "t.csv")
    else:
        pq.write_table(table, "t.parquet")
    write(DECISIONS)
    result = run("apply-decisions", f"t.{suffix}", "d.csv", "--out", "o.parquet", "--json")
    assert result.json["accepted"] == result.json["rejected"] == 2
    assert result.json["undecided"] == 1 and result.json["withheld"] == 0
    found = pq.read_table("o.parquet")
    assert found["decision"].to_pylist() == ["accept", "reject", "accept", "reject", None]
    assert found["final_label"].to_pylist() == ["dog", "dog", "dog", None, "dog"]
    assert found["id"].to_pylist() == TABLE["id"]
    if suffix == "parquet":
        assert found.select(table.column_names).equals(table)
    said = run("apply-decisions", f"t.{suffix}", "d.csv", "--out", "o.parquet", code=1).stderr
    assert "--force" in said
    run("apply-decisions", "o.parquet", "d.csv", "--out", "p.parquet", code=1)


def test_another_label_was_chosen(run):
    pq.write_table(pa.table(TABLE), "t.parquet")
    args = ("t.parquet", "d.csv", "--out", "o.parquet")
    write(OTHERS)
    said = run("apply-decisions", *args, code=1).stderr
    assert "a class of the table, got 'cow' in row 0 (line 2) of d.csv, id 'a'" in said
    said = run("apply-decisions", *args, "--classes", "cow, emu", "--json").json
    assert (said["accepted"], said["other"], said["undecided"]) == (0, 2, 3)
    found = pq.read_table("o.parquet")
    assert found["decision"].to_pylist() == ["other", None, None, "other", None]
    assert found["final_label"].to_pylist() == ["cow", "cat", None, "dog", "dog"]


def test_no_decision_changes_nothing(run):
    pq.write_table(pa.table(TABLE), "t.parquet")
    Path("d.csv").write_text(HEAD)
    said = run("apply-decisions", "t.parquet", "d.csv", "--out", "o.parquet").stdout
    assert "5 undecided, of which 1 has no label" in said
    assert pq.read_table("o.parquet")["final_label"].to_pylist() == TABLE["purified_label"]


@pytest.mark.parametrize(
    "row, wanted",
    [
        (("z", "cat", "dog", "accept", "dog"), "id 'z'"),
        (("a", "cat", "dog", "accept", "dog"), "a second one"),
        (("e", "cat", "dog", "accept", "dog"), "the given label 'dog', got 'cat'"),
        (("e", "dog", "cat", "accept", "cat"), "the suggested label 'dog', got 'cat'"),
        (("e", "dog", "dog", "maybe", "dog"), "accept, reject or other, got 'maybe'"),
        (("e", "dog", "dog", "accept", "cat"), "the suggested label after accept, got 'cat'"),
        (("e", "dog", "dog", "reject", "cow"), "the given label after reject, got 'cow'"),
        (("e", "dog", "dog", "other", ""), "a class of the table, got ''"),
        (("e", "dog", "dog", "accept"), "5 cells"),
    ],
)
def test_other_decisions_are_errors(run, row, wanted):
    pq.write_table(pa.table(TABLE), "t.parquet")
    write([*DECISIONS[:2], row])
    said = run("apply-decisions", "t.parquet", "d.csv", "--out", "o.parquet", code=1).stderr
    assert wanted in said and "row 2 (line 4)" in said and not Path("o.parquet").exists()


def test_other_files_are_errors(run):
    pq.write_table(pa.table(TABLE), "t.parquet")
    write([("c", "cat", "cow", "accept", "cow")])
    args = ("--out", "o.parquet")
    assert "'cow'" in run("apply-decisions", "t.parquet", "d.csv", *args, code=1).stderr
    write(DECISIONS)
    twice = TABLE | {"id": ["a", "b", "a", "c", "d"]}
    pq.write_table(pa.table(twice), "twice.parquet")
    assert "rows 0 and 2" in run("apply-decisions", "twice.parquet", "d.csv", *args, code=1).stderr
    said = run("apply-decisions", "t.parquet", "d.csv", *args, "--id", "key", code=1).stderr
    assert "--id" in said and "'key'" in said
    pq.write_table(pa.table({"id": TABLE["id"]}), "other.parquet")
    said = run("apply-decisions", "other.parquet", "d.csv", *args, code=1).stderr
    assert "TABLE" in said and "given_label" in said
    write([], head="id,label\r\n1,2\r\n")
    said = run("apply-decisions", "t.parquet", "d.csv", *args, code=1).stderr
    assert "DECISIONS" in said and "suggested_label" in said
    for files in (("no.parquet", "d.csv"), ("t.parquet", "no.csv")):
        said = run("apply-decisions", *files, *args, code=1).stderr
        assert "which is not there" in said and "Errno" not in said


@pytest.mark.parametrize("kind", ["float", "time"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_ids_are_those_of_the_report(run, noisy, kind, suffix):
    numbers = np.arange(240.0)
    ids = numbers if kind == "float" else numbers.astype("datetime64[h]").astype("datetime64[us]")
    table = pa.table({"id": ids, "e": noisy.X.tolist(), "y": noisy.y})
    pq.write_table(table, "in.parquet")
    args = ("-l", "y", "-c", "gmm", "--report", "r.html")
    run("purify", "in.parquet", *args, "--out", f"t.{suffix}")
    page = Path("r.html").read_text(encoding="utf-8")
    by_name = {str(key): row for row, key in enumerate(table["id"].to_pylist())}
    found = [name for name in by_name if f'"id": "{name}"' in page]
    assert len(found) > 50
    given = [noisy.y[by_name[name]] for name in found]
    purified = read_table(Path(f"t.{suffix}"), 10**9)["purified_label"].to_pylist()
    labels = [purified[by_name[name]] or "" for name in found]
    write([(*row, "reject", row[1]) for row in zip(found, given, labels, strict=True)])
    said = run("apply-decisions", f"t.{suffix}", "d.csv", "--out", "o.parquet", "--json").json
    assert said["rejected"] == len(found)


@pytest.mark.parametrize("kind", ["int64", "float64", "bool", "str"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_labels_of_any_type_come_back(run, noisy, kind, suffix):
    """The table of purify, and decisions as the report writes them: str of the label."""
    from skclean import GMMCleaner

    y = (noisy.codes == 1) if kind == "bool" else noisy.codes.astype(kind)
    np.savez("d.npz", X=noisy.X, y=y)
    run("purify", "d.npz", "-c", "gmm", "--out", f"t.{suffix}")
    samples = GMMCleaner().fit_transform(noisy.X, y)
    rows = np.flatnonzero(samples.status == "unknown")[:6]
    assert len(rows) == 6
    decisions = [
        (row, str(y[row]), str(samples.labels[row]), "accept", str(samples.labels[row]))
        for row in rows.tolist()
    ]
    write(decisions)
    run("apply-decisions", f"t.{suffix}", "d.csv", "--out", "o.parquet")
    final = pq.read_table("o.parquet")["final_label"].to_pylist()
    assert [str(final[row]) for row in rows] == [str(samples.labels[row]) for row in rows]
