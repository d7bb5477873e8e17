"""EmbeddingDisplay."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA

from skclean import CredibilityRelabeler, LabelledSamples
from skclean.datasets import make_symmetric_noise
from skclean.inspection import EmbeddingDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

X, TRUTH = make_blobs(400, centers=4, n_features=6, cluster_std=2.0, random_state=0)
GIVEN = make_symmetric_noise(TRUTH, 0.3, random_state=0)[0]
RELABELER = CredibilityRelabeler().fit(X, GIVEN)


def test_points_are_coloured_by_status():
    shown = EmbeddingDisplay.from_estimator(RELABELER, X)
    status = RELABELER.transform(X).status
    points = PCA(2).fit_transform(X)
    assert set(shown.points_) == set(status)
    for name, artist in shown.points_.items():
        np.testing.assert_allclose(artist.get_offsets(), points[status == name])
    assert len({tuple(a.get_facecolor()[0]) for a in shown.points_.values()}) == len(set(status))
    texts = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert texts[0] == f"kept ({np.sum(status == 'kept')})" and not shown.text_
    assert "% of the variance" in shown.ax_.get_xlabel()


@pytest.mark.parametrize("by", ["label", "given"])
def test_points_are_coloured_by_class(by):
    samples = RELABELER.transform(X)
    shown = EmbeddingDisplay.from_predictions(samples, by=by)
    codes = GIVEN if by == "given" else np.where(samples.known, samples.labels, -1)
    names = {"no label" if c < 0 else str(c) for c in codes}
    assert set(shown.points_) == names
    assert [text.get_text() for text in shown.text_] == ["0", "1", "2", "3"]
    assert len(shown.points_["2"].get_offsets()) == np.sum(codes == 2)


def test_rows_are_drawn_by_the_seed():
    one, same, other = (
        EmbeddingDisplay.from_estimator(RELABELER, X, max_points=50, random_state=seed)
        for seed in (0, 0, 1)
    )
    assert one.points.shape == (50, 2)
    np.testing.assert_array_equal(one.points, same.points)
    assert not np.array_equal(one.codes, other.codes)
    assert one.ax_.get_legend().get_title().get_text() == "50 of 400 rows"


def test_a_projection_of_the_user():
    place = np.random.default_rng(0).random((400, 2))
    shown = EmbeddingDisplay.from_estimator(RELABELER, X, projection=place, max_points=100)
    assert {tuple(p) for p in shown.points} <= {tuple(p) for p in place}
    assert shown.ax_.get_xlabel() == "First dimension"
    with pytest.raises(ValueError, match=r"projection of shape \(400, 2\)"):
        EmbeddingDisplay.from_estimator(RELABELER, X, projection=place[:9])


def test_arrays_and_any_labels():
    shown = EmbeddingDisplay.from_predictions(X, np.where(GIVEN == TRUTH, "right", "wrong"))
    assert len(shown.points_["wrong"].get_offsets()) == np.sum(GIVEN != TRUTH)
    with pytest.raises(ValueError, match="expected y of 400 rows"):
        EmbeddingDisplay.from_predictions(X, GIVEN[:3])


def test_many_classes_share_a_colour():
    y = np.repeat(np.arange(100), 4)
    shown = EmbeddingDisplay.from_predictions(X, y)
    assert len(shown.points_) == 15 and "86 other classes" in shown.points_
    styles = {
        (tuple(a.get_facecolor()[0]), a.get_paths()[0].vertices.shape)
        for a in shown.points_.values()
    }
    assert len(styles) == 15


def test_features_of_one_column_all_alike_and_of_images():
    for features in (X[:, :1], np.zeros((400, 3)), X.reshape(400, 2, 3)):
        shown = EmbeddingDisplay.from_predictions(features, GIVEN)
        assert np.isfinite(shown.points).all()


def test_rows_that_could_not_be_read_are_left_out():
    features = X.copy()
    features[:7] = np.nan
    samples = LabelledSamples(features, GIVEN, readable=np.arange(400) >= 7)
    assert len(EmbeddingDisplay.from_predictions(samples, by="given").points) == 393


def test_torch_features():
    torch = pytest.importorskip("torch")
    samples = RELABELER.transform(X)
    there = samples.with_features(torch.from_numpy(X))
    expected = EmbeddingDisplay.from_predictions(samples)
    np.testing.assert_allclose(EmbeddingDisplay.from_predictions(there).points, expected.points)


def test_names_are_drawn_letter_by_letter():
    names = np.array(["$x$", "_hidden", "c", "d"])
    shown = EmbeddingDisplay.from_predictions(X, names[GIVEN])
    shown.figure_.canvas.draw()
    texts = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert len(texts) == 4 and {r"\$x\$", " _hidden"} <= {t.get_text() for t in shown.text_}


def test_nothing_to_colour_by():
    for wrong in (X, LabelledSamples(X, GIVEN)):
        with pytest.raises(ValueError, match="expected a LabelledSamples with status, got a"):
            EmbeddingDisplay.from_predictions(wrong)
    with pytest.raises(ValueError, match="expected by to be one of"):
        EmbeddingDisplay.from_predictions(X, by="colour")
    with pytest.raises(ValueError, match="does not keep the features"):
        EmbeddingDisplay.from_estimator(RELABELER, None)


def test_rows_that_could_not_be_read_are_no_points_whatever_colours_them():
    read = np.arange(len(X)) >= 7
    samples = LabelledSamples(np.where(read[:, None], X, np.nan), GIVEN, readable=read)
    for shown in (
        EmbeddingDisplay.from_predictions(samples, by="given"),
        EmbeddingDisplay.from_predictions(samples, TRUTH),
    ):
        assert shown.points.shape == (len(X) - 7, 2) and np.isfinite(shown.points).all()
