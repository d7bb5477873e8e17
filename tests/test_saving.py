"""Estimators come back from a file as they were."""

import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

import skclean
from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    NeuralRetrainer,
    OnFeatures,
    OpenSetFilter,
    PrototypeCleaner,
    PurifiedClassifier,
    RankingCleaner,
    SSLFeaturizer,
    TransitionCleaner,
)
from skclean.embeddings import ConvKMeans
from skclean.evidence import LeaveOneOutRidge
from skclean.saving import load, save

RNG = np.random.default_rng(0)
TRUTH = np.arange(120) % 3
X = 3 * np.eye(3, 16)[TRUTH] + RNG.standard_normal((120, 16))
Y = np.array(["cat", "dog", "owl"])[np.where(RNG.random(120) < 0.3, RNG.integers(0, 3, 120), TRUTH)]
NEW = X[::-1] + 0.3
NEW_Y = np.roll(Y, 7)

ESTIMATORS = {
    "transition": TransitionCleaner(),
    "transition in folds": TransitionCleaner(
        estimator=LogisticRegression(C=0.1), cv=StratifiedKFold(3), max_iter=2
    ),
    "gmm": GMMCleaner(class_aware=True, random_state=np.random.RandomState(3)),
    "prototype": PrototypeCleaner(n_components=4, max_iter=2),
    "ranking": RankingCleaner(),
    "meta": MetaReweighter(hidden_layer_size=4, n_cycles=1, cycle_length=5),
    "open set": OpenSetFilter(),
    "credibility": CredibilityRelabeler(cleaner=GMMCleaner()),
    "least squares": LeastSquaresMetaPurifier(),
    "least squares of the paper": LeastSquaresMetaPurifier("paper", n_periods=2, batch_size=20),
    "auto": AutoPurifier([("gmm", GMMCleaner()), ("transition", TransitionCleaner())]),
    "ridge": LeaveOneOutRidge(),
    "classifier": PurifiedClassifier(LogisticRegression(), use="labels"),
    "on features": OnFeatures(PCA(5, random_state=0)),
    "k-means": SSLFeaturizer(ConvKMeans(n_filters=8, patch_size=2), image_shape=(4, 4)),
    "pipeline": Pipeline(
        [
            ("scale", OnFeatures(StandardScaler())),
            ("clean", TransitionCleaner()),
            ("relabel", CredibilityRelabeler()),
            ("classify", PurifiedClassifier(RandomForestClassifier(5, random_state=0))),
        ]
    ),
    "plain pipeline": Pipeline(
        [("pick", SelectKBest(k=9)), ("pca", PCA(4)), ("svc", SVC(probability=False))]
    ),
    "search": GridSearchCV(
        Pipeline([("clean", GMMCleaner()), ("classify", PurifiedClassifier())]),
        {"clean__threshold": [0.3, 0.6]},
        cv=3,
    ),
    "mlp": MLPClassifier((5,), max_iter=5, random_state=0),
    "sgd": SGDClassifier(random_state=0),
    "calibrated": CalibratedClassifierCV(LogisticRegression(), cv=2),
    "boosted": GradientBoostingClassifier(n_estimators=2, random_state=0),
    "boosted in bins": PurifiedClassifier(HistGradientBoostingClassifier(max_iter=2)),
    "one hot": OneHotEncoder(handle_unknown="ignore"),
}


def fitted(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(ESTIMATORS[name]).fit(X, Y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of each estimator, fitted on (X, Y)."""
    folder = tmp_path_factory.mktemp("saved")
    for name in ESTIMATORS:
        save(fitted(name), folder / name)
    return folder


def answers(estimator):
    """All that an estimator says of the rows of the fit, of others, and of a noisy batch."""
    found = {}
    for rows in (X, X[40:9:-1], NEW, LabelledSamples(NEW, NEW_Y), LabelledSamples(X, NEW_Y)):
        for method in ("transform", "predict", "predict_proba", "decision_function"):
            if not hasattr(estimator, method):
                continue
            if isinstance(rows, LabelledSamples) and not type(estimator).__module__.startswith(
                "skclean."
            ):
                continue
            result = getattr(estimator, method)(rows)
            if isinstance(result, LabelledSamples):
                fields = result._as_dict().items()
                found |= {f"{len(found)} {k}": v for k, v in fields if v is not None}
            else:
                found[f"{len(found)} {method}"] = (
                    result.toarray() if hasattr(result, "toarray") else result
                )
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys() and len(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_every_estimator_of_the_library_is_tried():
    public = {getattr(skclean, name) for name in skclean.__all__ if name != "__version__"}
    tried = {type(e) for e in ESTIMATORS.values()} | {NeuralRetrainer}
    assert {c for c in public if isinstance(c, type) and issubclass(c, BaseEstimator)} <= tried


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fitted_estimators_come_back(name, folder):
    again = load(folder / name)
    assert repr(again) == repr(ESTIMATORS[name]) or name == "gmm"
    assert_same(answers(again), answers(fitted(name)))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_come_back_before_a_fit(name, tmp_path):
    again = load(save(ESTIMATORS[name], tmp_path / "a"))
    assert type(again) is type(ESTIMATORS[name])
    assert again.get_params().keys() == ESTIMATORS[name].get_params().keys()
    clone(again)
    if name == "gmm":
        assert_same(answers(again.fit(X, Y)), answers(fitted(name)))


SCRIPT = """
import pickle, sys
sys.path[:0] = [{tests!r}]
from test_saving import ESTIMATORS, answers
from skclean.saving import load
found = {{name: answers(load({folder!r} + "/" + name)) for name in ESTIMATORS}}
pickle.dump(found, open({folder!r} + ".answers", "wb"))
"""


def test_another_process_finds_the_same(folder):
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pickle.loads(Path(f"{folder}.answers").read_bytes())
    for name in ESTIMATORS:
        assert_same(found[name], answers(fitted(name)))


def state_of(value):
    """A cleaner that holds the value, which no test needs to fit."""
    cleaner = GMMCleaner()
    cleaner.value_ = value
    return cleaner


def through_file(value, folder):
    return load(save(state_of(value), folder / "value", overwrite=True)).value_


VALUES = [
    None,
    2**80,
    -0.0,
    float("inf"),
    1 + 2j,
    "a\ud800\0'<b>",
    b"\0\xff",
    (1, [2, (3,)], {"a": {4.5}, 6: frozenset([7])}, {(1, "b"): None}),
    slice(1, None, 2),
    range(3, 9, 2),
    np.float32(0.1),
    np.str_("ü"),
    np.bool_(True),
    np.datetime64("2020-02-02T10:00"),
    np.dtype("float32"),
    np.float32,
    str,
    LogisticRegression,
    Path("a") / "b",
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_come_back(value, tmp_path):
    again = through_file(value, tmp_path)
    assert type(again) is type(value) and repr(again) == repr(value)


ARRAYS = [
    np.array(3.5),
    np.empty((0, 4)),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(20)[::3],
    np.array([np.nan, -np.inf], dtype=np.float16),
    np.array(["é", "", "long enough"]),
    np.array(["2020-01-01", "NaT"], dtype="M8[s]"),
    np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    np.arange(3, dtype=">i8"),
    np.array([["a", None], [1, np.nan]], dtype=object),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back(array, tmp_path):
    again = through_file(array, tmp_path)
    assert again.dtype == array.dtype and again.flags.writeable
    assert again.flags.f_contiguous == array.flags.f_contiguous or not array.flags.c_contiguous
    if array.dtype == object:
        assert str(again.tolist()) == str(array.tolist())
    else:
        np.testing.assert_array_equal(again, array)


def test_masked_arrays_come_back(tmp_path):
    masked = np.ma.MaskedArray([1.0, 2.0, 3.0], mask=[False, True, False])
    again = through_file(masked, tmp_path)
    assert again.tolist() == [1.0, None, 3.0] and again.fill_value == masked.fill_value


def test_generators_go_on_where_they_were(tmp_path):
    for generator in (np.random.default_rng(3), np.random.Generator(np.random.MT19937(3))):
        generator.random(5)
        again = through_file(generator, tmp_path)
        np.testing.assert_array_equal(again.random(9), generator.random(9))
        if hasattr(generator, "spawn"):
            assert again.spawn(1)[0].random() == generator.spawn(1)[0].random()
    old = np.random.RandomState(3)
    old.standard_normal(3)
    again = through_file(old, tmp_path)
    np.testing.assert_array_equal(again.standard_normal(9), old.standard_normal(9))


def test_what_is_one_object_stays_one(tmp_path):
    array, part = np.arange(100_000.0), [1]
    held = [array, array, array.view(), part, part, state_of(part)]
    held[2].flags.writeable = False
    path = save(state_of(held), tmp_path / "a")
    assert path.stat().st_size < 1.1 * array.nbytes
    again = load(path).value_
    assert again[0] is again[1] and np.shares_memory(again[0], again[2])
    assert not again[2].flags.writeable
    assert again[3] is again[4] and again[5].value_ is again[3]


def test_frames_leave_index_and_names(tmp_path):
    pd = pytest.importorskip("pandas")
    names = [f"f{i}" for i in range(16)]
    dates = pd.date_range("2020-01-01", periods=120, freq="h")
    for index in (
        pd.RangeIndex(5, 125, name="row"),
        pd.Index([f"r{i}" for i in range(120)]),
        pd.Index(np.arange(120) // 2),
        dates,
        dates.tz_localize("Europe/Berlin", ambiguous="NaT", nonexistent="NaT"),
        pd.MultiIndex.from_arrays([Y, np.arange(120)], names=["given", None]),
    ):
        frame = pd.DataFrame(X, columns=names, index=index)
        cleaner = GMMCleaner().fit(frame, Y)
        again = load(save(cleaner, tmp_path / "a", overwrite=True))
        assert list(again.feature_names_in_) == names
        assert again._purified.index.equals(index) and again._purified.index.names == index.names
        np.testing.assert_array_equal(again.transform(frame).proba, cleaner.transform(frame).proba)


def test_a_file_without_a_later_parameter_takes_its_default(tmp_path):
    fitted = PurifiedClassifier(use="labels").fit(LabelledSamples(X, Y))
    expected = fitted.predict(NEW)
    del fitted.missing_label
    again = load(save(fitted, tmp_path / "older.skclean"))
    np.testing.assert_array_equal(again.predict(NEW), expected)
    assert again.missing_label is None and again.score(NEW, NEW_Y) == (expected == NEW_Y).mean()
    assert clone(again).get_params()["missing_label"] is None


def test_requests_for_metadata_come_back(tmp_path):
    with config_context(enable_metadata_routing=True):
        cleaner = GMMCleaner().set_fit_request(trusted=True, groups=False)
        again = load(save(cleaner, tmp_path / "a"))
        assert str(again.get_metadata_routing()) == str(cleaner.get_metadata_routing())


class Own(LogisticRegression):
    pass


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (FunctionTransformer(np.log1p), r"got .*ufunc.* at FunctionTransformer\.func"),
        (FunctionTransformer(lambda x: x), r"got function .*<lambda> at FunctionTransformer\.func"),
        (GMMCleaner(estimator=Own()), r"got .*test_saving\.Own at GMMCleaner\.estimator"),
        (
            PurifiedClassifier(KNeighborsClassifier(algorithm="kd_tree")).fit(X, Y),
            r"KDTree at PurifiedClassifier\.estimator_\._tree",
        ),
        (Pipeline([("a", "passthrough"), ("b", object())]), r"object at Pipeline\.steps\[1\]\[1\]"),
        (state_of({"a": [1, print]}), r"print at GMMCleaner\.value_\['a'\]\[1\]"),
        (GMMCleaner, "expected an estimator, got"),
        (LabelledSamples(X), "expected an estimator, got LabelledSamples"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_written(estimator, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save(estimator, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_an_object_that_holds_itself_is_refused(tmp_path):
    cleaner = GMMCleaner()
    cleaner.value_ = [cleaner]
    with pytest.raises(ValueError, match=r"contains itself at GMMCleaner\.value_\[0\]"):
        save(cleaner, tmp_path / "a")


def test_a_file_that_is_there_stays(tmp_path):
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(GMMCleaner(), path)
    assert path.read_text() == "mine"
    assert save(GMMCleaner(), str(path), overwrite=True) == path
    with pytest.raises(ValueError, match="got function"):
        save(FunctionTransformer(lambda x: x), path, overwrite=True)
    assert isinstance(load(path), GMMCleaner) and list(tmp_path.iterdir()) == [path]


def test_the_same_estimator_gives_the_same_bytes(tmp_path):
    first, second = (save(fitted("gmm"), tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_other_tools_can_read_the_file(folder):
    with zipfile.ZipFile(folder / "gmm") as file:
        assert file.testzip() is None
        document = json.loads(file.read("document.json"))
        assert document["versions"]["skclean"] == skclean.__version__
        with file.open("arrays/0.npy") as stream:
            np.lib.format.read_array(stream, allow_pickle=False)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_skops_takes_them_too(name):
    skops = pytest.importorskip("skops.io")
    estimator = fitted(name)
    data = skops.dumps(estimator)
    trusted = skops.get_untrusted_types(data=data)
    assert all(kind.startswith(("skclean.", "sklearn.")) for kind in trusted)
    assert_same(answers(skops.loads(data, trusted=trusted)), answers(estimator))
