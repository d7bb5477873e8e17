"""Landmarks of a kernel."""

import numpy as np
import pytest

from skclean.linalg.feature_map import draw_rows, spread_landmarks


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def slow_landmarks(rows, n_landmarks, rng, widths):
    """Two rounds of k-means, row by row."""
    means = [rows[i] for i in sorted(rng.permutation(len(rows))[:n_landmarks])]
    for _ in range(2):
        members = [[] for _ in means]
        for row in rows:
            members[np.argmin([np.sum(((row - m) / widths) ** 2) for m in means])].append(row)
        means = [np.mean(own, axis=0) if own else m for own, m in zip(members, means, strict=True)]
    return np.array(means)


@pytest.mark.parametrize("widths", [1.0, np.array([1.0, 100.0, 0.01])])
def test_landmarks_are_means_of_rows_near_one_another(xp, rng, widths):
    rows = 7 + rng.standard_normal((60, 3)) * widths
    like = xp.asarray(rows)
    by = widths if np.isscalar(widths) else xp.asarray(widths)
    found = spread_landmarks(like, 9, np.random.RandomState(3), by)
    expected = slow_landmarks(rows, 9, np.random.RandomState(3), widths)
    np.testing.assert_allclose(xp.to_numpy(found), expected, rtol=1e-9)
    assert type(found) is type(like) and found.dtype == like.dtype


def test_no_more_rows_than_landmarks_are_landmarks(rng):
    rows = rng.standard_normal((20, 3)).astype(np.float32)
    assert spread_landmarks(rows, 20, rng) is rows


@pytest.mark.parametrize("far", [1.0, 1e15])
def test_equal_rows_and_one_far_out(far):
    rows = np.repeat(np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32), 10, axis=0)
    rows[3] *= far
    found = spread_landmarks(rows, 5, np.random.RandomState(0))
    assert found.shape == (5, 2) and np.isfinite(found).all()
    # A landmark that no row is nearest to stays where it is.
    assert {tuple(row) for row in found} <= {tuple(row) for row in rows}


def test_drawn_rows_keep_their_order(rng):
    X = np.arange(50.0)[:, None]
    drawn = draw_rows(X, 20, rng)[:, 0]
    assert len(drawn) == 20 and (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(draw_rows(X, 80, rng), X)
