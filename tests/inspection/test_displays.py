"""What all displays share: where they find the cleaner, and what they leave alone."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import skclean.inspection
from skclean import CredibilityRelabeler, GMMCleaner, PurifiedClassifier, TransitionCleaner
from skclean.compose import OnFeatures
from skclean.datasets import make_symmetric_noise

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

X, TRUTH = make_blobs(300, centers=3, n_features=5, cluster_std=2.0, random_state=0)
GIVEN = make_symmetric_noise(TRUTH, 0.3, random_state=0)[0]
DISPLAYS = [name for name in skclean.inspection.__all__ if name.endswith("Display")]
OF_LABELS = ["ClassBalanceDisplay", "EmbeddingDisplay", "LabelFlowDisplay"]


def display(name):
    return getattr(skclean.inspection, name)


def reed():
    steps = [
        ("scale", StandardScaler()),
        ("clean", GMMCleaner()),
        ("relabel", CredibilityRelabeler()),
        ("predict", PurifiedClassifier()),
    ]
    return Pipeline(steps)


def drawn(name, estimator, **kwargs):
    rows = [X] if name == "EmbeddingDisplay" else []
    return display(name).from_estimator(estimator, *rows, **kwargs)


def test_names_are_imported_without_matplotlib():
    names = ", ".join(skclean.inspection.__all__)
    code = f"from skclean.inspection import {names}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"matplotlib", "torch", "jinja2"} & set(done.stdout.split())


def test_verdicts_is_the_function_and_not_its_module():
    code = (
        "import skclean.inspection.verdicts; from skclean.inspection import verdicts; "
        "assert callable(verdicts)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(set(DISPLAYS) - {"RetrainingCurveDisplay"}))
def test_a_cleaner_is_found_in_a_pipeline_a_search_and_frozen(name):
    search = GridSearchCV(reed(), {"clean__threshold": [0.5]}, cv=2).fit(X, GIVEN)
    alone = drawn(name, search.best_estimator_)
    for estimator in (search, FrozenEstimator(search.best_estimator_)):
        found = drawn(name, estimator)
        for field, value in vars(alone).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(found, field), value)
        assert found.ax_.get_xlabel() and found.ax_.get_ylabel()


@pytest.mark.parametrize("name", sorted(set(DISPLAYS) - {"RetrainingCurveDisplay"}))
def test_given_axes_are_drawn_on_and_no_figure_is_made(name):
    pipe = reed().fit(X, GIVEN)
    figure, (left, right) = plt.subplots(1, 2)
    shown = drawn(name, pipe, ax=left)
    assert shown.ax_ is left and shown.figure_ is figure
    assert plt.get_fignums() == [figure.number] and not right.has_data()
    again = shown.plot()
    assert again is shown and shown.figure_ is not figure


@pytest.mark.parametrize("name", DISPLAYS)
def test_what_is_missing_is_named(name):
    pipe = Pipeline([("scale", OnFeatures(StandardScaler())), ("predict", PurifiedClassifier())])
    with pytest.raises(ValueError, match=rf"{name}: expected a .*Pipeline of OnFeatures, Purif"):
        drawn(name, pipe.fit(X, GIVEN))


@pytest.mark.parametrize("name", sorted(set(DISPLAYS) - {"RetrainingCurveDisplay"}))
def test_an_estimator_that_is_not_fitted(name):
    with pytest.raises(NotFittedError, match="not fitted"):
        drawn(name, reed())


@pytest.mark.parametrize("name", OF_LABELS)
def test_the_last_cleaner_counts(name):
    pipe = reed().fit(X, GIVEN)
    purified = pipe[:-1].transform(X)
    assert set(purified.status) == {"kept", "corrected", "unknown"}
    np.testing.assert_equal(
        _arrays(drawn(name, pipe)), _arrays(display(name).from_predictions(purified))
    )


@pytest.mark.parametrize("name", ["ClassBalanceDisplay", "LabelFlowDisplay"])
def test_rows_of_a_later_batch(name):
    cleaner = TransitionCleaner().fit(X, GIVEN)
    batch = skclean.LabelledSamples(X[:50] + 0.01, GIVEN[:50])
    shown = display(name).from_estimator(cleaner, batch)
    expected = display(name).from_predictions(cleaner.transform(batch))
    np.testing.assert_equal(_arrays(shown), _arrays(expected))


@pytest.mark.parametrize("name", ["ClassBalanceDisplay", "LabelFlowDisplay"])
def test_labels_that_were_not_purified(name):
    with pytest.raises(ValueError, match=f"{name}: expected purified labels, got a container"):
        display(name).from_predictions(skclean.LabelledSamples(X, GIVEN))
    with pytest.raises(ValueError, match=f"{name}: expected purified labels beside y, got none"):
        display(name).from_predictions(GIVEN)
    with pytest.raises(ValueError, match=f"{name}: expected as many purified labels as given"):
        display(name).from_predictions(GIVEN, GIVEN[:-1])


def test_matplotlib_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "skclean\[report\]"'):
        display("LabelFlowDisplay").from_predictions(GIVEN, TRUTH)


def _arrays(shown):
    return {k: v for k, v in vars(shown).items() if isinstance(v, np.ndarray)}
