"""Files that are not as `save` wrote them are refused, whatever is wrong with them."""

import hashlib
import json
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skclean import CredibilityRelabeler, GMMCleaner, OnFeatures, PurifiedClassifier
from skclean.saving import SavedFileError, SavedVersionWarning, load, save

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = np.where(RNG.random(60) < 0.2, RNG.integers(0, 2, 60), X[:, 0] > 0)
ESTIMATORS = {
    "gmm": GMMCleaner(),
    "pipeline": Pipeline(
        [
            ("scale", OnFeatures(StandardScaler())),
            ("clean", GMMCleaner()),
            ("relabel", CredibilityRelabeler()),
            ("classify", PurifiedClassifier(RandomForestClassifier(3, random_state=0))),
        ]
    ),
    "mlp": MLPClassifier((3,), max_iter=3, random_state=0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of each estimator, fitted."""
    folder = tmp_path_factory.mktemp("saved")
    for name, estimator in ESTIMATORS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save(estimator.fit(X, Y), folder / name)
    return folder


def answers(estimator):
    return (
        {
            "seen": estimator.transform(X).proba,
            "new": estimator.transform(X + 1).proba,
        }
        if hasattr(estimator, "transform")
        else {"new": estimator.predict_proba(X + 1)}
    )


def assert_same(found, expected):
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def sealed(content):
    """A file's bytes with a digest that fits them."""
    return content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode()


def members(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write(path, parts, compression=zipfile.ZIP_STORED):
    """A sealed file of these members, in pairs of name and content."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as file:
        warnings.simplefilter("ignore")
        file.comment = b"skclean.save sha256 " + b"0" * 64
        for name, content in parts:
            file.writestr(name, content)
    path.write_bytes(sealed(path.read_bytes()))
    return path


def edited(path, out, **changes):
    """A sealed copy with another document."""
    parts = members(path)
    parts["document.json"] = json.dumps(json.loads(parts["document.json"]) | changes)
    return write(out, parts.items())


@pytest.mark.parametrize("name", ["gmm", "pipeline"])
def test_flipped_bits_and_cut_files_are_refused(name, folder, tmp_path):
    whole, path, rng = (folder / name).read_bytes(), tmp_path / "a", np.random.default_rng(0)
    assert write(path, members(folder / name).items()).exists() and load(path)
    places = [*range(40), *range(len(whole) - 100, len(whole)), *rng.integers(0, len(whole), 50)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(SavedFileError, match="expected a (whole )?file"):
            load(path)
        path.write_bytes(whole[:place])
        with pytest.raises(SavedFileError, match="another file or cut off"):
            load(path)


def test_sealed_files_with_other_bytes_are_the_same_or_refused(folder, tmp_path):
    whole, path, rng = (folder / "gmm").read_bytes(), tmp_path / "a", np.random.default_rng(0)
    expected, loaded = answers(load(folder / "gmm")), 0
    heads = range(len(whole) - 1500, len(whole) - 84)
    for place in [*range(40), *rng.choice(heads, 120), *rng.integers(0, len(whole), 50)]:
        changed = bytearray(whole)
        changed[place] = rng.integers(256)
        path.write_bytes(sealed(bytes(changed)))
        try:
            again = load(path)
        except SavedFileError:
            continue
        loaded += 1
        if loaded < 20:
            assert_same(answers(again), expected)
    assert loaded


@pytest.mark.parametrize("name", ESTIMATORS)
def test_changed_documents_are_estimators_or_refused(name, folder, tmp_path):
    parts, rng = members(folder / name), np.random.default_rng(0)
    text = parts["document.json"]
    signs = list(b'0123456789"{}[],:ae-tn')
    others = [None, -1, 2**70, 1e308, "x", "O", "os.system", [], {}, {"ref": 0}, {"float": "nan"}]
    for _ in range(40):
        changed = bytearray(text)
        start = int(rng.integers(len(text)))
        changed[start : start + rng.integers(3)] = bytes(rng.choice(signs, 2))
        document = json.loads(text)
        entry = document["objects"][rng.integers(len(document["objects"]))]
        entry[rng.choice(list(entry))] = others[rng.integers(len(others))]
        for content in (bytes(changed), json.dumps(document)):
            path = write(tmp_path / "a", (parts | {"document.json": content}).items())
            try:
                assert isinstance(load(path), BaseEstimator)
            except SavedFileError:
                continue


def npy(header, content=b""):
    header = header.encode().ljust(118)
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


HEADER = "{'descr': %r, 'fortran_order': False, 'shape': %r, }"


def test_wrong_members_are_refused(folder, tmp_path):
    good, path = members(folder / "gmm"), tmp_path / "a"
    pairs, document = list(good.items()), good["document.json"]
    twice = [*pairs, ("document.json", document)]
    arrays = {
        "array of objects": npy(HEADER % ("|O", (1,)), b"x" * 8),
        "and another size": npy(HEADER % ("<f8", (10**12,))),
        "cannot be read": b"\x80\x04N.",
        "another size": npy(HEADER % ("<f8", (1,)), b"x" * 9),
        "items without bytes": npy(HEADER % ("|S0", (10**12,))),
    }
    changed = [(good | {"arrays/0.npy": content}, text) for text, content in arrays.items()]
    changed += [
        (good | {"document.json": b"[" * 100_000}, "its document is no JSON"),
        (good | {"document.json": b"[1]"}, "no JSON object"),
    ]
    for parts, text in [
        (twice, "two members are named"),
        ([*pairs, ("/etc/passwd", b"")], "unknown member '/etc/passwd'"),
        ([*pairs, ("arrays/../0.npy", b"")], "unknown member"),
        ([*pairs, ("arrays/999.npy", b"")], "does not name"),
        ([("document.json", document)], "no member 'arrays/"),
        (pairs[1:], "no member 'document.json'"),
        *[(p.items(), text) for p, text in changed],
    ]:
        with pytest.raises(SavedFileError, match=text):
            load(write(path, parts))
    with pytest.raises(SavedFileError, match="is compressed"):
        load(write(path, pairs, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize(
    ("numbers", "library"),
    [([0, 0.001], {}), ([0, "0"], {}), ([True], {}), ([-1], {}), ([0, 0], {"library": "torch"})],
)
def test_a_member_is_read_and_copied_once(numbers, library, tmp_path):
    scaler = StandardScaler()
    scaler.own_ = np.arange(3.0)
    parts = members(save(scaler, tmp_path / "a"))
    document = json.loads(parts["document.json"])
    entry = {"kind": "array", "writeable": True, "device": "cpu", "dtype": "float64"} | library
    entries = [entry | {"member": number} for number in numbers]
    objects = [*entries, *document["objects"][1:]]
    path = edited(tmp_path / "a", tmp_path / "b", objects=objects)
    if library:
        pytest.importorskip("torch")
    with pytest.raises(SavedFileError, match=r"no member:|no member 'arrays/"):
        load(path)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([{"kind": "instance", "class": "os.system", "state": []}], "got 'os.system'"),
        ([{"kind": "instance", "class": "builtins.eval", "state": []}], "got 'builtins.eval'"),
        ([{"kind": "instance", "class": "builtins.str", "state": []}], "got 'builtins.str'"),
        ([{"kind": "instance", "class": "subprocess.Popen", "state": []}], "subprocess.Popen"),
        ([{"kind": "class", "name": "skclean.samples.np"}], "skclean.samples.np"),
        ([{"kind": "class", "name": "skclean.saving.Path"}], "skclean.saving.Path"),
        ([{"kind": "class", "name": "skclean.__main__.X"}], "skclean.__main__.X"),
        ([{"kind": "class", "name": "sklearn.conftest.X"}], "sklearn.conftest.X"),
        ([{"kind": "function", "name": "sklearn.utils.shuffle"}], "sklearn.utils.shuffle"),
        ([{"kind": "function", "name": "sklearn.metrics.os"}], "sklearn.metrics.os"),
        ([{"kind": "pickle"}], "got 'pickle'"),
        ([{"kind": "list", "items": [{"ref": 0}]}], "makes no estimator"),
        ([{"kind": "list", "items": []}], "expected an estimator in"),
    ],
)
def test_names_out_of_the_set_are_refused(objects, message, folder, tmp_path):
    path = edited(folder / "gmm", tmp_path / "a", objects=objects, root={"ref": 0})
    with pytest.raises(SavedFileError, match=message):
        load(path)


def test_trees_that_lead_out_of_their_nodes_are_refused(tmp_path):
    forest = RandomForestClassifier(1, random_state=0).fit(X, Y)
    parts = members(save(forest, tmp_path / "a"))
    document = json.loads(parts["document.json"])
    tree = next(e for e in document["objects"] if e["kind"] == "tree")
    nodes = dict(map(tuple, [(k, str(v)) for k, v in tree["state"]]))["nodes"]
    member = document["objects"][int(nodes.strip("{'ref: }"))]["member"]
    name = f"arrays/{member}.npy"
    changed = bytearray(parts[name])
    start = len(changed) - len(changed) % 64 - 64 * forest.estimators_[0].tree_.node_count
    changed[start : start + 8] = (10**6).to_bytes(8, "little")
    with pytest.raises(SavedFileError, match="nodes do not fit"):
        load(write(tmp_path / "a", (parts | {name: bytes(changed)}).items()))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("left", 10**6, "nodes do not fit"),
        ("feature_idx", -1, "nodes do not fit"),
        ("is_categorical", 1, "nodes do not fit"),
        ("feature_idx", 4, "of other features"),
        ("feature_idx", 2**30, "of other features"),
    ],
)
def test_boosted_trees_that_lead_out_of_their_nodes_are_refused(field, value, message, tmp_path):
    boosted = HistGradientBoostingClassifier(max_iter=1).fit(X, Y)
    nodes = boosted._predictors[0][0].nodes
    assert nodes["is_leaf"][0] == 0
    nodes[field][0] = value
    with pytest.raises(SavedFileError, match=message):
        load(save(boosted, tmp_path / "a"))


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("nodes", lambda nodes: np.stack([nodes] * 2)),
        ("nodes", lambda nodes: nodes["value"]),
        ("nodes", lambda nodes: nodes.astype([(k, "<i8") for k in nodes.dtype.names])),
        ("raw_left_cat_bitsets", lambda bits: bits.astype(np.uint8)),
        ("binned_left_cat_bitsets", lambda bits: bits[:, :4]),
    ],
)
def test_boosted_trees_of_other_arrays_are_refused(part, change, tmp_path):
    boosted = HistGradientBoostingClassifier(max_iter=1).fit(X, Y)
    predictor = boosted._predictors[0][0]
    setattr(predictor, part, change(getattr(predictor, part)))
    with pytest.raises(SavedFileError, match="of a boosted tree of another kind"):
        load(save(boosted, tmp_path / "a"))


def test_boosted_trees_of_another_number_or_width_are_refused(tmp_path):
    boosted = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
    trees, width = boosted.estimators_, boosted.n_features_in_
    for estimators, n_features in ((np.repeat(trees, 9, axis=1), width), (trees, width - 1)):
        boosted.estimators_, boosted.n_features_in_ = estimators, n_features
        with pytest.raises(SavedFileError, match="boosted trees of another number"):
            load(save(boosted, tmp_path / "a", overwrite=True))


def test_later_formats_are_refused(folder, tmp_path):
    with pytest.raises(SavedFileError, match="expected format 1 in .*, got 2"):
        load(edited(folder / "gmm", tmp_path / "a", format=2))


def test_another_scikit_learn_is_warned_of_once(folder, tmp_path):
    versions = {"scikit-learn": "1.2.3", "skclean": "0.1", "numpy": "1.26"}
    path = edited(folder / "pipeline", tmp_path / "a", versions=versions)
    with pytest.warns(SavedVersionWarning, match=r"with scikit-learn 1\.2\.3") as caught:
        assert_same(answers(load(path)), answers(load(folder / "pipeline")))
    assert len(caught) == 1 and caught[0].filename == __file__


def test_files_of_others_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", X)
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(GMMCleaner()))
    (tmp_path / "empty").touch()
    for path in tmp_path.iterdir():
        with pytest.raises(SavedFileError, match="expected a whole file that skclean.save wrote"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
