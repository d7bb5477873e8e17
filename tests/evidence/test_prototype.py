import math

import numpy as np
import pytest

from skclean.evidence.prototype import calibrate, fit_embedding, init_prototypes

D, K = 5, 4
RNG = np.random.default_rng(0)


def test_embedding_is_free_of_unit_and_offset(xp):
    X, proba = RNG.standard_normal((700, D)), RNG.dirichlet(np.ones(K), 700)
    parts = []
    for scale, offset in [(1.0, 0.0), (1e6, 0.0), (1e-3, 5.0)]:
        features, p = xp.asarray(scale * X + offset), xp.asarray(proba.astype(np.float32))
        embedding = fit_embedding(features, p)
        parts.append(xp.to_numpy(embedding(features, p)))
    assert parts[0].shape == (700, D + K) and parts[0].dtype == np.float32
    np.testing.assert_allclose(parts[1], parts[0], atol=1e-4)
    np.testing.assert_allclose(parts[2], parts[0], atol=1e-4)
    np.testing.assert_allclose(parts[0].mean(axis=0), 0, atol=1e-4)
    for part in (parts[0][:, :D], parts[0][:, D:]):
        assert np.mean(np.sum(part**2, axis=1)) == pytest.approx(100, rel=1e-4)
    alone = fit_embedding(xp.asarray(X))
    assert tuple(alone(xp.asarray(X), None).shape) == (700, D)


def test_constant_features_are_not_magnified():
    X = np.full((50, 3), 0.1, dtype=np.float32)
    assert np.abs(fit_embedding(X)(X, None)).max() < 1e-5


@pytest.mark.parametrize("hidden_units", [None, 6])
def test_score_is_the_sigmoid_of_the_projection_on_the_prototype(xp, hidden_units):
    X, proba = RNG.standard_normal((30, D)), RNG.dirichlet(np.ones(K), 30)
    given, rng = np.append(np.full(5, -1), RNG.integers(0, K, 25)), np.random.RandomState(0)
    features, p = xp.asarray(X), xp.asarray(proba)
    embedding = fit_embedding(features, p)
    model = init_prototypes(embedding, K, 8, hidden_units, -math.log(K), rng)
    score, together = (
        model.clean_proba(features, p, given),
        model.class_proba(features, p),
    )
    assert np.isnan(score[:5]).all()
    V, C = (xp.to_numpy(x) for x in (model.project(features, p), model.prototypes))
    for i in range(30):
        z = V[i] @ C.T - math.log(K)
        if i >= 5:
            assert score[i] == pytest.approx(1 / (1 + math.exp(-z[given[i]])), abs=1e-5)
        both = np.sqrt(np.exp(z) / np.exp(z).sum() * proba[i])
        np.testing.assert_allclose(together[i], both / both.sum(), atol=1e-5)


def test_a_model_starts_from_another_of_the_same_shapes():
    embedding, rng = fit_embedding(RNG.standard_normal((30, D))), np.random.RandomState(0)
    first = init_prototypes(embedding, K, 8, None, 0.0, rng)
    second = init_prototypes(embedding, K, 8, None, 0.0, rng, first)
    wider = init_prototypes(embedding, K, 9, None, 0.0, rng, first)
    for p, q in zip(first.params, second.params, strict=True):
        np.testing.assert_array_equal(p, q)
    assert wider.prototypes.shape == (K, 9)


def test_calibration_finds_slope_and_intercept_and_keeps_the_order():
    z = RNG.standard_normal(5000)
    slope, intercept = calibrate(z, 1 / (1 + np.exp(-(2.5 * z - 1))))
    assert slope == pytest.approx(2.5, abs=0.02) and intercept == pytest.approx(-1, abs=0.02)
    reversed_slope = calibrate(z, 1 / (1 + np.exp(2.5 * z)))[0]
    assert reversed_slope > 0
    assert np.isfinite(calibrate(np.zeros(10), np.ones(10))).all()
