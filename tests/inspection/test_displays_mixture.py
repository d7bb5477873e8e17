"""LossMixtureDisplay and CredibilityDisplay."""

import warnings

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import make_blobs
from sklearn.pipeline import Pipeline

from skclean import AutoPurifier, CredibilityRelabeler, GMMCleaner, LabelledSamples
from skclean.datasets import make_symmetric_noise
from skclean.exceptions import NothingToSeparateWarning
from skclean.inspection import CredibilityDisplay, LossMixtureDisplay
from skclean.inspection._mixture import boundaries

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

X, TRUTH = make_blobs(600, centers=4, n_features=5, cluster_std=2.0, random_state=0)
GIVEN = make_symmetric_noise(TRUTH, 0.3, random_state=0)[0]


def legend(shown):
    return [text.get_text() for text in shown.ax_.get_legend().get_texts()]


def heights(shown):
    """Rows by bin: the bars of the groups stand on each other."""
    return np.sum([[bar.get_height() for bar in bars] for bars in shown.bars_], axis=0)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_losses_are_divided_at_the_boundary(threshold):
    cleaner = GMMCleaner(threshold).fit(X, GIVEN)
    shown = LossMixtureDisplay.from_estimator(cleaner)
    expected = -np.log(cleaner.label_distributions_[np.arange(600), GIVEN])
    np.testing.assert_allclose(shown.loss, expected)
    (cut,) = shown.boundary
    assert shown.lines_[0].get_xdata()[0] == cut
    kept = cleaner.clean_proba_ > cleaner.threshold_
    np.testing.assert_array_equal(shown.loss < cut, kept)
    np.testing.assert_array_equal(shown.group == 0, kept)
    assert legend(shown)[:2] == [f"label kept ({kept.sum()})", f"label judged wrong ({sum(~kept)})"]
    assert heights(shown).sum() == 600
    assert shown.ax_.get_xlabel().endswith("(nats)")


def test_curves_are_the_densities_of_the_mixture():
    shown = LossMixtureDisplay.from_estimator(GMMCleaner().fit(X, GIVEN), bins=25)
    width = shown.bars_[0][0].get_width()
    for k, curve in enumerate(shown.curves_):
        x, y = curve.get_data()
        density = shown.weights[0, k] * norm.pdf(
            x, shown.means[0, k], np.sqrt(shown.variances[0, k])
        )
        np.testing.assert_allclose(y, 600 * width * density)
    assert len(shown.curves_) == 2 and len(shown.bars_[0]) == 25


def test_coloured_by_the_true_labels():
    pipe = Pipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())]).fit(X, GIVEN)
    shown = LossMixtureDisplay.from_estimator(pipe, y_true=TRUTH)
    n_right = np.sum(GIVEN == TRUTH)
    assert legend(shown)[0] == f"label is right ({n_right})"
    shown = CredibilityDisplay.from_estimator(pipe, y_true=TRUTH)
    right = pipe[0].label_distributions_.argmax(axis=1) == TRUTH
    assert legend(shown)[0] == f"prediction is right ({right.sum()})"
    with pytest.raises(ValueError, match="expected y_true of 600 rows"):
        LossMixtureDisplay.from_estimator(pipe, y_true=TRUTH[:5])


def test_each_class_has_its_mixture():
    cleaner = GMMCleaner(class_aware=True).fit(X, GIVEN)
    shown = LossMixtureDisplay.from_estimator(cleaner)
    assert shown.weights.shape == (4, 2) and not len(shown.boundary)
    np.testing.assert_allclose(shown.weights.sum(), 1)
    np.testing.assert_allclose(shown.weights.sum(axis=1), np.bincount(GIVEN) / 600)


def test_nothing_to_separate():
    truth = np.arange(200) % 2
    proba = np.full((200, 2), 0.5)
    shown = LossMixtureDisplay.from_predictions(truth, proba)
    assert not shown.curves_ and not shown.lines_
    assert "One Gaussian" in shown.ax_.get_legend().get_title().get_text()
    shown = CredibilityDisplay.from_predictions(proba)
    assert not shown.curves_ and legend(shown) == ["credible (200)"]


def test_rows_without_a_label_or_that_could_not_be_read():
    y, readable = GIVEN.astype(object), np.arange(600) >= 20
    y[15:50] = None
    cleaner = GMMCleaner().fit(LabelledSamples(X, y, readable=readable))
    shown = LossMixtureDisplay.from_estimator(cleaner)
    rows = np.arange(50, 600)
    expected = -np.log(cleaner.label_distributions_[rows, GIVEN[50:]])
    np.testing.assert_allclose(shown.loss, expected)
    relabeler = CredibilityRelabeler().fit(LabelledSamples(X, y, readable=readable))
    assert len(CredibilityDisplay.from_estimator(relabeler).confidence) == 580


def test_losses_of_any_classifier():
    cleaner = GMMCleaner().fit(X, GIVEN)
    fitted = LossMixtureDisplay.from_estimator(cleaner)
    names = np.array(["ant", "bee", "cat", "dog"])
    for arguments in (
        (GIVEN, cleaner.label_distributions_),
        (names[GIVEN], cleaner.label_distributions_),
        (cleaner.transform(X),),
    ):
        shown = LossMixtureDisplay.from_predictions(*arguments)
        np.testing.assert_allclose(shown.loss, fitted.loss)
        np.testing.assert_allclose(shown.boundary, fitted.boundary)
        np.testing.assert_array_equal(shown.group, fitted.group)


def test_one_hot_labels_of_a_relabeler_have_no_losses():
    purified = CredibilityRelabeler().fit_transform(X, GIVEN)
    with pytest.raises(ValueError, match="do pass the output of the cleaner before it"):
        LossMixtureDisplay.from_predictions(purified)
    with pytest.raises(ValueError, match="expected proba beside y, got none"):
        LossMixtureDisplay.from_predictions(GIVEN)
    with pytest.raises(ValueError, match="expected given labels, got none"):
        LossMixtureDisplay.from_predictions([None, None], np.eye(2), classes=[0, 1])


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.95])
def test_predictions_are_believed_right_of_the_boundary(threshold):
    relabeler = CredibilityRelabeler(threshold).fit(X, GIVEN)
    shown = CredibilityDisplay.from_estimator(relabeler)
    top = relabeler.cleaner_.label_distributions_.max(axis=1)
    np.testing.assert_allclose(shown.confidence, top)
    credible = relabeler.right_proba_ > threshold
    if len(shown.boundary):
        np.testing.assert_array_equal(top > shown.boundary[0], credible)
    counts = {name: int(np.sum(relabeler._purified.status == name)) for name in shown.group_names}
    expected = [f"{name} ({n})" for name, n in counts.items() if n]
    assert legend(shown)[: len(expected)] == expected


def test_a_relabeler_fitted_alone_needs_what_it_saw():
    judged = GMMCleaner().fit_transform(X, GIVEN)
    relabeler = CredibilityRelabeler().fit(judged)
    with pytest.raises(ValueError, match="expected the cleaner before the CredibilityRelabeler"):
        CredibilityDisplay.from_estimator(relabeler)
    shown = CredibilityDisplay.from_estimator(relabeler, judged)
    pipe = Pipeline([("clean", GMMCleaner()), ("relabel", CredibilityRelabeler())]).fit(X, GIVEN)
    expected = CredibilityDisplay.from_estimator(pipe)
    np.testing.assert_allclose(shown.confidence, expected.confidence)
    np.testing.assert_array_equal(shown.group, expected.group)
    shown = CredibilityDisplay.from_predictions(judged)
    np.testing.assert_allclose(shown.boundary, expected.boundary)
    with pytest.raises(ValueError, match="expected a LabelledSamples with proba"):
        CredibilityDisplay.from_estimator(relabeler, X)


def test_no_rows():
    with pytest.raises(ValueError, match="at least one row, got none"):
        CredibilityDisplay.from_predictions(np.empty((0, 3)))


def test_the_mixture_inside_another_purifier():
    auto = AutoPurifier([("gmm", GMMCleaner())]).fit(X, GIVEN)
    alone = GMMCleaner().fit(X, GIVEN)
    shown = LossMixtureDisplay.from_estimator(auto)
    np.testing.assert_allclose(shown.loss, LossMixtureDisplay.from_estimator(alone).loss)


def test_clean_labels_are_drawn_too():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingToSeparateWarning)
        cleaner = GMMCleaner().fit(10 * X, TRUTH)
    assert len(LossMixtureDisplay.from_estimator(cleaner).loss) == 600


def test_boundaries_solve_for_the_posterior():
    weights, means, variances = np.array([0.6, 0.4]), np.array([0.2, 0.7]), np.array([0.01, 0.03])
    for threshold in (0.1, 0.5, 0.9):
        cuts = boundaries(weights, means, variances, threshold)
        density = weights * norm.pdf(cuts[:, None], means, np.sqrt(variances))
        np.testing.assert_allclose(density[:, 0] / density.sum(axis=1), threshold)
    (middle,) = boundaries(np.array([0.5, 0.5]), means, np.array([0.02, 0.02]), 0.5)
    np.testing.assert_allclose(middle, 0.45)
    assert not len(boundaries(weights, means, variances, 0.0))


def test_classes_of_the_columns_beside_a_container():
    names, n = np.array(["ant", "bee", "cat", "dog"]), 200
    proba = np.random.default_rng(0).dirichlet(np.ones(4), n)
    given = names[1 + GIVEN[:n] % 3]
    expected = LossMixtureDisplay.from_predictions(given, proba, classes=names)
    readable = np.arange(n) >= 5
    samples = LabelledSamples(X[:n], given, readable=readable)
    shown = LossMixtureDisplay.from_predictions(samples, proba, classes=names)
    np.testing.assert_array_equal(shown.loss, expected.loss[5:])
