import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit

from skclean.decision.open_set import (
    fit_open_set,
    lowest_margin,
    lowest_quarter,
    lowest_signs,
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


def test_signs_that_the_lowest_class_is_the_right_one(xp):
    n, truth = 4000, np.arange(4000) % 2
    X = RNG.standard_normal(n) + 2.0 * truth
    given = np.where(RNG.random(n) < 0.2, RNG.integers(0, 2, n), truth)
    scores = np.stack([1 - X, X - 1], axis=1)
    # Distances that are three times too large, as of many dimensions and few rows.
    distances = 3 * np.stack([X**2, (X - 2) ** 2], axis=1)
    share = np.array([0.5, 0.5])
    signs = lowest_signs(xp.asarray(scores), distances, given, share)
    np.testing.assert_allclose(signs[:, 1], lowest_margin(scores))
    proba, wrong = expit(signs[:, 0]), scores.argmin(axis=1) == truth
    assert proba.mean() == pytest.approx(wrong.mean(), abs=0.03)
    near = np.abs(X - 1) < 0.2
    assert proba[near].mean() == pytest.approx(0.5, abs=0.1) and proba[X < -1].max() < 0.1
    empty = np.stack([X**2, np.full(n, np.inf)], axis=1)
    alone = lowest_signs(scores, empty, np.zeros(n, int), np.array([1.0, 0]))
    assert np.isfinite(alone).all() and expit(alone[X < 1, 0]).max() < 1e-8


def test_of_three_classes_the_margin_counts_where_scores_know_better():
    truth = np.arange(3000) % 3
    centers = 3.0 * np.eye(3)
    X = centers[truth] + RNG.standard_normal((3000, 3))
    distances = ((X[:, None] - centers) ** 2).sum(axis=2)
    share, poor = np.full(3, 1 / 3), distances + RNG.normal(0, 5, distances.shape)
    assert lowest_signs(-distances, distances, truth, share).shape == (3000, 1)
    found = lowest_signs(-distances, poor, truth, share)
    np.testing.assert_array_equal(found[:, 1], lowest_margin(-distances))


def test_margin():
    scores = RNG.standard_normal((500, 4))
    margin = lowest_margin(scores)
    assert margin.max() <= 0 and margin.std() == pytest.approx(1)
    np.testing.assert_allclose(margin, lowest_margin(3 * scores[:, ::-1] + 1))
    assert (lowest_margin(np.ones((5, 3))) == 0).all()


def loss_by_definition(theta, F, low, mass, signs):
    total, k = 0.0, F.shape[1]
    for i in range(len(F)):
        pi = expit(theta[1] - sum(theta[2 + j] * F[i, j] for j in range(k)))
        nu, e = expit(theta[0]), 0.0
        if signs is not None:
            e = expit(theta[2 + k] + sum(a * s for a, s in zip(theta[3 + k :], signs[i])))
        p = pi * mass[i] + (1 - pi) * ((1 - nu) * e + nu * mass[i])
        total -= np.log(p if low[i] else 1 - p)
    prior = 0.1 * (theta[0] + 2) ** 2 + 0.3 * (theta[1] + 4) ** 2 + 0.1 * (theta[2:] ** 2).sum()
    return (total + prior / 2) / len(F)


@pytest.mark.parametrize("n_signs", [None, 1, 2])
def test_loss_by_its_definition_and_its_gradient(n_signs):
    F, low, mass = RNG.standard_normal((50, 3)), RNG.random(50) < 0.2, RNG.uniform(0.1, 0.4, 50)
    signs = None if n_signs is None else RNG.standard_normal((50, n_signs))
    for _ in range(3):
        rest = RNG.random(3 if n_signs is None else 4 + n_signs)
        theta, data = np.append(RNG.normal(-1, 1, 2), rest), (F, low, mass, signs)
        found, _ = open_set_loss(theta, *data)
        assert found == pytest.approx(loss_by_definition(theta, *data))
        error = check_grad(
            lambda t, *d: open_set_loss(t, *d)[0],
            lambda t, *d: open_set_loss(t, *d)[1],
            theta,
            *data,
        )
        assert error < 1e-6


@pytest.mark.parametrize("n", [100, 1000])
def test_rows_from_elsewhere_are_believed_in_by_their_labels_alone(n):
    signal, seeds = RNG.standard_normal((n, 2)), range(20)
    none = [
        fit_open_set(signal, np.random.default_rng(s).random(n) < 0.1, np.full(n, 0.25)).bias
        for s in seeds
    ]
    assert np.isneginf(none).mean() > 0.9
    is_open = signal[:, 0] < -1
    some = [
        fit_open_set(
            signal, is_open & (np.random.default_rng(s).random(n) < 0.25), np.full(n, 0.25)
        )
        for s in seeds
    ]
    assert np.isfinite([model.bias for model in some]).mean() > 0.8


def test_rows_between_two_classes_are_none_from_elsewhere():
    n = 2000
    signal = RNG.standard_normal((n, 1))
    low = RNG.random(n) < expit(-2 - 2 * signal[:, 0])
    mass = np.full(n, 0.5)
    assert np.isfinite(fit_open_set(signal, low, mass).bias)
    assert np.isneginf(fit_open_set(signal, low, mass, -signal).bias)


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
    model = fit_open_set(far, np.arange(100) > 97, np.full(100, 0.25))
    assert np.isfinite(model.weights).all() and np.isfinite(model.open_proba(far)).all()
