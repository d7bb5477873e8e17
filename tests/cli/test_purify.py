import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
arrow_csv = pytest.importorskip("pyarrow.csv")

import skclean  # noqa: E402

FAST = ("--cleaner", "transition")
ADDED = [
    "given_label",
    "purified_label",
    "label_proba",
    "clean_proba",
    "status",
    "reason",
    "suggested_action",
]


def as_list(noisy):
    """The data as a table with an embedding column between others."""
    return pa.table(
        {
            "key": [f"k{i:03d}" for i in range(len(noisy.X))],
            "embedding": pa.array(noisy.X.tolist(), type=pa.list_(pa.float32())),
            "text": [f'row, with a comma and a "quote" {i}' for i in range(len(noisy.X))],
            "label": noisy.y,
            "price": pa.array([None, 1.5] * (len(noisy.X) // 2)),
        }
    )


def check(table, noisy, X=None):
    """What the table says agrees with the library, in the order of the rows."""
    X = noisy.X if X is None else X
    samples = skclean.TransitionCleaner().fit_transform(X, noisy.y)
    assert table["given_label"].to_pylist() == noisy.y.tolist()
    assert table["status"].to_pylist() == samples.status.tolist()
    known = samples.known
    purified = np.array(table["purified_label"].to_pylist(), dtype=object)
    assert (purified[known] == samples.labels[known]).all()
    assert all(label is None for label in purified[~known])
    np.testing.assert_allclose(table["clean_proba"].to_numpy(), samples.clean_proba)
    assert np.mean(purified == noisy.truth) > np.mean(noisy.y == noisy.truth) + 0.1
    assert set(table["suggested_action"].to_pylist()) <= {"keep", "relabel", "review"}


def test_parquet_keeps_rows_ids_and_columns(run, noisy):
    table = as_list(noisy)
    pq.write_table(table, "in.parquet")
    result = run(
        *("purify", "in.parquet", *FAST, "--labels", "label", "--id", "key", "--text", "text"),
        *("--out", "out.parquet", "--report", "r.html", "--save-model", "m.skclean", "--json"),
    )
    assert result.stderr == ""
    found = pq.read_table("out.parquet")
    assert found.column_names == table.column_names + ADDED
    for name in table.column_names:
        assert found[name].equals(table[name])
    check(found, noisy)
    assert result.json["rows"] == 240 and result.json["classes"] == ["cat", "dog", "eel"]
    assert sum(result.json["status"].values()) == 240
    assert result.json["audit"]["n_labels"] == 240
    assert result.json["outputs"] == {
        "out": "out.parquet",
        "report": "r.html",
        "model": "m.skclean",
    }
    page = open("r.html", encoding="utf-8").read()
    assert "k00" in page and "with a comma" in page


def test_csv_in_and_out(run, noisy):
    names = [f"emb_{j}" for j in range(5)]
    columns = {"id": [f"{i:04d}" for i in range(240)], "label": noisy.y}
    columns |= {name: noisy.X[:, j].astype(np.float64) for j, name in enumerate(names)}
    arrow_csv.write_csv(pa.table(columns), "in.csv")
    with open("in.csv", "rb") as stream:
        content = stream.read()
    with open("in.csv", "wb") as stream:
        stream.write(b"\xef\xbb\xbf" + content)
    run("purify", "in.csv", *FAST, "-l", "label", "-f", "emb_*", "-o", "out.csv")
    text = dict.fromkeys(["id", *names], pa.string())
    found = arrow_csv.read_csv(
        "out.csv", convert_options=arrow_csv.ConvertOptions(column_types=text)
    )
    assert found.column_names == [*columns, *ADDED]
    assert found["id"].to_pylist() == columns["id"]
    assert found["emb_3"].to_pylist() == [repr(v) for v in columns["emb_3"].tolist()]
    run("purify", "in.csv", *FAST, "-l", "label", "-f", ",".join(names), "-o", "out.parquet")
    check(pq.read_table("out.parquet"), noisy, noisy.X.astype(np.float64))


def test_csv_with_vectors_as_text(run, noisy):
    styles = [lambda v: str(v), lambda v: " ".join(map(str, v)), lambda v: str(np.array(v))]
    vectors = [styles[i % 3](row) for i, row in enumerate(noisy.X.astype(float).tolist())]
    table = pa.table({"text": ["hi there"] * 240, "embedding": vectors, "label": noisy.y})
    arrow_csv.write_csv(table, "in.csv")
    run("purify", "in.csv", *FAST, "--labels", "label", "--text", "text", "--out", "out.parquet")
    found = pq.read_table("out.parquet")
    assert found["id"].to_pylist() == list(range(240))
    assert found["embedding"].to_pylist() == vectors


@pytest.mark.parametrize("kind", ["npy", "csv", "txt"])
def test_npy_with_labels_of_a_file(run, noisy, kind):
    np.save("X.npy", noisy.X)
    if kind == "npy":
        np.save("y.npy", noisy.y)
    elif kind == "csv":
        arrow_csv.write_csv(pa.table({"y": noisy.y}), "y.csv")
    else:
        open("y.txt", "w").write("\n".join(noisy.y))
    run("purify", "X.npy", *FAST, "--labels", f"y.{kind}", "--out", "out.parquet", "--quiet")
    found = pq.read_table("out.parquet")
    assert found.column_names == ["id", *ADDED]
    check(found, noisy)


def test_npz_in_and_out(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.codes, weight=np.arange(240.0), notes=np.ones((3, 2)))
    result = run("purify", "d.npz", *FAST, "--out", "out.npz")
    assert "notes not carried over" in result.stderr
    with np.load("out.npz", allow_pickle=False) as found:
        assert list(found) == ["id", "y", "weight", *ADDED]
        assert found["purified_label"].dtype == np.int64
        np.testing.assert_array_equal(found["given_label"], noisy.codes)
        np.testing.assert_array_equal(found["weight"], np.arange(240.0))
    np.savez("other.npz", e=noisy.X, labels=noisy.y)
    run("purify", "other.npz", *FAST, "--features", "e", "--labels", "labels", "--out", "o.parquet")
    check(pq.read_table("o.parquet"), noisy)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_labels_missing_in_a_csv_are_missing_in_what_is_made_of_it(run, noisy, kind):
    columns = {f"e{place}": column for place, column in enumerate(noisy.X.T)}
    labels = np.where(np.arange(240) < 20, "", noisy.y)
    arrow_csv.write_csv(pa.table({**columns, "label": labels}), "in.csv")
    run("purify", "in.csv", *FAST, "-f", "e*", "-l", "label", "-o", f"out.{kind}")
    if kind == "npz":
        with np.load("out.npz") as found:
            np.savez("both.npz", X=noisy.X, given=found["given_label"])
            np.save("given.npy", found["given_label"])
        np.save("X.npy", noisy.X)
        reads = [("both.npz", "-l", "given"), ("X.npy", "-l", "given.npy")]
    else:
        reads = [("out.parquet", "-f", "e*", "-l", name) for name in ("given_label", "label")]
    for read in reads:
        assert json.loads(run("audit", *read, *FAST, "--json").stdout)["n_labels"] == 220


def test_columns_of_any_name_and_type_in_npz(run, noisy, monkeypatch):
    table = as_list(noisy).rename_columns({"key": "file"})
    table = table.append_column("ok", pa.array([True, None] * 120))
    pq.write_table(table, "in.parquet")
    said = run("purify", "in.parquet", *FAST, "-l", "label", "-o", "out.npz", code=1).stderr
    assert "'embedding'" in said and ".parquet" in said
    with monkeypatch.context() as patched:
        # It is refused before any work.
        patched.setattr("skclean.cli._work.fit", pytest.fail)
        run("purify", "in.parquet", *FAST, "-l", "label", "-o", "out.npz", code=1)
    names = [f"e{j}" for j in range(5)]
    for j, name in enumerate(names):
        table = table.append_column(name, pa.array(noisy.X[:, j]))
    pq.write_table(table.drop_columns(["embedding"]), "in.parquet")
    run("purify", "in.parquet", *FAST, "-l", "label", "-f", "e?", "-o", "out.npz", "--id", "file")
    with np.load("out.npz", allow_pickle=False) as found:
        assert found["file"][1] == "k001" and found["ok"][1] == "" and np.isnan(found["price"][0])
        np.testing.assert_array_equal(found["e3"], noisy.X[:, 3])


def test_another_device(run, noisy):
    pytest.importorskip("torch")
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    run("purify", "d.npz", *FAST, "-o", "a.parquet", "--device", "cpu:0", "--report", "a.html")
    run("purify", "d.npz", *FAST, "-o", "b.parquet", "--device", "cpu", "--save-model", "b")
    a, b = pq.read_table("a.parquet"), pq.read_table("b.parquet")
    assert a["purified_label"].equals(b["purified_label"])


def test_cupy_where_it_is_there(run, noisy, monkeypatch):
    """The cleaner takes its features to the GPU, whatever torch finds; what is saved needs none."""
    asked = []

    def to_device(x, device, name):
        asked.append(device)
        return x

    monkeypatch.setattr("skclean.cli._cleaners.find_spec", lambda name: name in ("cupy", "torch"))
    monkeypatch.setattr("skclean.base.to_device", to_device)
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    run("purify", "d.npz", *FAST, "-o", "a.parquet", "--device", "cuda", "--save-model", "m")
    assert asked == ["cuda"] and skclean.load("m").device is None
    check(pq.read_table("a.parquet"), noisy)


def test_missing_labels_trusted_rows_and_groups(run, noisy):
    labels = noisy.y.tolist()
    labels[:3] = [None, "", "?"]
    table = as_list(noisy).drop_columns(["label"])
    trusted = [i % 10 == 5 for i in range(240)]
    table = table.append_column("label", pa.array(labels))
    table = table.append_column("trusted", pa.array(trusted))
    table = table.append_column("person", pa.array(np.arange(240) // 2))
    arrow_csv.write_csv(table.drop_columns(["embedding"]), "in.csv")
    np.save("X.npy", noisy.X)
    args = ("--missing-label", "?", "--trusted", "trusted", "--groups", "person", "-l", "label")
    pq.write_table(table, "in.parquet")
    run("purify", "in.parquet", *args, "--out", "out.parquet", "--cleaner", "transition")
    found = pq.read_table("out.parquet")
    given = found["given_label"].to_pylist()
    assert given[:3] == [None, None, None]
    assert [s == "trusted" for s in found["status"].to_pylist()] == trusted
    assert found["reason"].to_pylist()[0].startswith("no given label; ")


def test_whole_numbers_in_csv_are_numbers_and_others_stay_text(run, noisy):
    table = pa.table({"e": [str(row) for row in noisy.X.tolist()], "n": noisy.codes - 1})
    table = table.append_column("t", pa.array([f"{code:02d}" for code in noisy.codes]))
    arrow_csv.write_csv(table, "in.csv")
    result = run("purify", "in.csv", *FAST, "-f", "e", "-l", "n", "-o", "n.parquet", "--json")
    assert result.json["classes"] == [0, 1] and "read as missing labels" in result.stderr
    result = run("purify", "in.csv", *FAST, "-f", "e", "-l", "t", "-o", "t.parquet", "--json")
    assert result.json["classes"] == ["00", "01", "02"]
    result = run(
        *("purify", "in.csv", *FAST, "-f", "e", "-l", "n", "-o", "c.parquet", "--json"),
        *("--missing-label", "none", "--classes", "1, 0,-1,7"),
    )
    assert result.json["classes"] == [-1, 0, 1, 7]


@pytest.mark.parametrize(
    "factor, expected, listed",
    [(0.5, ["0.0", "0.5", "1.0"], "0,0.5,1"), (1.0, [0.0, 1.0, 2.0], "0,1,2.0")],
)
def test_float_labels_are_alike_in_any_file(run, noisy, factor, expected, listed):
    """Those that are not all whole are names, and a saved cleaner knows them again."""
    X, y = noisy.X.astype(float), noisy.codes * factor
    pq.write_table(pa.table({"e": X.tolist(), "y": y}), "in.parquet")
    # As pandas and Python write them: Arrow would write 0 for 0.0.
    rows = [f'"{list(x)}",{label}' for x, label in zip(X.tolist(), y.tolist(), strict=True)]
    Path("in.csv").write_text("\n".join(["e,y", *rows, ""]))
    np.savez("in.npz", X=X, y=y)
    args = ("-c", "gmm", "-l", "y", "--json", "--classes", listed)
    given = []
    for file in ("in.parquet", "in.csv", "in.npz"):
        features = ("-f", "X" if file == "in.npz" else "e")
        run("purify", file, *args, *features, "-o", f"{file}.parquet", "--save-model", f"m.{file}")
        run("apply", "m.in.parquet", file, *features, "-l", "y", "-o", f"{file}.a.parquet")
        given += [pq.read_table(f"{file}{end}.parquet")["given_label"] for end in ("", ".a")]
    assert given[0].unique().to_pylist() == [expected[code] for code in dict.fromkeys(noisy.codes)]
    assert all(column.equals(given[0]) for column in given)
    assert run("audit", "in.csv", *args[:5], "-f", "e").json["n_labels"] == 240


def test_tensors_in_parquet(run, noisy):
    if not hasattr(pa, "fixed_shape_tensor"):
        pytest.skip("an older pyarrow")
    kind = pa.fixed_shape_tensor(pa.float32(), [5])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(noisy.X.ravel()), 5)
    column = pa.ExtensionArray.from_storage(kind, storage)
    pq.write_table(pa.table({"e": column, "label": noisy.y}), "in.parquet")
    run("purify", "in.parquet", *FAST, "-l", "label", "-o", "out.parquet")
    check(pq.read_table("out.parquet"), noisy)


@pytest.mark.parametrize("rows", [60, 240])
def test_labels_that_nothing_tells_about_are_not_called_clean(run, rows):
    """Few rows of classes that overlap, and features that mean nothing."""
    rng = np.random.default_rng(0)
    codes = np.arange(rows) % 3
    X = (rows < 100) * np.eye(3, 5)[codes] + rng.standard_normal((rows, 5))
    np.savez("d.npz", X=X, y=codes)
    result = run("purify", "d.npz", "-o", "o.parquet")
    assert "left alone" in result.stdout and "look clean" not in result.stdout
    reasons = pq.read_table("o.parquet")["reason"].to_pylist()
    assert reasons[0] == "given 0 stays: nothing tells whether it is right"
    found = run("audit", "d.npz", "--json").json
    assert not found["looks_clean"] and not found["informative"]


@pytest.mark.parametrize(
    "cleaner", ["auto", "lsmp", "gmm", "reed", "prototype", "ranking", "open-set", "transition"]
)
def test_every_cleaner(run, noisy, cleaner):
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    result = run("purify", "d.npz", "-c", cleaner, "--out", "o.csv", "--seed", "3", "--json")
    assert sum(result.json["status"].values()) == 240
    if cleaner in ("auto", "gmm", "transition"):
        run("purify", "d.npz", "-c", cleaner, "--threshold", "1", "--out", "p.csv")
        text = open("p.csv").read()
        assert text != open("o.csv").read()
    if cleaner in ("auto", "lsmp", "transition"):
        chosen = ("-c", cleaner, "--threshold", "f1")
        run("purify", "d.npz", *chosen, "--out", "q.csv", "--report", "r.html")


def test_columns_of_true_and_false_are_features(run, noisy):
    columns = {f"e{i}": x.astype(float) for i, x in enumerate(noisy.X.T)} | {
        "member": noisy.X[:, 0] > 0
    }
    table = pa.table(columns | {"label": noisy.y})
    arrow_csv.write_csv(table, "d.csv")
    pq.write_table(table, "d.parquet")
    args = ("-l", "label", "-f", "e*,member", *FAST, "--json")
    found = [run("audit", name, *args).json for name in ("d.csv", "d.parquet")]
    assert found[0]["n_wrong"] == pytest.approx(found[1]["n_wrong"])


def test_a_ranking_speaks_of_scores(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    args = ("-c", "ranking", "--out", "o.parquet", "--report", "r.html", "--save-model", "m")
    said = run("purify", "d.npz", *args).stdout
    assert "clean_proba is a score that ranks the labels" in said and "wrong" not in said
    reasons = pq.read_table("o.parquet")["reason"].to_pylist()
    assert all(" has score " in reason or " by its score, " in reason for reason in reasons)
    assert "Score of given" in Path("r.html").read_text(encoding="utf-8")
    said = run("apply", "m", "d.npz", "-l", "y", "--out", "p.parquet").stdout
    assert "a score that ranks" in said
    assert pq.read_table("p.parquet")["reason"].to_pylist() == reasons


def test_meta_wants_trusted_rows(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y, t=np.arange(240) % 10 == 0)
    run("purify", "d.npz", "-c", "meta", "--trusted", "t", "--out", "o.csv")
    assert open("o.csv").read().count("trusted") >= 24


def test_image_folder(run):
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for i in range(60):
        name = ["dark", "light"][i % 2]
        pixels = rng.integers(0, 90, (8, 8, 3)) + 160 * (i % 2)
        folder = Path("images", name if i > 4 else ["dark", "light"][(i + 1) % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("images/nobody.png")
    Path("images/dark/broken.png").write_bytes(b"none")
    Path("images/readme.md").write_text("x")
    Path("images/dark/.6.png").write_bytes(b"")
    Path("images/.cache").mkdir()
    Path("images/.cache/thumb.png").write_bytes(Path("images/dark/6.png").read_bytes())
    result = run(
        "purify", "images", "--out", "o.parquet", "--save-model", "m", "--report", "r.html"
    )
    assert "1 files that are no images" in result.stderr and "broken.png" in result.stderr
    assert "hidden files and folders are left out: [.6.png, .cache]" in result.stderr
    found = pq.read_table("o.parquet").to_pylist()
    by_id = {row["id"]: row for row in found}
    assert len(found) == 62 and by_id["light/0.png"]["given_label"] == "light"
    assert by_id["nobody.png"]["given_label"] is None
    assert by_id["dark/broken.png"]["suggested_action"] == "review"
    assert by_id["dark/broken.png"]["label_proba"] is None
    Path("images/dark/broken.png").unlink()
    run("apply", "m", "images", "--out", "again.csv")
    again = arrow_csv.read_csv("again.csv").to_pylist()
    assert [r["purified_label"] for r in again] == [
        r["purified_label"] for r in found if "broken" not in r["id"]
    ]
    np.save("X.npy", np.ones((4, 192)))
    assert "NEW: expected images" in run("apply", "m", "X.npy", "--out", "x.csv", code=1).stderr


def test_audit(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    said = run("audit", "d.npz", "--cleaner", "transition").stdout
    assert said == f"{skclean.TransitionCleaner().fit(noisy.X, noisy.y).audit()}\n"
    found = run("audit", "d.npz", "--json").json
    low, high = found["interval"]
    assert low < np.sum(noisy.y != noisy.truth) < high
    assert found["worst_classes"][0]["label"] in ("cat", "dog", "eel")
    assert "--cleaner" in run("audit", "d.npz", "-c", "ranking", code=2).stderr


def test_demo_writes_nothing_unless_asked(run, tmp_path):
    assert "Right labels: 64.0 % of those given, 9" in run("demo").stdout
    assert list(tmp_path.iterdir()) == []
    result = run("demo", "--out", "d.csv", "--report", "d.html", "--json")
    assert result.json["right_purified"] > 0.95
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.csv", "d.html"]


def test_info(run):
    text = run("info").stdout
    assert f"skclean {skclean.__version__}" in text and "devices: cpu" in text
    found = run("info", "--json").json
    assert found["packages"]["numpy"] == np.__version__ and found["devices"]


def test_json_has_no_nan(run, noisy):
    y = noisy.y.astype(object)
    y[:] = np.where(np.arange(240) % 2, "a", "b")
    np.savez("d.npz", X=np.random.default_rng(0).standard_normal((240, 5)), y=y.astype(str))
    result = run("purify", "d.npz", "--out", "o.csv", "--json")
    json.loads(result.stdout, parse_constant=pytest.fail)


def test_a_pattern_takes_no_labels_ids_or_masks_for_features(run, noisy):
    columns = {f"x{j}": column for j, column in enumerate(noisy.X.T)}
    roles = {"xlabel": noisy.y, "id": np.arange(240), "xok": np.zeros(240, dtype=int)}
    pq.write_table(pa.table(columns | roles), "t.parquet")
    args = ("t.parquet", "-l", "xlabel", "--trusted", "xok", "-c", "gmm", "--json")
    for asked in ("*", "x", "x*"):
        assert run("audit", *args, "-f", asked).json["features"] == noisy.X.shape[1]
    assert "'xlabel'" in run("audit", *args, "-f", "xlabel", code=1).stderr


def test_a_batch_of_another_kind_is_told_of(run, noisy):
    np.savez("d.npz", X=noisy.X, y=noisy.y)
    run("purify", "d.npz", "-c", "transition", "-o", "o.csv", "--save-model", "m")
    np.savez("same.npz", X=noisy.X + 0.01, y=noisy.y)
    np.savez("other.npz", X=noisy.X + 0.01, y=np.roll(np.unique(noisy.y), 1)[noisy.codes])
    same = run("apply", "m", "same.npz", "-l", "y", "-o", "a.csv")
    other = run("apply", "m", "other.npz", "-l", "y", "-o", "b.csv", "--json")
    assert "% in the fit." in same.stdout and "anew" not in same.stdout
    assert other.json["noise_rate"] > other.json["noise_rate_of_fit"] + 0.3
    assert "fitted anew" in run("apply", "m", "other.npz", "-l", "y", "-o", "c.csv").stdout
