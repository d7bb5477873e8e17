"""What is done with purified labels works on containers of dask arrays, or says what to compute."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    LabelledSamples,
    PurifiedClassifier,
    TransitionCleaner,
)
from skclean._array import is_dask
from skclean.compose import OnFeatures
from skclean.datasets import load_noisy_digits
from skclean.evidence import LeaveOneOutRidge
from skclean.saving import load, save

da = pytest.importorskip("dask.array")

DIGITS = load_noisy_digits(noise_rate=0.4, random_state=0)
X, Y = DIGITS.data[:600] / 16, np.where(np.arange(600) % 50 == 0, -1, DIGITS.target_noisy[:600])
LAZY = da.from_array(X, chunks=(250, -1))
DISPLAYS = {
    "ClassBalanceDisplay": {},
    "CredibilityDisplay": {},
    "EmbeddingDisplay": {"max_points": 50},
    "LabelFlowDisplay": {},
    "LossMixtureDisplay": {},
}


@pytest.fixture(scope="module")
def pair():
    """The same rows purified in memory and on dask, and the cleaner of these."""
    cleaner = GMMCleaner(estimator=LeaveOneOutRidge("linear"), missing_label=-1)
    here = cleaner.fit_transform(X, Y)
    return here, cleaner.fit_transform(LAZY, Y), cleaner


def test_to_frame(pair):
    pd = pytest.importorskip("pandas")
    here, there, _ = pair
    for options in ({}, {"cleanlab": True}):
        pd.testing.assert_frame_equal(here.to_frame(**options), there.to_frame(**options))
    unjudged = [samples._replace(clean_proba=None) for samples in (here, there)]
    frames = [samples.to_frame(cleanlab=True) for samples in unjudged]
    pd.testing.assert_frame_equal(*frames)
    with pytest.raises(ValueError, match=r"features in memory, got a dask.*X\.compute\(\)"):
        there.to_frame(features=True)


@pytest.mark.parametrize("use", ["labels", "weights"])
def test_purified_classifier(pair, use):
    here, there, _ = pair
    models = [PurifiedClassifier(RidgeClassifier(), use=use).fit(s) for s in (here, there)]
    np.testing.assert_array_equal(models[0].predict(X), models[1].predict(LAZY))


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        OrdinalEncoder(),
        PCA(5, svd_solver="full").set_output(transform="pandas"),
    ],
)
def test_transformers_of_features(transformer):
    pytest.importorskip("pandas")
    both = [LabelledSamples(x, Y, missing_label=-1) for x in (X, LAZY)]
    samples = [OnFeatures(transformer).fit_transform(s) for s in both]
    here, there = (s.features for s in samples)
    assert is_dask(there) and there.dtype == here.dtype
    np.testing.assert_allclose(there.compute(), here, atol=1e-5)
    np.testing.assert_array_equal(*(s.feature_names for s in samples))
    cleaner = TransitionCleaner(estimator=LeaveOneOutRidge("linear"))
    np.testing.assert_array_equal(*(cleaner.fit_transform(s).labels for s in samples))


def test_transformed_features_stay_what_they_are():
    """Whenever they are read, and wherever: a transformer may write to what it is given."""
    samples = LabelledSamples(LAZY.rechunk(-1).persist(), Y, missing_label=-1)
    scaler = OnFeatures(StandardScaler(copy=False))
    features = scaler.fit_transform(samples).features
    scaler.fit(samples.with_features(2 * LAZY + 1))
    for x in (features, features, pickle.loads(pickle.dumps(features))):
        np.testing.assert_allclose(x.compute(), StandardScaler().fit_transform(X), atol=1e-5)


def test_transformers_that_give_sparse_matrices():
    with pytest.raises(ValueError, match=r"expected dense features.*TruncatedSVD"):
        OnFeatures(OneHotEncoder()).fit_transform(LabelledSamples(LAZY, Y, missing_label=-1))


def test_soft_labels_are_wanted_in_memory(pair):
    with pytest.raises(ValueError, match=r"PurifiedClassifier: expected proba in memory.*compute"):
        PurifiedClassifier(use="soft").fit(pair[1])


def test_report(pair, tmp_path):
    pytest.importorskip("jinja2")
    from skclean.inspection import write_report

    here, there, cleaner = pair
    settings = {"cleaner": cleaner, "max_rows": 40, "ids": [f"r{i}" for i in range(600)]}
    pages = [write_report(s, tmp_path / f"{i}", **settings) for i, s in enumerate((here, there))]
    first, second = (page.read_text(encoding="utf-8") for page in pages)
    assert first == second and "r50" in first


def test_report_of_a_relabeler(tmp_path):
    pytest.importorskip("jinja2")
    from skclean.inspection import write_report

    cleaner = CredibilityRelabeler(cleaner=GMMCleaner(estimator=LeaveOneOutRidge("linear")))
    samples = cleaner.fit_transform(LAZY, DIGITS.target_noisy[:600])
    page = write_report(samples, tmp_path / "page", cleaner=cleaner).read_text(encoding="utf-8")
    assert page.count("Components:") == 2


@pytest.mark.parametrize("name", DISPLAYS)
def test_displays(pair, name):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import skclean.inspection

    display = getattr(skclean.inspection, name)
    shown = [display.from_predictions(s, **DISPLAYS[name]) for s in pair[:2]]
    limits = [(one.ax_.get_xlim(), one.ax_.get_ylim()) for one in shown]
    np.testing.assert_allclose(*limits, rtol=1e-6)
    plt.close("all")


def test_hugging_face(pair):
    datasets = pytest.importorskip("datasets")
    from skclean.interop import to_huggingface

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"row": list(range(600))})
    here, there = (to_huggingface(rows, samples) for samples in pair[:2])
    assert here["purified_label_proba"][:] == there["purified_label_proba"][:]
    with pytest.raises(ValueError, match="expected proba in memory.*soft=False"):
        to_huggingface(rows, pair[1], soft=True)


def test_torch_datasets(pair):
    torch = pytest.importorskip("torch")
    from skclean.interop import PurifiedDataset

    inputs = torch.utils.data.TensorDataset(torch.from_numpy(X))
    here, there = (PurifiedDataset(inputs, samples) for samples in pair[:2])
    assert len(here) == len(there) and all(torch.equal(*ab) for ab in zip(here[3], there[3]))
    with pytest.raises(ValueError, match="expected features in memory.*a dataset of the inputs"):
        PurifiedDataset(None, pair[1])
    with pytest.raises(ValueError, match='expected proba in memory.*labels="hard"'):
        PurifiedDataset(inputs, pair[1], labels="soft")


def test_the_sampler():
    from skclean.interop import PurifyingSampler

    sampler = PurifyingSampler(GMMCleaner(estimator=LeaveOneOutRidge("linear")))
    features, labels = sampler.fit_resample(LAZY, DIGITS.target_noisy[:600])
    np.testing.assert_array_equal(features.compute(), X[sampler.sample_indices_])
    assert len(labels) == len(features)


def test_a_saved_cleaner_judges_dask_arrays_and_others(pair, tmp_path):
    _, there, cleaner = pair
    again = load(save(cleaner, tmp_path / "a"))
    batch = da.from_array(DIGITS.data[600:800] / 16, chunks=(90, -1))
    later = LabelledSamples(batch, DIGITS.target_noisy[600:800])
    for rows in (LAZY, X, later):
        found, expected = again.transform(rows), cleaner.transform(rows)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(np.asarray(found.proba), np.asarray(expected.proba))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(there._repr_html_()) > 1000
