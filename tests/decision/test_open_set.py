import numpy as np
import pytest
from scipy.optimize import check_grad

from skclean.decision.open_set import (
    fit_open_set,
    lowest_expected,
    lowest_quarter,
    open_set_loss,
)

RNG = np.random.default_rng(0)


def by_definition(scores, given, share):
    low, mass = [], []
    for s, g in zip(scores, given, strict=True):
        n = max(1, len(s) // 4)
        behind = s < np.sort(s)[n]
        low.append(behind[g])
        mass.append(sum(share[k] for k in range(len(s)) if behind[k]))
    return low, mass


@pytest.mark.parametrize("n_classes", [2, 3, 4, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lowest_quarter_by_its_definition(xp, n_classes, dtype):
    scores = RNG.standard_normal((600, n_classes)).astype(dtype)
    scores[5] = scores[5, 0]
    given, share = RNG.integers(0, n_classes, 600), RNG.dirichlet(np.ones(n_classes))
    low, mass = lowest_quarter(xp.asarray(scores), given, share)
    expected = by_definition(scores, given, share)
    np.testing.assert_array_equal(low, expected[0])
    np.testing.assert_allclose(mass, expected[1], atol=1e-6)
    assert not low[5] and mass[5] == 0
    names = RNG.permutation(n_classes)
    back = np.argsort(names)
    moved = lowest_quarter(xp.asarray(scores[:, back]), names[given], share[back])
    np.testing.assert_array_equal(moved[0], low)


def test_labels_drawn_at_random_fall_there_as_often_as_the_mass_says():
    share = np.array([0.5, 0.2, 0.2, 0.06, 0.04])
    scores = RNG.standard_normal((20_000, 5)) + 2 * share
    low, mass = lowest_quarter(scores, RNG.choice(5, 20_000, p=share), share)
    assert low.mean() == pytest.approx(mass.mean(), abs=0.01)


def test_expected_share_of_rows_whose_own_class_scores_lowest(xp):
    n, truth = 4000, np.arange(4000) % 2
    X = RNG.standard_normal(n) + 2.0 * truth
    given = np.where(RNG.random(n) < 0.2, RNG.integers(0, 2, n), truth)
    scores = np.stack([1 - X, X - 1], axis=1)
    # Distances that are three times too large, as of many dimensions and few rows.
    distances = 3 * np.stack([X**2, (X - 2) ** 2], axis=1)
    found = lowest_expected(distances, xp.asarray(scores), given, np.array([0.5, 0.5]))
    wrong = scores.argmin(axis=1) == truth
    assert found.mean() == pytest.approx(wrong.mean(), abs=0.03)
    near = np.abs(X - 1) < 0.2
    assert found[near].mean() == pytest.approx(0.5, abs=0.1) and found[X < -1].max() < 0.1
    empty = np.stack([X**2, np.full(n, np.inf)], axis=1)
    np.testing.assert_allclose(
        lowest_expected(empty, scores, np.zeros(n, int), np.array([1.0, 0]))[X < 1], 0, atol=1e-9
    )


@pytest.mark.parametrize("expected", [0.0, 0.1])
def test_gradient(expected):
    F, low, mass = RNG.standard_normal((50, 3)), RNG.random(50) < 0.2, np.full(50, 0.25)
    for _ in range(3):
        theta = np.append(RNG.normal(-1, 1, 2), RNG.random(3))
        error = check_grad(
            lambda t: open_set_loss(t, F, low, mass, expected)[0],
            lambda t: open_set_loss(t, F, low, mass, expected)[1],
            theta,
        )
        assert error < 1e-6


@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize("n_open", [0, 1000, 4000])
def test_shares_are_found(n_open, noise):
    n, rng = 10_000, np.random.default_rng(1)
    is_open = np.arange(n) < n_open
    signal = rng.standard_normal((n, 2)) + np.array([4.0, 0]) * ~is_open[:, None]
    random_label = is_open | (rng.random(n) < noise)
    low = random_label & (rng.random(n) < 0.25)
    model = fit_open_set(signal, low, np.full(n, 0.25))
    assert model.noise == pytest.approx(noise, abs=0.05)
    pi = model.open_proba(signal)
    assert pi.mean() == pytest.approx(is_open.mean(), abs=0.04)
    if n_open:
        assert np.mean((pi > 0.5) == is_open) > 0.95
    else:
        assert np.mean(pi > 0.5) < 0.005
    assert (model.weights >= 0).all()


def test_the_given_label_speaks_too():
    signal = np.linspace(-3, 3, 1000)[:, None]
    low = (signal[:, 0] < 0) & (RNG.random(1000) < 0.25)
    model = fit_open_set(signal, low, np.full(1000, 0.25))
    x, u = signal[480:520], np.full(40, 0.1)
    likely, unlikely, none = (
        model.in_distribution_proba(x, np.full(40, p), u) for p in (0.9, 0.001, np.nan)
    )
    assert (unlikely < none).all() and (none < likely).all()
    np.testing.assert_allclose(none, 1 - model.open_proba(x))
    pi, nu = model.open_proba(x), model.noise
    expected = pi * 0.1 / (pi * 0.1 + (1 - pi) * ((1 - nu) * 0.9 + nu * 0.1))
    np.testing.assert_allclose(likely, 1 - expected)


def test_constant_signals_and_labels_that_tell_nothing():
    for mass in (0.0, 0.25):
        model = fit_open_set(np.zeros((30, 2)), np.zeros(30, bool), np.full(30, mass))
        assert np.isfinite(model.weights).all() and (model.open_proba(np.zeros((3, 2))) < 0.2).all()
    far = np.vstack([RNG.standard_normal((99, 1)), [[-1e12]]])
    assert np.isfinite(fit_open_set(far, np.arange(100) > 97, np.full(100, 0.25)).bias)
