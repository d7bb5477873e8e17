"""RetrainingCurveDisplay."""

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from skclean import GMMCleaner, NeuralRetrainer, SSLFeaturizer
from skclean.datasets import load_noisy_digits
from skclean.inspection import RetrainingCurveDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

HISTORY = {
    "labelled": np.array([2.0, 1.0, 0.5]),
    "graph_uu": np.array([np.nan, 0.2, 0.1]),
    "learning_rate": np.array([0.1, 0.05, 0.0]),
    "seconds": np.array([1.0, 1.0, 1.0]),
    "images_per_second": np.array([9.0, 9.0, 9.0]),
    "validation": np.array([0.5, 0.6, 0.7]),
}


def test_losses_and_shares_have_their_own_axes():
    shown = RetrainingCurveDisplay(HISTORY).plot()
    assert set(shown.lines_) == {"labelled", "graph_uu", "validation"}
    for name, line in shown.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), HISTORY[name])
    assert shown.lines_["labelled"].axes is shown.ax_
    assert shown.lines_["validation"].axes is shown.share_ax_
    texts = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert texts == ["labelled", "graph uu", "accuracy on rows held out"]
    assert shown.ax_.get_xlabel() == "Epoch" and shown.share_ax_.get_ylabel() == "Share"


def test_without_shares_there_is_one_axes():
    _, ax = plt.subplots()
    history = {"loss": [1.0, 0.5], "probe": [np.nan, np.nan]}
    shown = RetrainingCurveDisplay(history).plot(ax)
    assert shown.ax_ is ax and shown.share_ax_ is None and set(shown.lines_) == {"loss"}


def test_one_epoch_is_seen():
    shown = RetrainingCurveDisplay({"loss": [1.0]}).plot()
    assert shown.lines_["loss"].get_marker() == "o"


def test_a_history_without_losses():
    for history in ({}, {"seconds": [1.0]}):
        with pytest.raises(ValueError, match="expected a history with losses"):
            RetrainingCurveDisplay(history).plot()


def test_the_curves_of_a_retrainer_in_a_pipeline():
    pytest.importorskip("torch")
    digits = load_noisy_digits(random_state=0)
    X, y = digits.data[:300] / 16, digits.target_noisy[:300]
    retrainer = NeuralRetrainer("mixmatch", epochs=3, validation_fraction=0.2)
    pipe = Pipeline([("clean", GMMCleaner()), ("retrain", retrainer)]).fit(X, y)
    shown = RetrainingCurveDisplay.from_estimator(pipe)
    assert set(shown.lines_) == {"labelled", "unlabelled", "validation"}
    history = pipe[-1].history_
    np.testing.assert_array_equal(shown.lines_["unlabelled"].get_ydata(), history["unlabelled"])


def test_an_estimator_that_trained_no_network():
    pytest.importorskip("torch")
    images = load_noisy_digits(random_state=0).images[:60]
    featurizer = SSLFeaturizer("kmeans", random_state=0).fit(images)
    with pytest.raises(ValueError, match="do pass an estimator that trained a network"):
        RetrainingCurveDisplay.from_estimator(featurizer)
