"""A later batch by a saved cleaner."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
arrow_csv = pytest.importorskip("pyarrow.csv")

import skclean  # noqa: E402

N_FIT = 150


@pytest.fixture
def model(run, noisy):
    np.savez("d.npz", X=noisy.X[:N_FIT], y=noisy.y[:N_FIT])
    args = ("-c", "transition", "-o", "o.parquet", "--save-model", "m.skclean")
    run("purify", "d.npz", *args)
    return skclean.TransitionCleaner().fit(noisy.X[:N_FIT], noisy.y[:N_FIT])


def test_labelled_rows_are_purified_and_others_predicted(run, noisy, model):
    labels = noisy.y[N_FIT:].astype(object)
    labels[::4] = None
    table = pa.table({"embedding": noisy.X[N_FIT:].tolist(), "label": labels.tolist()})
    column = pa.array(noisy.X[N_FIT:].tolist(), type=pa.list_(pa.float32()))
    pq.write_table(table.set_column(0, "embedding", column), "new.parquet")
    result = run(
        *("apply", "m.skclean", "new.parquet", "-l", "label", "-o", "new_out.parquet"),
        *("--report", "new.html", "--json"),
    )
    found = pq.read_table("new_out.parquet")
    samples = skclean.LabelledSamples(noisy.X[N_FIT:], labels, classes=model.classes_)
    expected = model.transform(samples)
    assert found["status"].to_pylist() == expected.status.tolist()
    np.testing.assert_allclose(
        found["label_proba"].to_numpy(),
        expected.proba[np.arange(len(expected)), expected.label_codes],
        rtol=1e-6,
    )
    assert set(found["status"].to_pylist()[::4]) == {"predicted"}
    assert set(found["suggested_action"].to_pylist()[::4]) == {"label"}
    assert result.json["status"]["predicted"] == 23 and Path("new.html").exists()


def test_rows_without_labels(run, noisy, model):
    np.save("X.npy", noisy.X[N_FIT:])
    run("apply", "m.skclean", "X.npy", "--out", "p.csv")
    found = arrow_csv.read_csv("p.csv")
    assert set(found["status"].to_pylist()) == {"predicted"}
    assert np.mean(np.array(found["purified_label"].to_pylist()) == noisy.truth[N_FIT:]) > 0.95
    said = run("apply", "m.skclean", "X.npy", "-o", "q.csv", "--report", "q.html", code=1).stderr
    assert "--report" in said and not Path("q.csv").exists()


def write_columns(path, X, names, **others):
    columns = {name: X[:, j].astype(float) for j, name in enumerate(names)} | others
    table = pa.table(columns)
    arrow_csv.write_csv(table, path) if path.endswith("csv") else pq.write_table(table, path)


@pytest.fixture
def named(run, noisy):
    """A model of the columns e0 to e4, and the labels that it predicts for the later rows."""
    names = [f"e{j}" for j in range(5)]
    write_columns("d.csv", noisy.X[:N_FIT], names, label=noisy.y[:N_FIT])
    run("purify", "d.csv", "-l", "label", "-f", "e", "-o", "o.csv", "--save-model", "m")
    write_columns("n.csv", noisy.X[N_FIT:], names)
    run("apply", "m", "n.csv", "-o", "n_out.parquet")
    return names, pq.read_table("n_out.parquet")["label_proba"].to_numpy()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_are_found_by_name(run, noisy, named, suffix):
    names, expected = named
    X, order, new = noisy.X[N_FIT:], [3, 0, 4, 2, 1], f"new.{suffix}"
    mixed = [names[j] for j in order]
    others = {"e7": X[:, 0].astype(float), "a": X[:, 0].astype(float)}
    write_columns(new, X[:, order], mixed, **others)
    said = run("apply", "m", new, "-o", "a.parquet").stderr
    assert "[e7] left out" in said
    np.testing.assert_allclose(pq.read_table("a.parquet")["label_proba"].to_numpy(), expected)
    said = run("apply", "m", new, "-f", "e*", "-o", "b.parquet", code=1).stderr
    assert f"expected the 5 columns of the fit, [e0, e1, e2, e3, e4], in {new}" in said
    assert "got [e7] beside them" in said
    write_columns(new, X[:, order], mixed)
    assert run("apply", "m", new, "-f", "e*", "-o", "b.parquet").stderr == ""
    np.testing.assert_allclose(pq.read_table("b.parquet")["label_proba"].to_numpy(), expected)
    write_columns(new, X, ["e0", "f1", "e2", "e3", "e4"])
    for features in ((), ("-f", "e*"), ("-f", "e*", "-f", "f1")):
        said = run("apply", "m", new, *features, "-o", "c.parquet", code=1).stderr
        assert "got no [e1]" in said and new in said


def test_features_without_names_are_told_of(run, noisy, named):
    np.save("X.npy", noisy.X[N_FIT:].astype(float))
    said = run("apply", "m", "X.npy", "-o", "a.parquet").stderr
    assert "X.npy: its features have no names" in said and "[e0, e1, e2, e3, e4]" in said
    found = pq.read_table("a.parquet")["label_proba"].to_numpy()
    np.testing.assert_allclose(found, named[1])
    np.save("X.npy", noisy.X[:, :3])
    said = run("apply", "m", "X.npy", "-o", "b.parquet", code=1).stderr
    assert "NEW: expected 5 features as in the fit" in said and "got 3 in X.npy" in said


@pytest.mark.parametrize("labels", ["none", "some"])
def test_rows_of_the_fit_without_their_labels(run, noisy, model, labels):
    """What the fit knew of them is not written as if it had been read."""
    y = noisy.y.astype(object)
    y[: N_FIT // 2] = None
    if labels == "none":
        np.save("n.npy", noisy.X)
        run("apply", "m.skclean", "n.npy", "-o", "n.parquet")
        y[:] = None
    else:
        table = pa.table({"e": pa.array(noisy.X.tolist(), pa.list_(pa.float32())), "y": list(y)})
        pq.write_table(table, "in.parquet")
        run("apply", "m.skclean", "in.parquet", "-l", "y", "-o", "n.parquet")
    found = pq.read_table("n.parquet")
    assert found["given_label"].to_pylist() == y.tolist()
    for row in found.to_pylist()[: N_FIT // 2]:
        assert (row["status"], row["suggested_action"]) == ("predicted", "label")
        assert row["clean_proba"] is None and row["purified_label"] is not None
        assert row["reason"].startswith("no given label; ")


def test_whole_numbers_that_were_text_in_the_fit(run, noisy):
    names = np.array(["1", "2", "x"])
    np.savez("d.npz", X=noisy.X, y=names[noisy.codes])
    run("purify", "d.npz", "-c", "gmm", "-o", "o.csv", "--save-model", "m")
    rows = noisy.codes < 2
    vectors = [str(row) for row in noisy.X[rows].tolist()]
    arrow_csv.write_csv(pa.table({"e": vectors, "l": noisy.codes[rows] + 1}), "n.csv")
    result = run("apply", "m", "n.csv", "-f", "e", "-l", "l", "-o", "n.parquet", "--json")
    assert result.json["classes"] == ["1", "2", "x"]
    assert set(pq.read_table("n.parquet")["given_label"].to_pylist()) == {"1", "2"}


def test_what_does_not_fit(run, noisy, model):
    np.savez("wide.npz", X=np.ones((4, 9)), y=noisy.y[:4])
    said = run("apply", "m.skclean", "wide.npz", "-o", "x.csv", code=1).stderr
    assert "expected 5 features" in said and "got 9 in wide.npz" in said
    np.savez("cow.npz", X=noisy.X[:4], y=["cat", "dog", "cow", "cat"])
    said = run("apply", "m.skclean", "cow.npz", "-o", "x.csv", code=1).stderr
    assert "'cow' in row 2" in said and "[cat, dog, eel]" in said
    np.savez("int.npz", X=noisy.X[:4], y=[0, 1, 2, 0])
    assert "--labels" in run("apply", "m.skclean", "int.npz", "-o", "x.csv", code=1).stderr
    for model_file in ("nothing.skclean", "d.npz"):
        said = run("apply", model_file, "d.npz", "-o", "x.csv", code=1).stderr
        assert model_file in said and "Errno" not in said
    content = Path("m.skclean").read_bytes()
    Path("half.skclean").write_bytes(content[: len(content) // 2])
    assert "half.skclean" in run("apply", "half.skclean", "d.npz", "-o", "x.csv", code=1).stderr
    said = run("apply", "m.skclean", "d.npz", "-o", "m.skclean", "--force", code=2).stderr
    assert "--out" in said and Path("m.skclean").read_bytes() == content
    assert not Path("x.csv").exists()
