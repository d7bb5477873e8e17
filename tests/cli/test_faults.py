"""Files and options that are not as they must be: one line that says what to do, and no output."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

import skclean.cli  # noqa: E402

HEADER = "id,e0,e1,label\n"
ROWS = [f"{i},{i % 3}.5,{i % 7},{'ab'[i % 2]}" for i in range(30)]


def csv_text(changes=(), header=HEADER):
    rows = list(ROWS)
    for row, text in dict(changes).items():
        rows[row] = text
    return header + "\n".join(rows) + "\n"


def refused(run, *args, code=1, wanted=()):
    """The error line of a purify that must fail and write nothing."""
    before = sorted(Path().iterdir())
    said = run("purify", *args, "--out", "out.parquet", code=code).stderr
    assert sorted(Path().iterdir()) == before
    for part in (wanted,) if isinstance(wanted, str) else wanted:
        assert part in said, said
    return said


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("", ["header line"]),
        (HEADER, ["expected rows, got none"]),
        (csv_text({3: "3,0.5,a"}), ["4 cells", "got 3 in row 3 (line 5)"]),
        (csv_text({3: "3,0.5,1,a,b"}), ["got 5 in row 3 (line 5)"]),
        (csv_text({4: "4,abc,1,a"}), ["column 'e0'", "'abc' in row 4 (line 6)"]),
        (csv_text({4: "4,1_000,1,a"}), ["column 'e0'", "'1_000' in row 4 (line 6)"]),
        (csv_text({4: "4,,1,a"}), ["column 'e0'", "'' in row 4 (line 6)"]),
        (csv_text({4: "4,nan,1,a"}), ["NaN or infinity in row 4"]),
        (csv_text({4: '4,1,1,"a'}), ["quotes", "after line 5"]),
        (csv_text({4: '4,1,1,"a"b'}), ["quotes", "after line 5"]),
        (csv_text({4: "3,1,1,a"}), ["--id: expected ids that differ", "rows 3 and 4"]),
        (csv_text({4: ",1,1,a"}), ["--id: expected an id in each row", "row 4"]),
        (csv_text(header="id,e0,e0,label\n"), ["name of its own", "e0"]),
        (csv_text(header="id;e0;e1;label\n"), ["separated by ','", "';'"]),
        (csv_text(header="id,e0,e1,class\n"), ["--labels", "[id, e0, e1, class]", "'label'"]),
        (csv_text(header="id,e0,e1,label\n").replace(",a", ",").replace(",b", ","), ["--labels"]),
    ],
)
def test_csv(run, text, wanted):
    Path("in.csv").write_text(text)
    refused(run, "in.csv", "-l", "label", "-f", "e*", wanted=wanted)


def test_csv_in_another_encoding(run):
    Path("in.csv").write_bytes(csv_text({2: "2,1,1,é"}).encode("latin-1"))
    refused(run, "in.csv", "-l", "label", "-f", "e*", wanted="UTF-8")
    Path("in.csv").write_text(csv_text(), encoding="utf-16")
    refused(run, "in.csv", "-l", "label", "-f", "e*", wanted="UTF-8")


def test_csv_vectors(run):
    def text(cells):
        rows = [f'"{c}",{"ab"[i % 2]}' for i, c in enumerate(cells)]
        return "embedding,label\n" + "\n".join(rows) + "\n"

    good = ["[1, 2]", "[2, 1]"] * 5
    for bad, wanted in {
        "[1, 2, 3]": ["2 numbers in column 'embedding'", "got 3 of them in row 3 (line 5)"],
        "[1_0, 2]": ["'[1_0, 2]' in row 3 (line 5)"],
        "[1, x]": ["'[1, x]' in row 3 (line 5)"],
        "[0.1 0.2 ... 0.4]": ["row 3 (line 5)"],
        "": ["'' in row 3 (line 5)"],
    }.items():
        Path("in.csv").write_text(text([*good[:3], bad, *good[3:]]))
        refused(run, "in.csv", "-l", "label", wanted=wanted)
    Path("in.csv").write_text(text(good).replace("embedding", "e"))
    refused(run, "in.csv", "-l", "label", "-f", "vec*", wanted=["--features", "'vec*'"])
    Path("in.csv").write_text("a,label\n1,b\n")
    refused(run, "in.csv", "-l", "label", wanted=["--features", "one column of lists"])


@pytest.mark.parametrize(
    "column, wanted",
    [
        (pa.array([[1.0, 2.0]] * 4 + [None] * 7), ["null in rows 4, 5, 6, 7, 8, ... (7 in all)"]),
        (pa.array([[1.0, 2.0]] * 9 + [[1.0, None]] * 2), ["null values in rows 9, 10"]),
        (pa.array([[1.0, 2.0]] * 9 + [[1.0], [2.0, 3.0]]), ["1 in row 9"]),
        (pa.array([["a", "b"]] * 11), ["lists of numbers in column 'embedding'"]),
        (pa.array([[float("nan"), 2.0]] * 11), ["NaN or infinity in rows 0, 1"]),
        (pa.array([None] * 11), ["column 'embedding'"]),
        (pa.array([1.0, None] + [2.0] * 9), ["column 'embedding', got nothing in row 1"]),
    ],
)
def test_parquet(run, column, wanted):
    pq.write_table(pa.table({"embedding": column, "label": ["a", "b"] * 5 + ["a"]}), "in.parquet")
    refused(run, "in.parquet", "-l", "label", wanted=wanted)


def test_broken_parquet(run, noisy):
    pq.write_table(pa.table({"embedding": noisy.X.tolist(), "label": noisy.y}), "in.parquet")
    content = Path("in.parquet").read_bytes()
    for broken in (content[:-100], content[: len(content) // 2], b"", b"PAR1", b"x" * 1000):
        Path("in.parquet").write_bytes(broken)
        refused(run, "in.parquet", "-l", "label", wanted="expected a whole Parquet file")


def test_parquet_that_blows_up(run):
    zeros = pa.array(np.zeros(5_000_000), type=pa.float64())
    pq.write_table(
        pa.table({"e0": zeros, "label": pa.array(np.arange(5_000_000) % 2)}), "z.parquet"
    )
    refused(run, "z.parquet", "-l", "label", "--max-bytes", 10_000_000, wanted="--max-bytes")
    # The file holds one string, and the table 400 of them.
    long = pa.array(["a" * 300_000] * 400)
    columns = {"e0": np.arange(400.0), "label": np.arange(400) % 2, "text": long}
    columns["texts"] = pa.array([["b" * 300_000]] * 400)
    for name in ("text", "texts"):
        table = pa.table(columns).drop_columns([name])
        pq.write_table(table, "z.parquet")
        args = ("z.parquet", "-l", "label", "-f", "e0", "--max-bytes", 10_000_000)
        refused(run, *args, wanted=["z.parquet: expected at most 10000000 bytes", "--max-bytes"])


def test_broken_npy(run, noisy):
    np.save("y.npy", noisy.y)
    np.save("X.npy", noisy.X)
    content = Path("X.npy").read_bytes()
    cut = content.replace(b")", b" ")
    for broken in (content[:-1], content[:60], content[:5], b"", b"\x93NUMPY" + b"\xff" * 200, cut):
        Path("X.npy").write_bytes(broken)
        refused(run, "X.npy", "-l", "y.npy", wanted="X.npy: expected a whole .npy file")
    np.save("X.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    refused(run, "X.npy", "-l", "y.npy", wanted="got objects")
    np.save("X.npy", noisy.X[:, 0])
    refused(run, "X.npy", "-l", "y.npy", wanted="shape (240,)")
    np.save("X.npy", noisy.X[:100])
    refused(run, "X.npy", "-l", "y.npy", wanted=["--labels", "100 rows", "got 240"])
    np.save("X.npy", noisy.X)
    np.save("y.npy", noisy.y.astype(object), allow_pickle=True)
    refused(run, "X.npy", "-l", "y.npy", wanted=["y.npy", "got objects", "dtype=str"])


def test_headers_of_npy_are_short(run, noisy):
    """Of version 2 and 3 a header says its own length, up to 4 GiB."""
    np.save("y.npy", noisy.y)
    for version in (b"\x02\x00", b"\x03\x00"):
        head = b"\x93NUMPY" + version + (50_000_000).to_bytes(4, "little")
        content = head + b" " * 50_000_000
        with zipfile.ZipFile("X.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("X.npy", content)
        Path("X.npy").write_bytes(content)
        for name in ("X.npz", "X.npy"):
            refused(run, name, "-l", "y.npy", wanted=f"{name}: expected a whole")
    for version in ((2, 0), (3, 0)):
        with open("X.npy", "wb") as stream:
            np.lib.format.write_array(stream, noisy.X, version=version)
        run("audit", "X.npy", "-l", "y.npy", "-c", "gmm")


def bomb(shape, content=b""):
    """An archive whose array says that it has this shape."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", head.getvalue() + content)


def test_npz_bombs_are_refused_before_they_are_read(run):
    bomb((1 << 40, 1 << 20))
    refused(run, "bomb.npz", "-l", "y", wanted=["bomb.npz: expected at most", "--max-bytes"])
    bomb((1 << 62, 1 << 62))
    refused(run, "bomb.npz", "-l", "y", wanted="--max-bytes")
    bomb((10, 2), b"\0" * 50_000_000)
    assert Path("bomb.npz").stat().st_size < 100_000
    refused(run, "bomb.npz", "--max-bytes", 1_000_000, "-l", "y", wanted="got 50000")
    bomb((100_000, 2), b"\0" * 100)
    refused(run, "bomb.npz", "-l", "y", wanted="expected a whole .npz file")


def test_broken_npz(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    content = bytearray(Path("d.npz").read_bytes())
    for broken in (content[:-50], content[:100], b"", b"PK\x03\x04" + b"x" * 500):
        Path("d.npz").write_bytes(broken)
        refused(run, "d.npz", wanted="expected a whole .npz file")
    content[500] ^= 255
    Path("d.npz").write_bytes(content)
    refused(run, "d.npz", wanted="expected a whole .npz file")
    np.savez_compressed("d.npz", X=noisy.X, y=noisy.y)
    content = Path("d.npz").read_bytes()
    Path("d.npz").write_bytes(content[:100] + b"\xff" * 200 + content[300:])
    refused(run, "d.npz", wanted="expected a whole .npz file")
    np.savez("d.npz", X=noisy.X, y=noisy.y.astype(object))
    for labels in (["-l", "y"], []):
        refused(run, "d.npz", *labels, wanted="got objects in 'y'")
    np.savez("d.npz", X=noisy.X, y=noisy.y[:7])
    refused(run, "d.npz", "-l", "y", wanted=["240 rows in 'y'", "(7,)"])
    np.savez("d.npz", a=noisy.X, b=noisy.X, y=noisy.y)
    refused(run, "d.npz", wanted=["--features", "[a, b, y]"])


def test_labels(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y, s=noisy.codes / 2, one=np.zeros(240, int))
    refused(run, "d.npz", "-l", "none", wanted=["--labels", "'none'"])
    refused(run, "d.npz", "-l", "one", wanted=["at least two classes", "got 0 alone in 240 rows"])
    np.savez("ids.npz", X=noisy.X, row=np.arange(240), price=np.arange(240) / 7)
    for name in ("row", "price"):
        refused(run, "ids.npz", "-l", name, wanted=["--labels", "few classes, got 240 in 240 rows"])
    said = refused(run, "d.npz", "--classes", "cat,dog", wanted="--labels")
    assert "'eel' in row" in said and "[cat, dog]" in said
    refused(run, "d.npz", "--classes", "cat,,dog", code=2, wanted="--classes")
    refused(run, "d.npz", "--classes", "cat,cat", code=2, wanted="--classes")
    refused(run, "d.npz", "-l", "one", "--classes", "cat", wanted="--classes")
    refused(run, "d.npz", "--trusted", "y", wanted=["--trusted", "'cat' in row"])
    np.save("X.npy", noisy.X)
    refused(run, "X.npy", wanted="--labels")
    said = refused(run, "X.npy", "-l", "y", wanted=["--labels: expected a file", "'y'"])
    assert "[]" not in said


def test_names_that_clash(run, noisy):
    table = pa.table({"embedding": noisy.X.tolist(), "label": noisy.y, "status": noisy.y})
    pq.write_table(table, "in.parquet")
    refused(run, "in.parquet", "-l", "label", wanted=["[status]", "--prefix"])
    run("purify", "in.parquet", "-l", "label", "--prefix", "sk_", "-o", "o.csv", "-c", "gmm")
    assert Path("o.csv").read_text().splitlines()[0].count("sk_") == 7


def test_usage(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    before = sorted(Path().iterdir())
    for args, wanted in {
        ("purify", "d.npz"): "--out",
        ("purify",): "DATA",
        ("purify", "d.npz", "--out", "o.csv", "--cleaner", "soap"): "soap",
        ("purify", "d.npz", "--out", "o.csv", "--threshold", "2"): "'--threshold': expected f1",
        ("purify", "d.npz", "--out", "o.csv", "--threshold", "f2"): "--threshold",
        ("purify", "d.npz", "--out", "o.csv", "-c", "gmm", "--threshold", "f1"): "transition",
        (
            "purify",
            "d.npz",
            "--out",
            "o.csv",
            "-c",
            "ranking",
            "--threshold",
            ".5",
        ): "--cleaner ranking",
        ("purify", "d.npz", "--out", "o.xlsx"): "--out: expected a file that ends in",
        ("purify", "d.npz", "--out", "o.csv", "--report", "r.pdf"): "--report",
        ("purify", "d.npz", "--out", "a.npz", "--save-model", "a.npz"): "a file of its own",
        ("purify", "d.npz", "--out", "d.npz", "--force"): "an input",
        ("soap",): "soap",
    }.items():
        assert wanted in run(*args, code=2).stderr
    assert sorted(Path().iterdir()) == before
    np.save("X.npy", noisy.X)
    np.save("y.npy", noisy.y)
    for option in (("--features", "e"), ("--embed", "moco"), ("--image-size", "7")):
        refused(run, "X.npy", "-l", "y.npy", *option, code=2, wanted=option[0])
    refused(run, "nothing.npy", wanted="nothing.npy, which is not there")
    Path("x.json").write_text("{}")
    refused(run, "x.json", wanted="DATA: expected .npy")
    Path("folder").mkdir()
    refused(run, "folder", wanted="expected images")
    Path("folder/a.png").write_bytes(b"")
    refused(run, "folder", wanted=["expected a folder for each class", str(Path().absolute())])
    Path("folder", os.fsdecode(b"\xe9.png")).write_bytes(b"")
    refused(run, "folder", wanted="expected names of files in UTF-8")
    said = run("purify", "d.npz", "--out", "no/o.csv", code=1).stderr
    assert "--out: expected a folder that exists" in said
    pytest.importorskip("torch")
    refused(run, "d.npz", "--device", "cuda:99", wanted=["--device", "skclean info"])


def test_arrays_of_more_axes_are_images_only_where_they_can_be(run, noisy):
    np.save("y.npy", noisy.y)
    for shape in ((240, 4, 96), (240, 3, 4, 4), (240, 96, 4, 3)):
        np.save("X.npy", np.zeros(shape, np.float32))
        wanted = ["at least 8 × 8 pixels", f"got shape {shape}", "X.reshape(240, -1)"]
        refused(run, "X.npy", "-l", "y.npy", wanted=wanted)
    np.save("X.npy", np.zeros((1200, 8, 9), np.float32))
    said = refused(run, "X.npy", "-l", "y.npy", wanted="got 240 in y.npy")
    assert said.startswith("skclean: X.npy: read as 1,200 grey images of 8 × 9 pixels\n")


def test_a_traceback_only_where_it_is_wanted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["purify", "no.npy", "--out", "o.csv"]
    assert skclean.cli.main([*command, "--quiet"]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.out == ""
    with pytest.raises(ValueError, match=r"no\.npy"):
        skclean.cli.main([*command, "--traceback"])
