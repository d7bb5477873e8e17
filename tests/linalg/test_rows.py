import pickle
import time

import numpy as np
import pytest

from skclean.linalg.rows import TOLERANCE, RowIndex


def match_slowly(fit, batch, outcome=None):
    """Literal twin: compare every pair of rows by their full standardised difference."""
    fit, batch = np.asarray(fit, float), np.asarray(batch, float)
    centre = fit.mean(axis=0)
    spread = np.abs(fit - centre).mean(axis=0)
    spread = np.where(spread <= 1e-6 * np.abs(centre), np.where(centre, abs(centre), 1), spread)
    offset = np.sum(np.minimum(np.abs(centre) / spread, 100) ** 2)
    outcome = np.arange(len(fit)) if outcome is None else outcome
    rows = np.full(len(batch), -1)
    for i, row in enumerate(batch):
        size = np.sqrt(np.sum(((row - centre) / spread) ** 2) + offset)
        distance = np.sqrt(np.sum(((fit - row) / spread) ** 2, axis=1))
        for radius in (1e-12 * size, TOLERANCE * size):
            near = np.flatnonzero(distance <= radius)
            if len(near) and rows[i] < 0 and len(set(outcome[near])) == 1:
                rows[i] = near[0]
    return rows


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def data(kind, rng, n=400, d=20):
    X = rng.standard_normal((n, d))
    if kind == "offset":
        X += 50
    elif kind == "far offset":
        X += 1e6
    elif kind == "scales":
        X *= 10.0 ** rng.integers(-150, 150, size=d)
    elif kind == "relu":
        X = np.maximum(X, 0) + (np.arange(d) % 3 == 0) * 5.0
        X[:, 5] = 0
        X[:, 6] = 7
    elif kind == "one column":
        X = X[:, :1]
    elif kind == "wide":
        X = rng.standard_normal((n, 600)) / 24
    elif kind == "constant":
        X[:, 1:] = 3
    return X


KINDS = ["plain", "offset", "far offset", "scales", "relu", "one column", "wide", "constant"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_found_and_no_stranger(kind, rng):
    X = data(kind, rng)
    fit, strangers = X[:300], X[300:]
    index = RowIndex(fit)
    order = rng.permutation(300)
    np.testing.assert_array_equal(index.match(fit), np.arange(300))
    np.testing.assert_array_equal(index.match(fit[order]), order)
    np.testing.assert_array_equal(index.match(fit[50:120]), np.arange(50, 120))
    np.testing.assert_array_equal(index.match(strangers), -1)


@pytest.mark.parametrize("kind", ["plain", "offset", "scales", "relu", "wide"])
@pytest.mark.parametrize("seed", range(3))
def test_last_bits_are_tolerated_and_near_duplicates_are_not(kind, seed):
    rng = np.random.default_rng(seed)
    X = data(kind, rng)
    index, order = RowIndex(X), rng.permutation(len(X))
    noise = rng.standard_normal(X.shape)
    np.testing.assert_array_equal(index.match((X * (1 + 1e-6 * noise))[order]), order)
    np.testing.assert_array_equal(index.match((X * (1 + 1e-4 * noise))[order]), -1)
    length = np.sqrt(np.sum(X * X, axis=1, keepdims=True)) if kind != "scales" else np.abs(X)
    unit = noise / np.sqrt(np.sum(noise**2, axis=1, keepdims=True))
    np.testing.assert_array_equal(index.match(X + 1e-4 * length * unit * np.sqrt(10)), -1)


def test_near_duplicates_within_the_fit_are_told_apart(rng):
    X = data("plain", rng)
    X = np.vstack([X, X * (1 + 1e-4 * rng.standard_normal(X.shape))])
    order = rng.permutation(len(X))
    moved = X[order] * (1 + 1e-6 * rng.standard_normal(X.shape))
    np.testing.assert_array_equal(RowIndex(X).match(moved), order)


def test_rows_within_the_tolerance_need_the_same_bits(rng):
    X = data("plain", rng)
    X = np.vstack([X, X * (1 + 1e-7 * rng.standard_normal(X.shape))])
    order = rng.permutation(len(X))
    np.testing.assert_array_equal(RowIndex(X).match(X[order]), order)
    # Between the two there is no telling.
    between = (X[:400] + X[400:]) / 2
    np.testing.assert_array_equal(RowIndex(X).match(between), -1)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, size=(200, 4)).astype(float)  # many exact duplicates
    outcome = rng.integers(0, 2, size=200)
    batch = np.vstack([X[rng.permutation(200)[:90]], rng.integers(0, 4, size=(90, 4))])
    batch[::3] *= 1 + 1e-6 * rng.uniform(-1, 1, size=batch[::3].shape)
    expected = match_slowly(X, batch, outcome)
    found = RowIndex(X, outcome).match(batch)
    np.testing.assert_array_equal(found >= 0, expected >= 0)
    assert (found >= 0).any() and (found < 0).any()
    matched = found >= 0
    np.testing.assert_array_equal(X[found[matched]], X[expected[matched]])
    np.testing.assert_array_equal(outcome[found[matched]], outcome[expected[matched]])


@pytest.mark.parametrize("fit_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_mix(fit_dtype, dtype, rng):
    X = data("offset", rng)
    index = RowIndex(X.astype(fit_dtype))
    order = rng.permutation(len(X))
    np.testing.assert_array_equal(index.match(X[order].astype(dtype)), order)
    half = X.astype(np.float16)
    index = RowIndex(half)
    np.testing.assert_array_equal(index.match(half[::-1].astype(np.float32)), np.arange(400)[::-1])


def test_duplicates_with_different_outcomes(rng):
    X = data("plain", rng, n=10)
    X[7] = X[2]
    alike, unlike = np.zeros(10, int), np.arange(10)
    some = [1, 2, 7, 9]
    np.testing.assert_array_equal(RowIndex(X, alike).match(X[some]), [1, 2, 2, 9])
    np.testing.assert_array_equal(RowIndex(X, unlike).match(X[some]), [1, -1, -1, 9])
    np.testing.assert_array_equal(RowIndex(X).match(X[some]), [1, -1, -1, 9])
    # The whole batch in its order: each row is itself.
    np.testing.assert_array_equal(RowIndex(X, unlike).match(X), np.arange(10))
    np.testing.assert_array_equal(RowIndex(X, unlike).match(X * (1 + 1e-7)), np.arange(10))
    # As many rows in another order are not the batch of the fit.
    expected = np.where(np.isin(np.arange(10), [2, 7]), -1, np.arange(10))[::-1]
    np.testing.assert_array_equal(RowIndex(X, unlike).match(X[::-1]), expected)


def test_an_index_serves_other_outcomes_of_the_same_rows(rng):
    X = data("plain", rng, n=50)
    X[[7, 9]] = X[2]
    given = rng.integers(0, 2, 50)
    index, outcome = RowIndex(X, given=given), rng.integers(0, 2, 50)
    other = index.with_outcome(outcome)
    batch = X[rng.permutation(50)]
    np.testing.assert_array_equal(other.match(batch), RowIndex(X, outcome, given).match(batch))
    np.testing.assert_array_equal(index.match(batch), RowIndex(X, given=given).match(batch))
    assert index.is_of(X, given) and not index.is_of(X, 1 - given)
    assert not index.is_of(X[:49], given[:49]) and not index.is_of(2 * X, given)


def test_given_labels_tell_duplicates_apart(rng):
    X = data("plain", rng, n=6)
    X[4] = X[1]
    index = RowIndex(X, given=np.array([0, 0, 0, 0, 1, -1]))
    rows = index.match(X[[1, 1, 1, 0, 0, 5, 5]], given=np.array([0, 1, -1, 0, 1, -1, 0]))
    np.testing.assert_array_equal(rows, [1, 4, -1, 0, -1, 5, -1])


def test_a_thousand_equal_rows(rng):
    X = np.vstack([np.zeros((5000, 12)), rng.standard_normal((50, 12))])
    rows = RowIndex(X, np.r_[np.zeros(5000, int), np.arange(1, 51)]).match(X[::-1])
    np.testing.assert_array_equal(rows, np.r_[np.arange(5049, 4999, -1), np.zeros(5000, int)])
    unlike = RowIndex(X, np.arange(5050))
    np.testing.assert_array_equal(unlike.match(X), np.arange(5050))
    np.testing.assert_array_equal(unlike.match(X[::-1])[50:], -1)
    assert (RowIndex(X).match(np.zeros((3, 12))) == -1).all()


def test_constant_up_to_the_last_bits(rng):
    X = data("plain", rng)
    X[:, 3] = 5 * (1 + 1e-7 * rng.standard_normal(400))
    again = X.copy()
    again[:, 3] = 5 * (1 + 1e-7 * rng.standard_normal(400))
    np.testing.assert_array_equal(RowIndex(X).match(again[::-1]), np.arange(400)[::-1])


def test_no_row_and_one_row():
    one = np.array([[3.0, 0.0]])
    assert RowIndex(one).match(one) == 0
    assert RowIndex(one).match(one * (1 + 1e-3)) == -1
    assert RowIndex(one).match(one[:0]).shape == (0,)
    assert RowIndex(one[:0]).match(one) == -1


def test_libraries_mix(xp, rng):
    X = data("plain", rng).astype(np.float32)
    order = rng.permutation(400)
    for fit, batch in [(X, X[order]), (xp.asarray(X), X[order]), (X, xp.asarray(X[order]))]:
        np.testing.assert_array_equal(RowIndex(fit).match(batch), order)


def test_keeps_a_few_floats_a_row_and_leaves_the_features_alone(rng):
    X = rng.standard_normal((2000, 300))
    X.flags.writeable = False
    before = X.copy()
    index = RowIndex(X)
    assert len(pickle.dumps(index)) < 2000 * 20 * 8
    np.testing.assert_array_equal(X, before)


def test_other_columns_are_refused(rng):
    X = data("plain", rng)
    with pytest.raises(ValueError, match="expected 20 features, got 19"):
        RowIndex(X).match(X[:, 1:])


@pytest.mark.parametrize("kind", ["rare flag", "rare size", "far row"])
def test_what_few_rows_do_not_show(kind, rng):
    """Columns that are the same in the rows from which spreads are estimated."""
    n, some = 20_000, np.arange(7, 20_000, 2000)
    X = rng.standard_normal((n, 30))
    if kind == "rare flag":
        X[:, 3] = 0
        X[some, 3] = 1e6
    elif kind == "rare size":
        X[:, 3] = 5 * (1 + 0.1 * rng.standard_normal(n))
        X[some, 3] = 700
    else:
        X[some] *= 1e8
    index, noise = RowIndex(X), rng.standard_normal(X.shape)
    order = rng.permutation(n)
    np.testing.assert_array_equal(index.match(X[order]), order)
    np.testing.assert_array_equal(index.match((X * (1 + 1e-6 * noise))[order]), order)
    np.testing.assert_array_equal(index.match(X * (1 + 1e-4 * noise)), -1)
    strangers = X[some]
    strangers[:, 4:] *= 1 + 1e-2 * noise[some, 4:]
    np.testing.assert_array_equal(index.match(strangers), -1)


def test_many_rows_quickly(rng):
    X = rng.standard_normal((200_000, 64)).astype(np.float32)
    order = rng.permutation(len(X))
    batch = X[order]
    start = time.perf_counter()
    rows = RowIndex(X).match(batch)
    seconds = time.perf_counter() - start
    np.testing.assert_array_equal(rows, order)
    assert seconds < 4  # .4 s when nothing else runs; a square number of pairs would take hours


def test_rows_too_far_out_to_square_are_no_rows_of_the_fit(rng):
    X = rng.standard_normal((50, 4))
    index = RowIndex(X, np.arange(50), np.zeros(50, dtype=np.int64))
    with np.errstate(over="ignore", invalid="ignore"):
        assert (index.match(X[:3] * 1e200, np.zeros(3, dtype=np.int64)) < 0).all()


def test_a_rare_small_value_tells_rows_apart():
    """A column that is constant in most rows counts by what it is in the others."""
    rng = np.random.default_rng(0)
    years, kelvin = rng.integers(2000, 2025, 20_000), 288 + rng.normal(size=20_000)
    rate = np.zeros(20_000)
    rate[rng.choice(np.flatnonzero(np.arange(20_000) % 20), 30)] = 4e-4
    X = np.column_stack([years, kelvin, rate])
    index, new = RowIndex(X), X[:2000].copy()
    new[:, 2] = 4e-4
    new = new[rate[:2000] == 0]
    assert (index.match(new) >= 0).mean() < 0.01
    assert (index.match(X) >= 0).mean() > 0.9
