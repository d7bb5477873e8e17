"""Files that are cut, altered or odd: a result, or one line that says why and no output."""

import csv
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
arrow_csv = pytest.importorskip("pyarrow.csv")
pq = pytest.importorskip("pyarrow.parquet")

import skclean  # noqa: E402

N = 30
Y = np.arange(N) % 3
X = (4 * np.eye(3, 4)[Y] + np.random.default_rng(0).standard_normal((N, 4))).astype(np.float32)
WORDS = np.array(["cat", "dog", 'e,"el'])[Y]
FAST = ("-c", "gmm", "--max-bytes", "20000000")


def as_bytes(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def tables():
    lists = pa.array(X.tolist(), type=pa.list_(pa.float32()))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
    ids = pa.array([f"k{i}" for i in range(N)])
    words = pa.array(WORDS)
    named = {f"e{j}": X[:, j] for j in range(4)}
    return {
        "lists": pa.table({"id": ids, "embedding": lists, "label": words}),
        "fixed": pa.table({"embedding": fixed, "label": words.dictionary_encode()}),
        "columns": pa.table({"id": ids, **named, "label": pa.array(Y)}),
    }


def sources():
    """Whole files by name: the bytes, and the options of their command; LABELS is another file."""
    files = {}
    for name, table in tables().items():
        options = ["-l", "label", *(["-f", "e*"] if name == "columns" else [])]
        for packed in ("snappy", "none", "zstd"):
            content = as_bytes(lambda s, t=table, p=packed: pq.write_table(t, s, compression=p))
            files[f"{name}-{packed}.parquet"] = content, options
    columns = tables()["columns"]
    text = as_bytes(lambda s: arrow_csv.write_csv(columns, s))
    files["columns.csv"] = text, ["-l", "label", "-f", "e*"]
    files["columns.tsv"] = text.replace(b",", b"\t"), ["-l", "label", "-f", "e*"]
    rows = "\n".join(f'"{row}",{word}' for row, word in zip(X.tolist(), Y, strict=True))
    files["vectors.csv"] = f"embedding,label\n{rows}\n".encode(), ["-l", "label"]
    files["features.npy"] = as_bytes(lambda s: np.save(s, X)), ["-l", "LABELS"]
    files["stored.npz"] = as_bytes(lambda s: np.savez(s, X=X, y=WORDS)), []
    files["packed.npz"] = as_bytes(lambda s: np.savez_compressed(s, X=X, y=WORDS)), []
    return files


SOURCES = sources()
LABELS = {
    "npy": as_bytes(lambda s: np.save(s, WORDS)),
    "csv": ("y\n" + "\n".join(map(str, Y))).encode(),
    "txt": "\n".join(map(str, Y)).encode(),
}


def altered(content, rng):
    """The bytes with some fault, more often at the ends, where formats keep their heads."""
    content, n = bytearray(content), len(content)
    for _ in range(rng.integers(1, 4)):
        head, tail = rng.integers(0, min(n, 150)), n - 1 - rng.integers(0, min(n, 300))
        place = int(rng.choice([head, tail, rng.integers(0, n)]))
        length = int(rng.choice([1, 2, 4, 8, 40]))
        kind = rng.integers(8)
        if kind < 3:
            content[place : place + 1] = bytes(
                [content[min(place, len(content) - 1)] ^ (1 << kind)]
            )
        elif kind == 3:
            del content[place : place + length]
        elif kind == 4:
            content[place : place + length] = rng.bytes(length)
        elif kind == 5:
            content[place : place + length] = rng.choice([b"\0", b"\xff", b'"', b"9"]) * length
        elif kind == 6:
            content[place:place] = content[place : place + length]
        else:
            del content[place:]
        if not content:
            return b""
    return bytes(content)


def run_all(forks, folder, commands, memory=2_000_000_000):
    """Results of many commands; one that takes the process with it is named."""
    listing = folder / "listing.json"
    listing.write_text(json.dumps([[str(arg) for arg in args] for args in commands]))
    end = forks.run("cli_each", listing, memory, folder=folder)
    results = [json.loads(line) for line in end.said.splitlines() if line.startswith("[")]
    assert len(results) == len(commands), (end.code, commands[len(results)], end.said[-2000:])
    assert end.code == 0, end
    return results


def check(result, args, out, n=N):
    """True for a whole output, False for an error of one line without any."""
    code, printed, said = result
    assert code in (0, 1, 2), (args, result)
    assert "Traceback" not in said and "unexpected " not in said.split(" got ")[0], (args, result)
    if code == 0:
        found = pq.read_table(out)
        assert n is None or found.num_rows == n, (args, result)
        assert found["given_label"].null_count < found.num_rows
        out.unlink()
        return True
    last = said.strip().splitlines()[-1]
    assert not out.exists() and printed == "", (args, result)
    assert last.startswith("skclean: error: ") and len(last) < 2000, (args, result)
    assert "xpected" in last or "[Errno " in last, (args, result)
    return False


def tried(forks, folder, inputs, record_property, n=N):
    """Purify files of name, content and options; counts of those that came to a result."""
    commands, outs = [], []
    for i, (name, content, options) in enumerate(inputs):
        path, out = folder / f"{i}-{name}", folder / f"{i}.out.parquet"
        path.write_bytes(content)
        commands.append(["purify", path, *options, *FAST, "-o", out])
        outs.append(out)
    results = run_all(forks, folder, commands)
    good = sum(check(r, c, o, n) for r, c, o in zip(results, commands, outs, strict=True))
    # Nothing else is written: the inputs, the listing, files of labels.
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    record_property("results", good)
    for path in folder.glob("[0-9]*-*"):
        path.unlink()
    return good


@pytest.mark.parametrize("name", SOURCES)
def test_altered_data(forks, tmp_path, rng, rounds, name, record_property):
    content, options = SOURCES[name]
    np.save(tmp_path / "labels.npy", WORDS)
    options = [str(tmp_path / "labels.npy") if o == "LABELS" else o for o in options]
    inputs = [(name, altered(content, rng), options) for _ in rounds(12)]
    # The number of rows may be another where a line is lost.
    tried(forks, tmp_path, [(name, content, options), *inputs], record_property, n=None)


@pytest.mark.parametrize("suffix", LABELS)
def test_altered_labels(forks, tmp_path, rng, rounds, suffix, record_property):
    content = SOURCES["features.npy"][0]
    inputs = []
    for i in rounds(10, 0.2):
        path = tmp_path / f"labels{i}.{suffix}"
        path.write_bytes(altered(LABELS[suffix], rng))
        inputs.append(("X.npy", content, ["-l", str(path)]))
    tried(forks, tmp_path, inputs, record_property)


NASTY = [
    "",
    " ",
    "a",
    "1",
    "-0",
    "nan",
    "None",
    "null",
    '"',
    '""',
    ",",
    "a,b",
    "\t",
    "a\nb",
    "\r\n",
]
NASTY += [
    "\r",
    "é漢\U0001f600",
    "=1+1",
    "\ufeff",
    "\u2028",
    "'",
    "\\",
    "\x00",
    "\x1b[0m",
    "x" * 200_000,
]


def test_odd_cells_come_back_as_they_were(forks, tmp_path, rng, rounds):
    """CSV as Python writes it, with any cells in an unused column: all of them in the output."""
    commands, outs, cells = [], [], []
    for i in rounds(12, 0.2):
        odd = [str(rng.choice(NASTY)) * int(rng.integers(1, 3)) for _ in range(N)]
        path, out = tmp_path / f"{i}.csv", tmp_path / f"{i}.parquet"
        bom, end = rng.choice(["utf-8", "utf-8-sig"]), rng.choice(["\n", "\r\n"])
        # With line ends of "\n", Python does not always quote "\r".
        some = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
        quoting = int(rng.choice([some, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
        with open(path, "w", encoding=str(bom), newline="") as stream:
            writer = csv.writer(stream, lineterminator=str(end), quoting=quoting)
            writer.writerow(["odd", "e0", "e1", "label"])
            writer.writerows(zip(odd, X[:, 0].tolist(), X[:, 1].tolist(), WORDS, strict=True))
        commands.append(["purify", path, "-l", "label", "-f", "e*", *FAST, "-o", out])
        outs.append(out)
        cells.append(odd)
    for result, args, out, odd in zip(
        run_all(forks, tmp_path, commands), commands, outs, cells, strict=True
    ):
        if result[0] == 0:
            found = pq.read_table(out)
            assert found["odd"].to_pylist() == odd
            assert found["given_label"].to_pylist() == WORDS.tolist()
        check(result, args, out)


def test_parquet_of_any_types(forks, tmp_path, rng, rounds, record_property):
    """Nulls, nested and empty columns in any role."""
    kinds = {
        "list": lambda: pa.array(X.tolist(), type=pa.list_(pa.float32())),
        "nulls": lambda: pa.array([None if i == 3 else v for i, v in enumerate(X.tolist())]),
        "all null": lambda: pa.nulls(N),
        "inner nulls": lambda: pa.array([[1.0, None]] * N),
        "empty lists": lambda: pa.array([[]] * N, type=pa.list_(pa.float64())),
        "large list": lambda: pa.array(X.tolist(), type=pa.large_list(pa.float64())),
        "lists of lists": lambda: pa.array([[[1.0], [2.0]]] * N),
        "structs": lambda: pa.array([{"a": 1, "b": [2]}] * N),
        "strings": lambda: pa.array(WORDS),
        "some strings": lambda: pa.array([None if i % 5 == 0 else w for i, w in enumerate(WORDS)]),
        "dictionary": lambda: pa.array(WORDS).dictionary_encode(),
        "integers": lambda: pa.array(Y),
        "some integers": lambda: pa.array(
            [None if i % 4 == 0 else int(v) for i, v in enumerate(Y)]
        ),
        "booleans": lambda: pa.array(Y == 1),
        "floats": lambda: pa.array(X[:, 0]),
        "halves": lambda: pa.array(X[:, 0].astype(np.float16)),
        "whole floats": lambda: pa.array(Y.astype(float)),
        "dates": lambda: pa.array(Y.astype("datetime64[D]")),
        "binary": lambda: pa.array([w.encode() for w in WORDS]),
        "decimals": lambda: pa.array([f"{v}.5" for v in Y]).cast(pa.decimal128(5, 1)),
        "numbers of rows": lambda: pa.array(np.arange(N)),
        "time": lambda: pa.array(np.arange(N), type=pa.duration("s")),
        "unsigned": lambda: pa.array(np.arange(N, dtype=np.uint64) + 2**63),
        "maps": lambda: pa.array([[("a", 1)]] * N, type=pa.map_(pa.string(), pa.int64())),
    }
    roles = (("-f", 1.0), ("-l", 1.0), ("--id", 0.2), ("--trusted", 0.2), ("--groups", 0.2))
    inputs = []
    for _ in rounds(50, 0.5):
        names = [str(kind) for kind in rng.choice(list(kinds), 6)]
        names[0] = str(rng.choice(["list", "large list", names[0]]))
        table = pa.table([kinds[name]() for name in names], names=[f"c{i}" for i in range(6)])
        named = [(o, f"c{i}") for i, (o, share) in enumerate(roles) if rng.random() < share]
        options = [part for pair in named for part in pair]
        if rng.random() < 0.3:
            options += ["--text", "c5"]
        stream = io.BytesIO()
        pq.write_table(table, stream)
        inputs.append((f"{'-'.join(names)}.parquet", stream.getvalue(), options))
    assert tried(forks, tmp_path, inputs, record_property)


def npz_with(**members):
    """An archive whose arrays have these bytes behind a head of their own."""

    def write(stream):
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, (shape, dtype, content) in members.items():
                head = io.BytesIO()
                about = {"descr": dtype, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(head, about)
                archive.writestr(f"{name}.npy", head.getvalue() + content)

    return as_bytes(write)


def test_bombs(forks, tmp_path):
    """Small files that would fill the memory, of which there are 300 MB."""
    zeros = b"\0" * 40_000_000
    labels = ((N,), "<i8", Y.astype("<i8").tobytes())
    wide = pa.table({"embedding": pa.array([[0.0] * 4] * 1_500_000), "label": [1, 2, 3] * 500_000})
    dictionary = pa.table({"e": pa.array(["x" * 1000] * 100_000), "label": ["a", "b"] * 50_000})
    bombs = {
        "said.npz": npz_with(X=((1 << 35, 4), "<f4", b""), y=labels),
        "true.npz": npz_with(X=((10_000_000, 1), "<f4", zeros), y=labels),
        "lies.npz": npz_with(X=((N, 4), "<f4", zeros), y=labels),
        "beside.npz": npz_with(X=((N, 4), "<f4", X.tobytes()), y=((N,), "<U1000000", zeros)),
        "negative.npz": npz_with(X=((-1, 4), "<f4", X.tobytes()), y=labels),
        "lists.parquet": as_bytes(lambda s: pq.write_table(wide, s, compression="zstd")),
        "words.parquet": as_bytes(lambda s: pq.write_table(dictionary, s, compression="zstd")),
        "large.csv": b"e0,e1,label\n" + b"1,2,a\n" * 4_000_000,
    }
    commands = []
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
        options = [] if name.endswith("npz") else ["-l", "label", "-f", "e*"]
        commands.append(["purify", tmp_path / name, *options, *FAST, "-o", tmp_path / "o.parquet"])
    # A terabyte that takes no room on the disk.
    np.save(tmp_path / "y.npy", Y)
    with (tmp_path / "sparse.npy").open("wb") as stream:
        about = {"descr": "<f4", "fortran_order": False, "shape": (1 << 36, 4)}
        np.lib.format.write_array_header_1_0(stream, about)
        stream.truncate(stream.tell() + (1 << 40))
    out = ["-o", tmp_path / "o.parquet"]
    commands.append(["purify", tmp_path / "sparse.npy", "-l", tmp_path / "y.npy", *FAST, *out])
    for result, args in zip(
        run_all(forks, tmp_path, commands, memory=300_000_000), commands, strict=True
    ):
        assert not check(result, args, tmp_path / "o.parquet"), args


def png(width, height, content):
    """A PNG file of these bytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(content)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def test_folders_of_broken_images(forks, tmp_path, rng, rounds):
    """Broken images are unknown rows; the others are purified."""
    for name in ("torch", "PIL"):
        pytest.importorskip(name)
    commands, broken = [], []
    for i in rounds(1, 0.01):
        folder = tmp_path / f"images{i}"
        for row in range(N):
            pixels = np.full((8, 9), 0, dtype=np.uint8)
            pixels[:, 1:] = rng.integers(0, 60, (8, 8)) + 90 * (row % 2)
            whole = png(8, 8, pixels.tobytes())
            faults = [b"", b"no image", whole[: len(whole) // 2], altered(whole, rng)]
            faults += [png(60_000, 60_000, b"\0" * 1000), png(8, 8, b"\0"), png(0, 0, b"")]
            place = folder / "ab"[row % 2] / f"{row:02}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(whole if row >= 8 else faults[int(rng.integers(7))])
        commands.append(["purify", folder, *FAST, "-o", tmp_path / f"{i}.parquet"])
        broken.append({f"{'ab'[row % 2]}/{row:02}.png" for row in range(8)})
    for result, args, ids in zip(
        run_all(forks, tmp_path, commands, memory=4_000_000_000), commands, broken, strict=True
    ):
        assert result[0] == 0, result
        found = pq.read_table(args[-1]).to_pylist()
        lost = {row["id"] for row in found if row["reason"] == "the input could not be read"}
        assert lost <= ids and len(found) == N
        assert all(row["status"] == "unknown" for row in found if row["id"] in lost)


def test_altered_models_and_decisions(forks, tmp_path, rng, rounds, record_property):
    np.savez(tmp_path / "d.npz", X=X, y=WORDS)
    outputs = ["-o", tmp_path / "t.parquet", "--save-model", tmp_path / "m"]
    (made,) = run_all(forks, tmp_path, [["purify", tmp_path / "d.npz", *FAST, *outputs]])
    assert made[0] == 0, made
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["id", "given_label", "suggested_label", "decision", "label"])
    for row in rows[::3]:
        given, offered = row["given_label"], row["purified_label"] or row["given_label"]
        writer.writerow([row["id"], given, offered, "accept", offered])
    model, table = (tmp_path / "m").read_bytes(), (tmp_path / "t.parquet").read_bytes()
    decisions = stream.getvalue().encode()
    commands = []
    for i in rounds(12, 0.5):
        names = [tmp_path / f"{i}.{kind}" for kind in ("skclean", "parquet", "csv")]
        whole = int(rng.integers(2))
        contents = model, table if whole else altered(table, rng), altered(decisions, rng)
        for path, content in zip(names, contents, strict=True):
            path.write_bytes(altered(content, rng) if path.suffix == ".skclean" else content)
        out = tmp_path / f"{i}.out.parquet"
        commands.append(["apply", names[0], tmp_path / "d.npz", "-o", out])
        commands.append(["apply-decisions", names[1], names[2], "-o", Path(f"{out}.parquet")])
    results = run_all(forks, tmp_path, commands)
    good = sum(
        check(result, args, args[-1], None) for result, args in zip(results, commands, strict=True)
    )
    record_property("results", good)
    assert not any(result[0] == 0 for result, args in zip(results, commands) if args[0] == "apply")
    assert skclean.load(tmp_path / "m").classes_.tolist() == sorted(set(WORDS))
