import numpy as np
import pytest
from scipy.stats import norm

from skclean._array import array_namespace
from skclean.decision.loss_mixture import (
    MIN_CLASS_ROWS,
    cross_entropy,
    effective_threshold,
    fit_loss_mixture,
    normalise,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def losses(rng, n=600, n_classes=3):
    given = rng.integers(0, n_classes, n)
    wrong = rng.random(n) < 0.3
    # A hard class: its right labels have the loss of wrong ones elsewhere.
    loss = rng.gamma(2, 0.1, n) + 2 * wrong + 1.5 * (given == 0)
    return loss, given, wrong


def clean_proba_slowly(loss, mixture, low, high):
    out = []
    for x in loss:
        x = min(max((x - low) / (high - low), 0), 1)
        p = mixture.weights * norm.pdf(x, mixture.means, mixture.variances**0.5)
        out.append(p[0] / p.sum())
    return np.array(out)


def test_posterior_of_the_small_losses(rng):
    loss, given, _ = losses(rng)
    mixture = fit_loss_mixture(loss, given)
    found = mixture.clean_proba(loss, given)
    expected = clean_proba_slowly(loss, mixture.pooled, loss.min(), loss.max())
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert mixture.separated and mixture.by_class == {}
    # Losses of a later batch may lie outside the range of the fit.
    outside = mixture.clean_proba(np.array([-5.0, 50.0]), np.array([0, 0]))
    np.testing.assert_allclose(outside, found[[loss.argmin(), loss.argmax()]])


def test_class_aware_judges_each_class_by_itself(rng):
    loss, given, wrong = losses(rng)
    loss, given = np.append(loss, [0.0, 3.0]), np.append(given, [3, 3])
    mixture = fit_loss_mixture(loss, given, class_aware=True)
    assert sorted(mixture.by_class) == [0, 1, 2] and MIN_CLASS_ROWS > 2
    found = mixture.clean_proba(loss, given)
    for k in range(3):
        expected = clean_proba_slowly(
            loss[given == k], mixture.by_class[k], mixture.low, mixture.high
        )
        np.testing.assert_allclose(found[given == k], expected, atol=1e-9)
    pooled = fit_loss_mixture(loss, given).clean_proba(loss, given)
    np.testing.assert_allclose(found[-2:], pooled[-2:])
    assert np.mean((found[:-2] < 0.5) == wrong) > 0.97 > np.mean((pooled[:-2] < 0.5) == wrong)


def test_a_class_of_one_component_is_judged_by_all_rows(rng):
    given = np.repeat([0, 1, 2], 200)
    wrong = np.repeat([False, True, True], [300, 100, 200])
    loss = rng.normal(0.2 + 3 * wrong, 0.1)
    mixture = fit_loss_mixture(loss, given, class_aware=True)
    assert list(mixture.by_class) == [1]
    np.testing.assert_array_equal(mixture.clean_proba(loss, given) < 0.5, wrong)


@pytest.mark.parametrize("class_aware", [False, True])
def test_constant_losses_keep_every_row(class_aware):
    given = np.arange(60) % 2
    mixture = fit_loss_mixture(np.full(60, 0.7), given, class_aware)
    assert not mixture.separated
    np.testing.assert_array_equal(mixture.clean_proba(np.full(60, 0.7), given), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, dtype, rng):
    proba = rng.dirichlet(np.ones(3) * 0.3, size=300).astype(dtype)
    proba[0] = [1, 0, 0]
    given = rng.integers(0, 3, 300)
    given[0] = 1
    loss = cross_entropy(xp.asarray(proba), given)
    assert array_namespace(loss) is array_namespace(xp.asarray(proba))
    expected = [-np.log(max(float(p[g]), 1e-12)) for p, g in zip(proba, given, strict=True)]
    np.testing.assert_allclose(xp.to_numpy(loss), expected, rtol=1e-5, atol=1e-6)
    mixture = fit_loss_mixture(loss, given, class_aware=True)
    found = mixture.clean_proba(loss, given)
    assert isinstance(found, np.ndarray)
    reference = fit_loss_mixture(np.array(expected), given, class_aware=True)
    np.testing.assert_allclose(found, reference.clean_proba(np.array(expected), given), atol=1e-3)


def test_normalise():
    np.testing.assert_allclose(normalise(np.array([1.0, 2, 3, 9]), 1, 3), [0, 0.5, 1, 1])
    np.testing.assert_array_equal(normalise(np.full(3, 2.0), 2, 2), 0)


def test_neither_side_is_empty():
    proba = np.array([0.2, 0.3, 0.4])
    assert effective_threshold(0.25, proba) == 0.25
    for threshold in (0.0, 1.0):
        moved = effective_threshold(threshold, proba)
        assert 0 < np.sum(proba > moved) < 3
    assert np.all(np.full(4, 0.3) > effective_threshold(1.0, np.full(4, 0.3)))
    assert np.all(np.full(4, 0.3) > effective_threshold(0.1, np.full(4, 0.3)))
