import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits, load_iris, load_wine, make_moons
from sklearn.decomposition import PCA

from skclean import LabelledSamples, TransitionCleaner, load, save
from skclean.evidence import LeaveOneOutRidge, leave_one_out
from skclean.evidence.columns import clipped_columns, even_widths, likely_widths, unlike
from skclean.linalg.feature_map import kernel_map
from skclean.linalg.least_squares import choose_alpha, fit_ridge

UNITS = np.array([1e3, 1.0, 0.02, 1.0])


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@pytest.fixture
def fits(monkeypatch):
    """The data (X, codes, targets, groups, weight) of each regression."""
    seen, fit = [], leave_one_out._fit_map
    monkeypatch.setattr(
        leave_one_out, "_fit_map", lambda *args: seen.append(args[4:]) or fit(*args)
    )
    return seen


def column_widths(Z):
    return likely_widths(Z)[0]


def noisy_iris(rng, rate=0.2):
    X, y = load_iris(return_X_y=True)
    return X, np.where(rng.random_sample(150) < rate, (y + rng.randint(1, 3, 150)) % 3, y)


def test_a_few_rows_far_out_do_not_make_a_column_wide(rng):
    Z = rng.standard_normal((1000, 4))
    Z[:, 1] = Z[:, 1] > 2
    Z[:, 2] = 5
    Z[:20, 3] = 1e9
    widths = column_widths(Z)
    np.testing.assert_allclose(widths, [1, Z[:, 1].std(), 0, 1], rtol=0.1)
    assert not unlike(widths)


@pytest.mark.parametrize("value", [0, 1])
def test_a_rare_value_makes_a_column_no_narrower(value):
    Z = np.arange(1000)[:, None] < [40, 50, 60]
    widths = column_widths((Z == value).astype(float))
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_roundings_stay_negligible(rng, dtype):
    X, y = noisy_iris(rng, 0.3)
    X = np.hstack([X, X @ rng.standard_normal((4, 16))]).astype(dtype)
    components = PCA(20, svd_solver="full").fit_transform(X)
    # Beside columns of unlike units, too, and whatever the unit.
    noise = 1e9 * np.finfo(dtype).eps * rng.standard_normal((150, 16))
    table = np.hstack([X[:, :4] * UNITS * 1e6, noise]).astype(dtype)
    for given in (components, table):
        assert (column_widths(given) > 0).tolist() == [True] * 4 + [False] * 16
        found = LeaveOneOutRidge(alphas=[1.0]).fit(given, y)
        expected = LeaveOneOutRidge(alphas=[1.0]).fit(given[:, :4], y)
        np.testing.assert_allclose(found.loo_proba(), expected.loo_proba(), atol=1e-3)


@pytest.mark.parametrize("n_amounts", [15, 40, 200])
def test_narrow_columns_beside_great_amounts_are_no_roundings(rng, n_amounts):
    X, y = (a[:400] for a in load_digits(n_class=4, return_X_y=True))
    table = np.hstack([X / 16, np.zeros((400, 20))]).astype(np.float32)
    for j in range(64, 84):
        rows = rng.choice(400, n_amounts, replace=False)
        table[rows, j] = 1e6 * rng.random_sample(n_amounts)
    assert (column_widths(table)[:64] == 0).all()
    proba = LeaveOneOutRidge().fit(table, y).loo_proba()
    assert np.mean(proba.argmax(axis=1) == y) > 0.9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1, 1e-6])
def test_the_largest_values_of_narrow_columns(rng, unit):
    y = rng.randint(0, 2, 120)
    X = rng.standard_normal((120, 3)) + y[:, None] * [0, 0, 5]
    X = (X * [1e3, 1, 1] * unit).astype(np.float32)
    new = X[:1].copy()
    new[0, 2] = 1e15
    for kernel in ("auto", "rbf"):
        assert np.isfinite(LeaveOneOutRidge(kernel).fit(X, y).predict_proba(new)).all()
    X[0, 2] = 1e15
    found = LeaveOneOutRidge().fit(X, y)
    assert found.column_scale_ is not None
    assert np.mean(found.loo_proba()[1:].argmax(axis=1) == y[1:]) > 0.95


@pytest.mark.parametrize(
    ("widths", "expected"),
    [([1, 9], False), ([1, 11], True), ([1, 1, 11], True), ([0, 0, 1, 9], False), ([0, 0], False)],
)
def test_columns_of_unlike_scale(widths, expected):
    assert unlike(np.array(widths, dtype=float)) == expected


def test_the_map_is_that_of_columns_divided_by_their_widths():
    X = load_iris().data[::3] * UNITS
    features = kernel_map(X, 0.7, even_widths(X, column_widths(X)))
    Z = X / column_widths(X)
    square = np.sum((Z[:, None] - Z) ** 2, axis=2)
    expected = np.exp(-0.7 * square / np.median(square[square > 1e-6]))
    np.testing.assert_allclose(features(X), expected, atol=1e-9)
    assert even_widths(X, column_widths(X / UNITS)) is None


def test_units_of_columns_do_not_matter(rng):
    X, y = noisy_iris(rng)
    found = LeaveOneOutRidge().fit(X * UNITS, y)
    other = LeaveOneOutRidge().fit(X * UNITS[::-1] - 3, y)
    np.testing.assert_allclose(found.loo_proba(), other.loo_proba(), atol=1e-6)
    theirs = other.predict_proba(X * UNITS[::-1] - 3)
    np.testing.assert_allclose(found.predict_proba(X * UNITS), theirs, atol=1e-6)
    assert found.column_scale_.shape == (4,)
    # What is of like units stays as it is.
    like = LeaveOneOutRidge().fit(X, y)
    assert like.column_scale_ is None
    np.testing.assert_array_equal(like.loo_scores_, LeaveOneOutRidge("rbf").fit(X, y).loo_scores_)
    for kernel in ("rbf", "linear"):
        assert LeaveOneOutRidge(kernel).fit(X * UNITS, y).column_scale_ is None


def test_a_table_as_it_comes(rng):
    X, y = load_wine(return_X_y=True)
    noisy = np.where(rng.random_sample(178) < 0.2, (y + rng.randint(1, 3, 178)) % 3, y)
    assert np.mean(TransitionCleaner().fit(X, noisy).transduction_ == y) > 0.95
    as_is = TransitionCleaner(estimator=LeaveOneOutRidge("rbf")).fit(X, noisy)
    assert np.mean(as_is.transduction_ == y) < 0.95


def test_narrow_columns_that_say_nothing_stay_narrow(rng):
    X, y = load_digits(n_class=4, return_X_y=True)
    X = np.hstack([X, 0.01 * rng.standard_normal((len(y), 200))])
    found = LeaveOneOutRidge(n_landmarks=200).fit(X, y)
    assert unlike(column_widths(X)) and found.column_scale_ is None
    assert np.mean(found.loo_proba().argmax(axis=1) == y) > 0.98


@pytest.mark.parametrize("noise", [0, 100])
def test_the_choice_is_by_the_likelihood_of_the_labels(rng, monkeypatch, noise):
    X, y = noisy_iris(rng, 0.05)
    X = np.hstack([X * [0.2, 1, 1, 0.2], 1e-3 * rng.standard_normal((150, noise))])
    X[:, 0] *= 1 if noise else 500
    weight = np.where(np.arange(150) % 5, 1.0, 0.0)
    monkeypatch.setattr(leave_one_out, "_CHOICE_ROWS", 80)
    ridge = LeaveOneOutRidge()
    maps = ridge._maps(X)
    ridge._fit_codes(X, y, 3, None, weight)
    seen = np.flatnonzero(weight)
    rows = seen[np.linspace(0, 119, 80).astype(int)]
    own = []
    for features in maps:
        fit = fit_ridge(features, X[rows], y[rows], 3)
        fit.alpha, _ = choose_alpha(fit, X[rows], y[rows], leave_one_out.ALPHAS)
        scores = fit.leave_one_out(X[rows], y[rows])
        z = leave_one_out.best_temperature(scores, y[rows]) * scores
        own.append(log_softmax(z, axis=1)[np.arange(80), y[rows]])
    gain = own[1] - own[0]
    as_is = gain.sum() > min(2 * gain.std() * 80**0.5, 4)
    assert as_is == (noise > 0) == (ridge.column_scale_ is None)
    expected = fit_ridge(maps[1 if as_is else 0], X, y, 3, weight)
    expected.alpha = ridge.alpha_
    np.testing.assert_allclose(ridge._ridge.predict(X), expected.predict(X))


def test_a_few_nats_decide():
    X, y = load_iris(return_X_y=True)
    rng = np.random.RandomState(1)
    noisy = np.where(rng.random_sample(150) < 0.2, (y + rng.randint(1, 3, 150)) % 3, y)
    X = np.hstack([(X - X.mean(axis=0)) / X.std(axis=0), 0.02 * rng.standard_normal((150, 8))])
    found = LeaveOneOutRidge().fit(X, noisy)
    assert found.column_scale_ is None
    assert np.mean(found.loo_proba().argmax(axis=1) == y) > 0.85


def test_copies_in_a_group_do_not_decide():
    rng = np.random.RandomState(1)
    X = np.hstack([1e3 * rng.standard_normal((40, 2)), rng.standard_normal((40, 3))])
    y = rng.randint(0, 2, 40)
    assert LeaveOneOutRidge().fit(X, y).column_scale_ is not None
    X, y, groups = (np.repeat(x, 10, axis=0) for x in (X, y, np.arange(40)))
    assert LeaveOneOutRidge().fit(X, y, groups=groups).column_scale_ is not None


def test_the_choice_sees_no_rows_without_a_label(rng, fits):
    X, y = noisy_iris(rng)
    y = y.astype(object)
    y[1::2] = None
    TransitionCleaner(n_refits=0).fit(X * UNITS, y)
    assert [len(codes) for _, codes, *_ in fits] == [75, 75, 150]


def far_out(rng):
    """Digits beside columns of a Cauchy distribution, which decide all distances."""
    X, y = load_digits(n_class=5, return_X_y=True)
    X, y = X[:500], y[:500]
    X = np.hstack([X, 5 * rng.standard_cauchy((500, 8))])
    return X, y, np.where(rng.random_sample(500) < 0.2, (y + rng.randint(1, 5, 500)) % 5, y)


def test_values_far_out_do_not_decide(rng):
    X, y, noisy = far_out(rng)
    found = LeaveOneOutRidge().fit(X, noisy)
    as_is = LeaveOneOutRidge("rbf").fit(X, noisy)
    assert np.mean(found.loo_proba().argmax(axis=1) == y) > 0.95
    assert np.mean(as_is.loo_proba().argmax(axis=1) == y) < 0.85
    assert found.column_range_.shape == (2, 72) and as_is.column_range_ is None
    # What lies beyond an end counts as being there.
    new = X[:20].copy()
    at_end = np.clip(new, *found.column_range_)
    np.testing.assert_allclose(found.predict_proba(new), found.predict_proba(at_end), atol=1e-9)


def test_clipped_columns_one_by_one(rng):
    X = np.exp(2 * rng.standard_normal((60, 4))) * [1, 1, 1, 0] + [0, 5, 0, 3]
    X[:, 2] = np.arange(60) < 2
    found = clipped_columns(X, column_widths(X))
    expected = np.zeros((60, 4))
    for j in range(3):
        column = np.sort(X[:, j])
        low, middle, high = column[3], np.median(column), column[56]
        below, above = (middle - low) / 1.645, (high - middle) / 1.645
        if j == 2:
            below = above = column.std()
        for i in range(60):
            away = X[i, j] - middle
            expected[i, j] = np.clip(away / (below if away < 0 else above), -2.5, 2.5)
    np.testing.assert_allclose(found(X), expected, atol=1e-12)
    np.testing.assert_allclose(found(found.ends()), [[-2.5] * 4, [2.5] * 4])
    features = kernel_map(found(X), 0.7)
    square = np.sum((expected[:, None] - expected) ** 2, axis=2)
    kernel = np.exp(-0.7 * square / np.median(square[square > 1e-6]))
    np.testing.assert_allclose(replace(features, first=found)(X), kernel, atol=1e-9)
    assert clipped_columns(np.ones((9, 2)), np.zeros(2)) is None


def test_columns_without_values_far_out_are_not_clipped(rng):
    for X in (load_digits().data, rng.standard_normal((500, 20)) * np.logspace(-2, 2, 20)):
        assert clipped_columns(X, column_widths(X)) is None
    X, y, _ = far_out(rng)
    assert clipped_columns(X, column_widths(X)) is not None
    # Nor where the labels are no likelier for it.
    assert LeaveOneOutRidge().fit(X, rng.permutation(y)).column_range_ is None


def test_every_library_clips_alike(xp, rng):
    X, _, noisy = far_out(rng)
    expected = LeaveOneOutRidge().fit(X, noisy)
    found = LeaveOneOutRidge().fit(xp.asarray(X), noisy)
    np.testing.assert_allclose(xp.to_numpy(found.loo_proba()), expected.loo_proba(), atol=1e-6)
    np.testing.assert_allclose(found.column_range_, expected.column_range_)


def test_clipped_saved_and_chunked(rng, tmp_path):
    X, _, noisy = far_out(rng)
    found = LeaveOneOutRidge(n_landmarks=200).fit(X, noisy)
    save(found, tmp_path / "ridge.skclean")
    for again in (pickle.loads(pickle.dumps(found)), load(tmp_path / "ridge.skclean")):
        np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))
    da = pytest.importorskip("dask.array")
    lazy = LeaveOneOutRidge(n_landmarks=200).fit(da.from_array(X, chunks=(77, 72)), noisy)
    np.testing.assert_array_equal(lazy.loo_scores_.compute(), found.loo_scores_)


def test_every_library(xp, rng):
    X, y = noisy_iris(rng)
    X = X * UNITS
    expected = LeaveOneOutRidge().fit(X, y)
    found = LeaveOneOutRidge().fit(xp.asarray(X), y)
    np.testing.assert_allclose(xp.to_numpy(found.loo_proba()), expected.loo_proba(), atol=1e-6)
    np.testing.assert_allclose(found.column_scale_, expected.column_scale_)
    ridge = LeaveOneOutRidge(alphas=[0.3])
    expected = ridge.fit(X, y).loo_proba()
    single = ridge.fit(xp.asarray(X.astype(np.float32)), y)
    assert xp.to_numpy(single.loo_scores_).dtype == np.float32
    np.testing.assert_allclose(xp.to_numpy(single.loo_proba()), expected, atol=0.05)


@pytest.mark.parametrize("chunk", [40, 150, 33])
def test_any_chunking(rng, monkeypatch, chunk):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(leave_one_out, "_CHOICE_ROWS", 100)
    X, y = noisy_iris(rng)
    expected = LeaveOneOutRidge().fit(X * UNITS, y)
    found = LeaveOneOutRidge().fit(da.from_array(X * UNITS, chunks=(chunk, 4)), y)
    np.testing.assert_array_equal(found.loo_scores_.compute(), expected.loo_scores_)
    np.testing.assert_array_equal(found.column_scale_, expected.column_scale_)


def test_missing_labels_groups_and_soft_labels(rng):
    X, y = make_moons(600, noise=0.15, random_state=0)
    X = X * [1000, 0.1]
    given = np.where(rng.random_sample(600) < 0.2, 1 - y, y).astype(object)
    given[::6] = None
    cleaner = TransitionCleaner(n_refits=1)
    samples = cleaner.fit_transform(LabelledSamples(X, given), groups=np.arange(600) // 2)
    assert cleaner.evidence_.model.column_scale_ is not None
    hidden = samples.status == "predicted"
    assert hidden.sum() == 100 and np.mean(samples.labels[hidden] == y[hidden]) > 0.97


def test_saved_and_sent(rng, tmp_path):
    X, y = noisy_iris(rng)
    found = LeaveOneOutRidge().fit(X * UNITS, y)
    save(found, tmp_path / "ridge.skclean")
    new = X[::-1] * UNITS + 0.01
    for again in (pickle.loads(pickle.dumps(found)), load(tmp_path / "ridge.skclean")):
        np.testing.assert_array_equal(again.predict_proba(new), found.predict_proba(new))
        np.testing.assert_array_equal(again.column_scale_, found.column_scale_)


def test_shuffled_rows_give_the_same_choice(rng):
    X, y = load_wine(return_X_y=True)
    order = rng.permutation(178)
    found, other = LeaveOneOutRidge().fit(X, y), LeaveOneOutRidge().fit(X[order], y[order])
    np.testing.assert_allclose(other.loo_proba(), found.loo_proba()[order], atol=1e-6)


def test_nearly_all_rows_in_one_group(rng, monkeypatch, fits):
    monkeypatch.setattr(leave_one_out, "_CHOICE_ROWS", 10)
    X, y = noisy_iris(rng)
    groups = np.where(np.arange(150) == 70, 1, 0)
    found = LeaveOneOutRidge().fit(X * UNITS, y, groups=groups)
    assert np.isfinite(found.loo_scores_).all()
    assert [len(np.unique(groups)) for *_, groups, _ in fits] == [2, 2, 2]
