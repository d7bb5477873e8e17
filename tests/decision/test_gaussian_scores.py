import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skclean import TransitionCleaner
from skclean.datasets import make_instance_dependent_noise
from skclean.decision.gaussian_scores import fit_gaussian_scores
from skclean.decision.transition_doubt import clearness, separation
from skclean.decision.transition_prior import TransitionPrior, dominant


def scores_of_classes(n=300, n_classes=3, noise=0.25, seed=0):
    """Scores around a corner each, true labels, and labels wrong at random."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    scores = 0.7 * np.eye(n_classes)[y] + 0.12 * rng.normal(size=(n, n_classes))
    given = np.where(rng.random(n) < noise, rng.integers(0, n_classes, n), y)
    return scores, y, given


def literal(scores, given, trusted, rounds):
    """EM row by row, on standardised scores."""
    n, n_classes = scores.shape
    Z = (scores - scores.mean(axis=0)) / scores.std()
    gamma = [np.eye(n_classes)[np.argmax(s)] for s in scores]
    T = np.full((n_classes, n_classes), 0.3 / n_classes) + 0.7 * np.eye(n_classes)
    spread = Z.T @ Z / n
    for _ in range(rounds):
        share = [sum(g[k] for g in gamma) / n for k in range(n_classes)]
        means = [
            sum(g[k] * z for g, z in zip(gamma, Z, strict=True)) / (n * share[k])
            for k in range(n_classes)
        ]
        within = 1e-6 * spread
        for g, z in zip(gamma, Z, strict=True):
            for k in range(n_classes):
                within = within + g[k] * np.outer(z - means[k], z - means[k]) / n
        joint = np.zeros((n, n_classes))
        for i in range(n):
            for k in range(n_classes):
                p = share[k] * multivariate_normal.pdf(Z[i], means[k], within)
                joint[i, k] = p * ((k == given[i]) if trusted[i] else T[k, given[i]])
        likelihood = np.mean(np.log(joint.sum(axis=1)))
        gamma = joint / joint.sum(axis=1, keepdims=True)
        counts = np.zeros((n_classes, n_classes))
        for i in np.flatnonzero(~trusted):
            counts[:, given[i]] += gamma[i]
        prior = TransitionPrior()
        prior.fit(counts)
        T = dominant(prior.transition(counts))
    return gamma, T, likelihood


def test_equals_em_row_by_row():
    scores, y, given = scores_of_classes(120)
    trusted = np.arange(120) < 9
    given[trusted] = y[trusted]
    model = fit_gaussian_scores(scores, given, trusted, max_iter=4, tol=0.0)
    gamma, T, likelihood = literal(scores, given, trusted, 4)
    np.testing.assert_allclose(model.transition, T, atol=1e-8)
    # Up to the constant of the scores: the next round adds the same to both.
    further = fit_gaussian_scores(scores, given, trusted, max_iter=3, tol=0.0)
    np.testing.assert_allclose(
        model.trace[-1] - further.trace[-1],
        likelihood - literal(scores, given, trusted, 3)[2],
        atol=1e-8,
    )
    before = literal(scores, given, trusted, 3)[1]
    rows = ~trusted
    posterior = model.class_proba(scores)[rows] * before.T[given[rows]]
    posterior /= posterior.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(posterior, gamma[rows], atol=1e-4)


def test_likelihood_rises_and_labels_are_found():
    scores, y, given = scores_of_classes(2000, noise=0.6)
    model = fit_gaussian_scores(scores, given)
    assert np.all(np.diff(model.trace) > -1e-3)
    gamma = model.posterior(scores, given)
    assert np.mean(given == y) < 0.65 and np.mean(gamma.argmax(axis=1) == y) > 0.98
    np.testing.assert_allclose(np.diag(model.transition), 0.6, atol=0.05)


def test_directions_without_variance_and_order_of_classes_change_nothing():
    scores, _, given = scores_of_classes()
    scores -= scores.mean(axis=1, keepdims=True)
    gamma = fit_gaussian_scores(scores, given).posterior(scores, given)
    assert np.isfinite(gamma).all()
    order = np.array([2, 0, 1])
    back = np.argsort(order)[given]
    again = fit_gaussian_scores(scores[:, order], back).posterior(scores[:, order], back)
    np.testing.assert_allclose(again, gamma[:, order], atol=1e-5)


def test_constant_scores_have_a_model():
    model = fit_gaussian_scores(np.zeros((20, 2)), np.arange(20) % 2)
    assert np.isfinite(model.posterior(np.zeros((20, 2)), np.arange(20) % 2)).all()


def test_clearness_of_two_classes_is_their_separation():
    p = np.random.default_rng(0).uniform(size=100_000)
    scores = np.stack([p, 1 - p], axis=1)
    assert clearness(scores) == pytest.approx(0.75, abs=0.01)
    assert clearness(scores) == pytest.approx(separation(scores), abs=0.01)


def blobs(n, n_classes, n_features=20, distance=6.0):
    rng = np.random.default_rng(1)
    y = np.arange(n) % n_classes
    centres = rng.normal(size=(n_classes, n_features))
    centres *= distance / (2 * n_features) ** 0.5
    return centres[y] + rng.normal(size=(n, n_features)), y


@pytest.mark.parametrize("n, n_classes, rate", [(1500, 3, 0.4), (6000, 3, 0.2), (6000, 5, 0.4)])
def test_noise_that_depends_on_the_row_is_no_overlap(n, n_classes, rate):
    X, y = blobs(n, n_classes)
    given, _ = make_instance_dependent_noise(X, y, rate, random_state=0)
    cleaner = TransitionCleaner().fit(X, given)
    assert np.mean(cleaner.transduction_ == y) > 0.9
    assert cleaner.noise_rate_ == pytest.approx(rate, abs=0.05)
    # New rows are judged by the same model.
    assert np.mean(cleaner.transform(X + 0.01).labels == y) > 0.85
