import math

import numpy as np
import pytest

from skclean.evidence.prototype import (
    Prototypes,
    fit_embedding,
    init_prototypes,
    project,
    projection_gradient,
)
from skclean.evidence.prototype_training import (
    PairWeights,
    class_prior,
    confident_rows,
    pair_loss,
    pair_weights,
    train_prototypes,
)

N, D, K = 24, 5, 4
RNG = np.random.default_rng(0)
SCORES = 2 * RNG.standard_normal((N, K))
GIVEN = RNG.integers(0, K, N)
PREDICTED = RNG.integers(0, K, N)
CLEAN = RNG.random(N) < 0.6
CONFIDENT = ~CLEAN & (RNG.random(N) < 0.5)
ROWS = np.arange(N)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def equation_2(scores, given, clean, lambda_neg):
    total = 0.0
    for i in np.flatnonzero(clean):
        for k in range(K):
            if k == given[i]:
                total += math.log(sigmoid(scores[i, k]))
            else:
                total += lambda_neg * math.log(1 - sigmoid(scores[i, k]))
    return -total / clean.sum()


def equation_3(scores, given, clean):
    terms = [math.log(1 - sigmoid(scores[i, given[i]])) for i in np.flatnonzero(~clean)]
    return -sum(terms) / len(terms)


def equation_4(scores, predicted, confident):
    terms = [math.log(sigmoid(scores[i, predicted[i]])) for i in np.flatnonzero(confident)]
    return -sum(terms) / len(terms)


def hard_weights(alpha):
    return pair_weights(CLEAN.astype(float), CONFIDENT, np.ones(N), alpha)


def loss_of(weights, scores, lambda_neg):
    pairs = weights.pairs(ROWS, GIVEN, PREDICTED, lambda_neg, scores)
    return pair_loss(scores, *pairs)


# Losses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lambda_neg", [1 / K, 1.0])
def test_each_loss_is_its_equation(xp, dtype, lambda_neg):
    scores, zeros = xp.asarray(SCORES.astype(dtype)), np.zeros(N)
    weights, rtol = hard_weights(alpha=0.7), 1e-5 if dtype == "float32" else 1e-12
    l_x, l_u = equation_2(SCORES, GIVEN, CLEAN, lambda_neg), equation_3(SCORES, GIVEN, CLEAN)
    l_xp = equation_4(SCORES, PREDICTED, CONFIDENT)
    for part, expected in [
        (PairWeights(weights.positive, zeros, zeros), l_x),
        (PairWeights(zeros, weights.negative, zeros), l_u),
        (PairWeights(zeros, zeros, weights.confident), 0.7 * l_xp),
        (weights, l_x + l_u + 0.7 * l_xp),  # equation 5
    ]:
        loss, gradient = loss_of(part, scores, lambda_neg)
        assert float(loss) == pytest.approx(expected, rel=rtol)
        assert gradient.dtype == scores.dtype and tuple(gradient.shape) == (N, K)


def test_gradient_of_the_scores_by_finite_differences():
    weights, step = hard_weights(alpha=0.7), 1e-6
    gradient = loss_of(weights, SCORES, 0.3)[1]
    for i in range(N):
        for k in range(K):
            up, down = SCORES.copy(), SCORES.copy()
            up[i, k] += step
            down[i, k] -= step
            slope = (loss_of(weights, up, 0.3)[0] - loss_of(weights, down, 0.3)[0]) / (2 * step)
            assert gradient[i, k] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("hidden_units", [None, 6])
def test_gradient_of_the_parameters_by_finite_differences(hidden_units):
    X, rng = RNG.standard_normal((N, D)), np.random.RandomState(0)
    model = init_prototypes(fit_embedding(X), K, 3, hidden_units, 0.0, rng)
    params = [x.astype(np.float64) + 0.1 * rng.standard_normal(x.shape) for x in model.params]
    weights = hard_weights(alpha=0.7)

    def loss(params):
        scores = project(params, X)[0] @ params[-1].T
        return loss_of(weights, scores, 0.3)[0]

    V, inner = project(params, X)
    slope = loss_of(weights, V @ params[-1].T, 0.3)[1]
    grads = projection_gradient(params, X, V, inner, slope)
    assert [g.shape for g in grads] == [x.shape for x in params]
    for p, grad in enumerate(grads):
        for at in np.ndindex(grad.shape):
            moved = [[x.copy() for x in params] for _ in range(2)]
            moved[0][p][at] += 1e-6
            moved[1][p][at] -= 1e-6
            assert grad[at] == pytest.approx((loss(moved[0]) - loss(moved[1])) / 2e-6, abs=1e-7)


def test_large_scores_do_not_overflow():
    scores = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=np.float32)
    loss, gradient = pair_loss(scores, np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    assert loss == pytest.approx(2e4) and np.isfinite(gradient).all()


# Who takes part


def literal_confident_rows(proba, given, clean):
    chosen = np.zeros(len(proba), dtype=bool)
    for i in np.flatnonzero(~clean):
        k = int(np.argmax(proba[i]))
        peers = [proba[j, k] for j in np.flatnonzero(clean) if given[j] == k]
        chosen[i] = bool(peers) and proba[i, k] > sum(peers) / len(peers)
    return chosen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1])
def test_confident_rows_are_those_of_section_4_2(xp, dtype, seed):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(K) / 2, 200).astype(dtype)
    given, clean = rng.integers(0, K, 200), rng.random(200) < 0.5
    clean[given == 3] = False  # a class without clean rows takes nobody in
    chosen, predicted = confident_rows(xp.asarray(proba), given, clean)
    np.testing.assert_array_equal(chosen, literal_confident_rows(proba, given, clean))
    np.testing.assert_array_equal(predicted, proba.argmax(axis=1))
    assert chosen.any() and not (chosen & clean).any() and not chosen[predicted == 3].any()


def test_weights_are_averages_that_no_single_row_rules():
    weights = hard_weights(alpha=0.5)
    np.testing.assert_allclose(weights.positive, CLEAN / CLEAN.sum())
    np.testing.assert_allclose(weights.negative, ~CLEAN / (~CLEAN).sum())
    np.testing.assert_allclose(weights.confident, 0.5 * CONFIDENT / CONFIDENT.sum())
    soft = pair_weights(np.full(N, 0.25), CONFIDENT, np.ones(N), 0.0)
    np.testing.assert_allclose(soft.positive, 1 / N)
    np.testing.assert_allclose(soft.negative, 1 / N)
    # One noisy row in a thousand, no confident one.
    rows = np.arange(1000) > 0, np.zeros(1000, dtype=bool), np.ones(1000), 1.0
    lone = pair_weights(*rows, limit=10)
    assert lone.negative[0] == 10 / 1000 and not lone.confident.any()
    assert pair_weights(*rows).negative[0] == 1


# Training


def problem(n=300, seed=0):
    """Rows round K corners, a third of the labels wrong and half of those known to be."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, n)
    X = 3 * np.eye(K, D)[truth] + 0.5 * rng.standard_normal((n, D))
    given = np.where(rng.random(n) < 0.3, rng.integers(0, K, n), truth)
    clean = (given == truth) | (rng.random(n) < 0.5)
    return X, truth, given, clean


def train(X, given, clean, xp=None, start=None, hidden_units=None, n_epochs=10, **settings):
    features = X if xp is None else xp.asarray(X)
    proba = np.full((len(X), K), 1 / K)
    proba = proba if xp is None else xp.asarray(proba)
    rng = np.random.RandomState(0)
    if start is None:
        start = init_prototypes(fit_embedding(features), K, 8, hidden_units, -math.log(K), rng)
    weights = pair_weights(clean.astype(float), np.zeros(len(X), dtype=bool), np.ones(len(X)), 0.0)
    rows = np.arange(len(X))
    settings = {"learning_rate": 0.02, "weight_decay": 5e-3, "batch_size": 64} | settings
    model, n_steps = train_prototypes(
        start,
        features,
        proba,
        rows,
        given,
        given,
        weights,
        lambda_neg=1.0,
        n_epochs=n_epochs,
        rng=rng,
        **settings,
    )
    return model, n_steps, features, proba


@pytest.mark.parametrize("hidden_units", [None, 16])
def test_prototypes_find_wrong_labels_in_every_library(xp, hidden_units):
    X, truth, given, clean = problem()
    model, _, features, proba = train(X, given, clean, xp, hidden_units=hidden_units)
    score = model.clean_proba(features, proba, given)
    wrong = given != truth
    assert np.mean(score[wrong]) < 0.2 < 0.7 < np.mean(score[~wrong])
    expected = train(X, given, clean, hidden_units=hidden_units)[0]
    np.testing.assert_allclose(
        score, expected.clean_proba(X, np.full((300, K), 1 / K), given), atol=1e-4
    )
    assert all(type(p) is type(features) for p in model.params)
    assert tuple(model.prototypes.shape) == (K, 8)
    assert tuple(model.project(features, proba).shape) == (300, 8)


def test_training_lowers_the_loss_and_goes_on_where_it_was():
    X, _, given, clean = problem()
    rows, weights = np.arange(300), pair_weights(clean * 1.0, ~clean, np.ones(300), 0.0)

    def loss(model):
        scores = model.raw_scores(X, np.full((300, K), 1 / K))
        return pair_loss(scores, *weights.pairs(rows, given, given, 1.0, scores))[0]

    first, n_steps, _, _ = train(X, given, clean, n_epochs=1)
    assert n_steps == 34  # batches of 9: few rows still make 32 steps an epoch
    before = [p.copy() for p in first.params]
    second = train(X, given, clean, start=first, n_epochs=1)[0]
    assert loss(second) < loss(first)
    for p, q in zip(first.params, before, strict=True):
        np.testing.assert_array_equal(p, q)
    assert train(X, given, clean, n_epochs=1000)[1] == 2000


def test_classes_may_be_renamed():
    X, _, given, clean = problem()
    order = np.array([2, 0, 3, 1])
    rng = np.random.RandomState(0)
    start = init_prototypes(fit_embedding(X), K, 8, None, 0.0, rng)
    renamed = [*start.params[:-1], start.params[-1][np.argsort(order)]]
    one, _, _, proba = train(X, given, clean, start=start)
    other = train(X, order[given], clean, start=Prototypes(start.embedding, renamed))[0]
    np.testing.assert_allclose(
        other.clean_proba(X, proba, order[given]), one.clean_proba(X, proba, given), atol=1e-4
    )


def test_single_rows_empty_classes_and_duplicates():
    X, _, given, clean = problem()
    for rows in (slice(0, 1), slice(0, 3), np.flatnonzero(given != 2), np.zeros(40, dtype=int)):
        model, _, _, proba = train(X[rows], given[rows], clean[rows])
        assert np.isfinite(model.clean_proba(X[rows], proba, given[rows])).all()


def test_long_gradients_are_shortened():
    X, _, given, clean = problem()
    start = train(X, given, clean, n_epochs=1)[0]
    far = Prototypes(start.embedding, [30 * p for p in start.params])
    # One step of momentum: its length is that of the gradient times the rate.
    settings = {"n_epochs": 1, "weight_decay": 0.0, "learning_rate": 0.5}
    model, n_steps, _, _ = train(X[:8], given[:8], clean[:8], start=far, **settings)
    pairs = zip(model.params, far.params, strict=True)
    move = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in pairs))
    assert n_steps == 1 and move == pytest.approx(0.5 * 2, rel=1e-3)


# The prior of the losses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_prior_is_the_mean_where_classes_are_balanced(xp, dtype):
    proba = RNG.dirichlet(np.ones(K), 500).astype(dtype)
    even, tail = np.full(K, 1 / K), np.array([0.85, 0.05, 0.05, 0.05])
    for kind, share, freed in [
        ("auto", even, True),
        ("auto", tail, False),
        ("uniform", tail, True),
        ("given", even, False),
    ]:
        prior = class_prior(xp.asarray(proba), share, kind)
        assert (prior is not None) == freed
        if freed:
            np.testing.assert_allclose(prior, proba.mean(axis=0), rtol=1e-5)
