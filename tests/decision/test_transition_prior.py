import numpy as np
import pytest
from scipy.special import beta, gamma

from skclean.decision import transition_prior
from skclean.decision.transition_prior import TransitionPrior, dominant

#: Where the gamma function itself does not overflow.
STRENGTHS = np.geomspace(0.3, 30, 15)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def polya_slowly(counts, strength):
    """Literal twin: likelihoods of the error counts, and of the errors' classes."""
    n_classes = len(counts)
    errors = counts.sum(axis=1) - np.diag(counts)
    rate = errors.sum() / counts.sum()
    of_rate = of_spread = 1.0
    for y in range(n_classes):
        right, a, b = counts[y, y], strength * rate, strength * (1 - rate)
        of_rate *= beta(a + errors[y], b + right) / beta(a, b)
        each = strength / (n_classes - 1)
        of_spread *= gamma(strength) / gamma(strength + errors[y])
        for k in range(n_classes):
            if k != y:
                of_spread *= gamma(each + counts[y, k]) / gamma(each)
    return of_rate, of_spread


@pytest.mark.parametrize("seed", range(6))
def test_strengths_maximise_the_polya_likelihood(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (4, 4)) * rng.integers(0, 3, (4, 1)) + rng.random((4, 4))
    counts += np.diag(rng.integers(3, 12, 4))
    monkeypatch.setattr(transition_prior, "_STRENGTHS", STRENGTHS)
    prior = TransitionPrior()
    prior.fit(counts)
    likelihood = np.array([polya_slowly(counts, k) for k in STRENGTHS])
    assert prior.rate_strength == STRENGTHS[likelihood[:, 0].argmax()]
    assert prior.spread_strength == STRENGTHS[likelihood[:, 1].argmax()]


def test_posterior_mean_by_the_formula(rng):
    counts = rng.random((5, 5)) * 10 + 20 * np.eye(5)
    prior = TransitionPrior()
    prior.rate_strength, prior.spread_strength = 7.0, 3.0
    T = prior.transition(counts)
    common = 1 - np.trace(counts) / counts.sum()
    for y in range(5):
        errors = counts[y].sum() - counts[y, y]
        rate = (errors + 7 * common) / (counts[y].sum() + 7)
        assert np.isclose(T[y, y], 1 - rate)
        for k in set(range(5)) - {y}:
            assert np.isclose(T[y, k], rate * (counts[y, k] + 3 / 4) / (errors + 3))
    np.testing.assert_allclose(T.sum(axis=1), 1)


@pytest.mark.parametrize("n_classes", [2, 3, 20])
def test_kinds_of_noise_are_found(n_classes, rng):
    eye = np.eye(n_classes)
    total = rng.integers(500, 2000, (n_classes, 1))
    pair = 0.7 * eye + 0.3 * np.roll(eye, 1, axis=1)
    uniform = 0.5 * eye + 0.5 * (1 - eye) / (n_classes - 1)
    for T in (eye, pair, uniform):
        counts = np.stack([rng.multinomial(t, p) for t, p in zip(total[:, 0], T)]).astype(float)
        prior = TransitionPrior()
        prior.fit(counts)
        np.testing.assert_allclose(prior.transition(counts), T, atol=0.06)
    if n_classes == 20:
        # The last was uniform: shared by all classes, and closer to the truth than the counts.
        raw = counts / counts.sum(axis=1, keepdims=True)
        assert np.abs(prior.transition(counts) - T).max() < 0.6 * np.abs(raw - T).max()


def test_class_order_does_not_matter(rng):
    counts = rng.random((4, 4)) * 5 + 30 * np.eye(4)
    prior, order = TransitionPrior(), rng.permutation(4)
    prior.fit(counts)
    other = TransitionPrior()
    other.fit(counts[np.ix_(order, order)])
    np.testing.assert_allclose(
        other.transition(counts[np.ix_(order, order)]),
        prior.transition(counts)[np.ix_(order, order)],
    )


@pytest.mark.parametrize("counts", [np.zeros((3, 3)), np.diag([5.0, 0, 900.0]), np.ones((3, 3))])
def test_empty_and_perfect_classes(counts):
    prior = TransitionPrior()
    prior.fit(counts)
    T = prior.transition(counts)
    np.testing.assert_allclose(T.sum(axis=1), 1)
    assert (T > 0).all() and np.isfinite(T).all()
    if not (counts - np.diag(np.diag(counts))).any():
        np.testing.assert_allclose(T, np.eye(3), atol=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_dominant(seed):
    T = np.random.default_rng(seed).dirichlet(np.ones(6), size=6)
    before = T.copy()
    D = dominant(T)
    np.testing.assert_array_equal(T, before)
    np.testing.assert_allclose(D.sum(axis=1), 1)
    assert (D >= 0).all()
    assert (D.max(axis=1) <= np.diag(D) + 1e-15).all()
    good = np.diag(T) >= T.max(axis=1)
    np.testing.assert_array_equal(D[good], T[good])
    np.testing.assert_allclose(dominant(D), D)
    order = np.random.default_rng(seed).permutation(6)
    np.testing.assert_allclose(dominant(T[np.ix_(order, order)]), D[np.ix_(order, order)])
