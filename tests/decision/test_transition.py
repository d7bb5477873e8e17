import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info

from skclean._array import array_namespace, from_numpy, to_numpy
from skclean.decision import transition
from skclean.decision.transition import (
    TransitionModel,
    fit_transition,
)
from skclean.decision.transition_fit import MIXING_CLASSES, QUADRATIC_CLASSES, TransitionFit


def evidence(n=1500, n_classes=4, noise=0.3, kind="symmetric", spread=0.35, seed=0):
    """Scores (n, C) of rows of known class, and given labels with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    scores = np.eye(n_classes)[truth] + spread * rng.standard_normal((n, n_classes))
    eye = np.eye(n_classes)
    off = (1 - eye) / (n_classes - 1) if kind == "symmetric" else np.roll(eye, 1, axis=1)
    T = (1 - noise) * eye + noise * off
    given = (T[truth].cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return scores, given, truth, T


def n_mixing(n_classes):
    """Number of features that speak for every class."""
    if n_classes > MIXING_CLASSES:
        return 0
    return n_classes * (1 + (n_classes <= QUADRATIC_CLASSES))


def random_model(n_classes, seed=0):
    rng = np.random.default_rng(seed)
    width = n_mixing(n_classes) or 1
    return TransitionModel(
        transition=rng.dirichlet(np.ones(n_classes), size=n_classes),
        center=rng.standard_normal(n_classes),
        scale=1.7,
        square_center=rng.random((n_classes, 1)),
        square_scale=0.6,
        linear=rng.standard_normal((width, n_classes)) / n_classes,
        curve=rng.standard_normal(n_classes) / 4,
        bias=rng.standard_normal(n_classes),
    )


def logits_slowly(model, scores):
    """Literal twin of tau s + c s^2 + D^T f + b, row by row and class by class."""
    z, mixing = np.empty(scores.shape), n_mixing(scores.shape[1]) > 0
    for i, row in enumerate(scores):
        s = (row - model.center) / model.scale
        squares = (s**2 - model.square_center[:, 0]) / model.square_scale
        f = np.concatenate([s, squares])[: len(model.linear)]
        for y in range(len(s)):
            along = model.linear[:, y] @ f if mixing else model.linear[0, y] * s[y]
            z[i, y] = along + model.curve[y] * squares[y] + model.bias[y]
    return z


def posterior_slowly(q, T, given):
    gamma = np.empty(q.shape)
    for i in range(len(q)):
        for y in range(len(T)):
            gamma[i, y] = q[i, y] * (T[y, given[i]] if given[i] >= 0 else 1)
        gamma[i] /= gamma[i].sum()
    return gamma


def rowwise_softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 5, 40, 150])
def test_posterior_by_loops(xp, n_classes, dtype):
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((30, n_classes)).astype(dtype)
    given, model = rng.integers(-1, n_classes, 30), random_model(n_classes)
    q = rowwise_softmax(logits_slowly(model, scores))
    proba = model.class_proba(xp.asarray(scores))
    gamma = model.posterior(xp.asarray(scores), given)
    for found in (proba, gamma):
        assert array_namespace(found) is array_namespace(xp.asarray(scores))
    np.testing.assert_allclose(xp.to_numpy(proba), q, atol=2e-6)
    expected = posterior_slowly(q, model.transition, given)
    np.testing.assert_allclose(xp.to_numpy(gamma), expected, atol=1e-5)
    np.testing.assert_allclose(xp.to_numpy(gamma).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("n_classes", [4, QUADRATIC_CLASSES + 1])
def test_a_fit_with_a_held_matrix_goes_on_from_another_to_where_it_ends_by_itself(xp, n_classes):
    scores, given, _, T = evidence(2000, n_classes, spread=0.5)
    rows = xp.asarray(scores), given, None
    first, _ = fit_transition(*rows, unmix=False, tol=1e-6)
    fits = [TransitionFit(*rows, unmix=False).held_at(T, near) for near in (None, first)]
    for fit in fits:
        fit.rounds(60, 1e-6)
    alone, other = (fit.best.model for fit in fits)
    assert len(other.trace) < len(alone.trace)
    assert other.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-4)
    np.testing.assert_array_equal(other.transition, T)


@pytest.mark.parametrize("n_classes", [2, 4, 35, 150])
def test_gradients_by_finite_differences(n_classes, monkeypatch):
    scores, given, _, _ = evidence(n=200, n_classes=n_classes)
    trusted = np.arange(200) < 20
    seen, rng = [], np.random.default_rng(0)

    def checked(fun, theta, args=(), **settings):
        def loss(theta):
            return fun(theta, *args)

        if len(seen) < 3 or len(theta) > n_classes + 1:
            for at in (theta, theta + 0.1 * rng.standard_normal(len(theta))):
                _, gradient = loss(at)
                direction = rng.standard_normal(len(theta))
                direction /= np.linalg.norm(direction)
                # The loss is computed in float32.
                for along in (direction, np.eye(len(theta))[-1], np.eye(len(theta))[0]):
                    up, down = loss(at + 1e-2 * along)[0], loss(at - 1e-2 * along)[0]
                    assert np.isclose((up - down) / 2e-2, gradient @ along, rtol=2e-2, atol=5e-5)
            seen.append(len(theta))
        return minimize(fun, theta, args, **settings)

    monkeypatch.setattr("skclean.decision.transition_fit.minimize", checked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit_transition(scores, given, trusted, max_iter=2)
    assert min(seen) == n_classes + 1
    assert max(seen) == n_mixing(n_classes) * n_classes + 2 * n_classes + 1


def test_gradient_of_a_small_fit_in_every_direction(monkeypatch):
    scores, given, _, _ = evidence(n=60, n_classes=2)

    def checked(fun, theta, args=(), **settings):
        def loss(theta):
            return fun(theta, *args)

        steps = 1e-2 * np.eye(len(theta))
        slopes = [(loss(theta + e)[0] - loss(theta - e)[0]) / 2e-2 for e in steps]
        np.testing.assert_allclose(slopes, loss(theta)[1], rtol=2e-2, atol=1e-4)
        return minimize(fun, theta, args, **settings)

    monkeypatch.setattr("skclean.decision.transition_fit.minimize", checked)
    fit_transition(scores, given)


def fitted(scores, given, trusted=None, precision=None, rounds=200):
    fit = TransitionFit(scores, given, trusted).started(2 / 3)
    if precision is not None:
        fit.precision = precision
    fit.climb(max_iter=rounds)
    return fit


def test_leave_one_out_by_the_formula():
    scores, given, _, _ = evidence(n=80, n_classes=3)
    fit = fitted(scores, given, precision=3.0, rounds=20)
    model = fit.model
    rows, labels = scores[fit.order], given[fit.order]
    z = logits_slowly(model, rows)
    q = rowwise_softmax(z)
    g = q - posterior_slowly(q, model.transition, labels)
    s = (rows - model.center) / model.scale
    squares = (s**2 - model.square_center[:, 0]) / model.square_scale
    f = np.hstack([s, squares])
    # Curvature of D as one matrix: E[f f^T] (x) E[g g^T], and the prior.
    curvature = np.kron(f.T @ f, g.T @ g / len(g)) + 3.0 * np.eye(f.shape[1] * 3)
    inverse = np.linalg.inv(curvature)
    expected = np.empty(z.shape)
    for i in range(len(z)):
        change = inverse @ np.kron(f[i], g[i])
        expected[i] = z[i] + f[i] @ change.reshape(f.shape[1], 3)
    found = to_numpy(fit.leave_one_out()).T
    np.testing.assert_allclose(found, rowwise_softmax(expected), atol=2e-4)


def test_leave_one_out_is_near_to_refitting():
    scores, given, _, T = evidence(n=100, n_classes=2, noise=0.1, spread=0.8)
    fit = TransitionFit(scores, given, None)
    fit.model.transition, fit.precision = T, 2.0
    fit.climb(max_iter=300)
    in_sample = to_numpy(fit.model.class_proba(scores))[:, 1]
    approximate, exact = np.empty(100), np.empty(100)
    approximate[fit.order] = to_numpy(fit.leave_one_out())[1]
    for i in range(100):
        keep = np.arange(100) != i
        other = TransitionFit(scores[keep], given[keep], None)
        other.model.transition, other.precision = T, 2.0
        other.climb(max_iter=300)
        exact[i] = to_numpy(other.model.class_proba(scores[i : i + 1]))[0, 1]
    assert np.abs(exact - in_sample).mean() > 0.005
    assert np.corrcoef(approximate - in_sample, exact - in_sample)[0, 1] > 0.8
    assert np.abs(approximate - exact).mean() < 0.7 * np.abs(in_sample - exact).mean()


def test_labels_that_are_nearly_all_wrong(monkeypatch):
    scores, given, truth, T = evidence(n=12000, n_classes=10, noise=0.85)
    model, gamma = fit_transition(scores, given)
    np.testing.assert_allclose(model.transition.diagonal(), T.diagonal(), atol=0.05)
    assert np.mean(gamma.argmax(axis=1) == truth) > 0.8
    monkeypatch.setattr(transition, "START_NOISE", (2 / 3,))
    from_the_first_alone = fit_transition(scores, given)[0]
    assert from_the_first_alone.log_likelihood < model.log_likelihood


def test_counts_by_loops():
    scores, given, _, _ = evidence(n=70, n_classes=3)
    trusted = np.arange(70) % 4 == 0
    fit = TransitionFit(scores, given, trusted)
    gamma = np.random.default_rng(0).dirichlet(np.ones(3), size=70)
    expected = np.zeros((3, 3))
    for i, row in enumerate(fit.order):
        if not trusted[row]:
            expected[:, given[row]] += gamma[i]
    np.testing.assert_allclose(fit.counts(lambda rows: gamma.T[:, rows]), expected)


@pytest.mark.parametrize("kind, noise", [("symmetric", 0.5), ("pair", 0.35), ("symmetric", 0.0)])
@pytest.mark.parametrize("n_classes", [2, 4, 10])
def test_noise_and_truth_are_found(kind, noise, n_classes):
    if n_classes == 2 and noise > 0.35:
        noise = 0.35
    scores, given, truth, T = evidence(n=3000, n_classes=n_classes, noise=noise, kind=kind)
    model, gamma = fit_transition(scores, given)
    assert model.converged and 1 <= model.n_iter <= 30 and len(model.trace) == model.n_iter
    np.testing.assert_allclose(model.transition, T, atol=0.08)
    bayes = np.mean(scores.argmax(axis=1) == truth)
    assert np.mean(gamma.argmax(axis=1) == truth) > max(bayes, np.mean(given == truth)) - 0.005
    np.testing.assert_allclose(gamma.sum(axis=1), 1, rtol=1e-5)
    if noise == 0:
        assert np.mean(gamma.argmax(axis=1) != given) < 0.01
    # Calibrated: as many labels are wrong as it says.
    wrong = 1 - gamma[np.arange(3000), given].mean()
    assert abs(wrong - np.mean(given != truth)) < 0.02
    # New rows of the same kind are judged as well.
    new, labels, new_truth, _ = evidence(2000, n_classes, noise, kind, seed=9)
    found = model.posterior(new, labels).argmax(axis=1)
    assert np.mean(found == new_truth) > np.mean(gamma.argmax(axis=1) == truth) - 0.03


def test_renamed_classes_and_shuffled_rows():
    scores, given, _, _ = evidence(n=800, kind="pair")
    rng = np.random.default_rng(0)
    order, names = rng.permutation(800), np.array([2, 3, 1, 0])
    model, gamma = fit_transition(scores, given)
    other, shuffled = fit_transition(scores[order], given[order])
    np.testing.assert_allclose(shuffled, gamma[order], atol=0.02)
    back = np.argsort(names)
    renamed, moved = fit_transition(scores[:, back], names[given])
    np.testing.assert_allclose(moved[:, names], gamma, atol=0.02)
    np.testing.assert_allclose(
        renamed.transition[np.ix_(names, names)], model.transition, atol=0.01
    )
    np.testing.assert_allclose(other.transition, model.transition, atol=0.01)


def test_shifted_and_scaled_scores():
    scores, given, _, _ = evidence(n=800)
    _, gamma = fit_transition(scores, given)
    _, other = fit_transition(scores * 1e4 - 3e5, given)
    np.testing.assert_allclose(other, gamma, atol=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_library(xp, dtype):
    scores, given, _, _ = evidence(n=400)
    scores = scores.astype(dtype)
    trusted = np.arange(400) < 10
    _, expected = fit_transition(scores, given, trusted)
    model, gamma = fit_transition(xp.asarray(scores), given, trusted)
    assert array_namespace(gamma) is array_namespace(xp.asarray(scores))
    assert isinstance(model.transition, np.ndarray)
    np.testing.assert_allclose(xp.to_numpy(gamma), expected, atol=0.01)


def test_many_rows_are_fitted_on_a_part(xp, monkeypatch):
    scores, given, truth, _ = evidence(n=3000, kind="pair", spread=0.5)
    given[:2], scores = [4, 5], np.column_stack([scores, np.zeros((3000, 2))])
    trusted = (given == truth) & (np.arange(3000) % 50 == 0)
    scores = scores.astype(np.float32)
    expected_model, expected = fit_transition(scores, given, trusted)
    monkeypatch.setattr(transition, "MAX_SCORES", 6 * 1000)
    rows = transition.rows_of_fit(given, trusted, 1000)
    assert 1000 <= len(rows) <= 1006 and (np.diff(rows) > 0).all()
    assert trusted[rows].sum() == trusted.sum()
    share = np.bincount(given[rows]) / np.bincount(given)
    assert {0, 1} <= set(rows) and np.ptp(share[:4]) < 0.05
    model, gamma = fit_transition(xp.asarray(scores), given, trusted)
    assert array_namespace(gamma) is array_namespace(xp.asarray(scores))
    gamma = xp.to_numpy(gamma)
    np.testing.assert_allclose(gamma.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(gamma.argmax(axis=1) == expected.argmax(axis=1)) > 0.98
    np.testing.assert_allclose(model.transition[:4], expected_model.transition[:4], atol=0.05)
    np.testing.assert_array_equal(gamma[trusted], np.eye(6)[given[trusted]])
    # Rows of the fit are those of a fit to them alone, others those of the model.
    part = scores[rows], given[rows], trusted[rows]
    alone = transition._fit(*part, max_iter=30, tol=1e-4)[1]
    np.testing.assert_allclose(gamma[rows], alone, atol=0.01)
    others = np.setdiff1d(np.arange(3000), rows)
    found = model.posterior(scores[others], given[others])
    np.testing.assert_allclose(gamma[others], found, atol=1e-4)


@pytest.mark.parametrize("max_iter", [1, 30])
def test_starts_are_tried_on_a_part(xp, max_iter, monkeypatch):
    scores, given = evidence(n=9000, noise=0.7, spread=0.5)[:2]
    scores = scores.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected_model, expected = fit_transition(scores, given, max_iter=max_iter)
        monkeypatch.setattr(transition, "TRIAL_ROWS", 6000)
        model, gamma = fit_transition(xp.asarray(scores), given, max_iter=max_iter)
    assert model.n_iter == len(model.trace) and (model.n_iter == 1) == (max_iter == 1)
    if max_iter > 1:
        found = xp.to_numpy(gamma)
        assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.98
        np.testing.assert_allclose(model.transition, expected_model.transition, atol=0.02)


@pytest.mark.parametrize("n_trusted", [0, 700, 900])
def test_trusted_rows_leave_room_for_others(n_trusted):
    given, trusted = np.arange(900) % 3, np.arange(900) < n_trusted
    rows = transition.rows_of_fit(given, trusted, 300)
    assert trusted[rows].sum() == n_trusted
    # The first row of a class may come on top.
    expected = 300 if n_trusted == 0 else min(150, 900 - n_trusted)
    assert expected <= (~trusted[rows]).sum() <= expected + 3


def test_trusted_rows_count_as_right():
    scores, given, truth, _ = evidence(n=600, noise=0.4, kind="pair", spread=0.6)
    trusted = (given == truth) & (np.arange(600) % 2 == 0)
    plain, _ = fit_transition(scores, given)
    model, _ = fit_transition(scores, given, trusted)
    # T is that of the other rows alone.
    rest = np.mean(given[~trusted] != truth[~trusted])
    assert abs(1 - np.diag(model.transition).mean() - rest) < 0.1
    assert np.diag(model.transition).mean() < np.diag(plain.transition).mean()
    model, gamma = fit_transition(scores, given, np.ones(600, dtype=bool))
    assert np.isfinite(gamma).all()
    np.testing.assert_allclose(model.transition, np.eye(4), atol=1e-3)


@pytest.mark.parametrize(
    "case", ["constant", "an empty class", "one row a class", "two rows", "1:1000", "one constant"]
)
def test_degenerate_evidence(case):
    scores, given, _, _ = evidence(n=1200, n_classes=3, noise=0.1)
    if case == "constant":
        scores = np.zeros_like(scores)
    elif case == "an empty class":
        scores = np.column_stack([scores, np.zeros(1200)])
    elif case == "one row a class":
        scores, given = np.eye(3), np.arange(3)
    elif case == "two rows":
        scores, given = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    elif case == "1:1000":
        given = np.where(np.arange(1200) == 7, 1, 0)
        scores = np.eye(3)[given] + 0.1 * scores
    elif case == "one constant":
        scores[:, 0] = 5
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model, gamma = fit_transition(scores, given)
    assert np.isfinite(gamma).all() and np.isfinite(model.transition).all()
    np.testing.assert_allclose(model.transition.sum(axis=1), 1, rtol=1e-6)
    assert (np.diag(model.transition) >= model.transition.max(axis=1) - 1e-12).all()
    if case == "an empty class":
        assert gamma[:, 3].max() < 0.5
    if case == "1:1000":
        assert (gamma[given == 0].argmax(axis=1) == 0).all()


def test_many_classes():
    scores, given, truth, _ = evidence(n=2000, n_classes=200, noise=0.3, spread=0.1)
    model, gamma = fit_transition(scores, given)
    assert np.mean(gamma.argmax(axis=1) == truth) > 0.98
    assert abs(np.diag(model.transition).mean() - 0.7) < 0.05


def test_it_says_that_it_did_not_converge():
    scores, given, _, _ = evidence(n=300)
    with pytest.warns(ConvergenceWarning, match="do raise max_iter"):
        model, _ = fit_transition(scores, given, max_iter=2, tol=0)
    assert not model.converged and model.n_iter == 2


def test_nothing_of_the_callers_is_changed():
    scores, given, _, _ = evidence(n=300)
    copies = scores.copy(), given.copy()
    scores.flags.writeable = given.flags.writeable = False
    state = np.random.get_state()[1].copy()
    threads = [(p["user_api"], p["num_threads"]) for p in threadpool_info()]
    model, _ = fit_transition(scores, given)
    model.posterior(scores, given)
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(given, copies[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert [(p["user_api"], p["num_threads"]) for p in threadpool_info()] == threads
    assert from_numpy(scores, scores) is scores


def test_no_confusion_is_likelier_than_the_label():
    # Small classes drown in the wrong labels of a large neighbour, and could swap names with it.
    rng = np.random.default_rng(0)
    truth = rng.choice(4, 3000, p=[0.9, 0.05, 0.03, 0.02])
    scores = np.eye(4)[truth] + 0.45 * rng.standard_normal((3000, 4))
    given = np.where(rng.random(3000) < 0.35, (truth + 1) % 4, truth)
    model, gamma = fit_transition(scores, given)
    np.testing.assert_array_equal(model.transition.argmax(axis=1), np.arange(4))
    assert np.mean(gamma.argmax(axis=1) == truth) > np.mean(given == truth)


def test_the_prior_of_the_mixing_matrix_follows_its_size():
    scores, given, _, _ = evidence(n_classes=4, noise=0.3)
    fit = TransitionFit(scores, given, None).started(2 / 3)
    before = fit.precision
    fit.climb()
    fit.leave_one_out()
    assert fit.precision != before


def test_threads_of_the_caller_leave_the_setting_alone():
    scores, given, _, _ = evidence(n=800)
    before = threadpool_info()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fit_transition(scores, given), range(8)))
    assert threadpool_info() == before


@pytest.mark.parametrize("far", [1e20, 1e60])
def test_new_rows_far_out_have_a_posterior(xp, far):
    scores, given, _, _ = evidence(300)
    model, _ = fit_transition(xp.asarray(scores), given)
    rows = np.concatenate([scores[:2], far * scores[:1]])
    found = to_numpy(model.posterior(xp.asarray(rows), given[:3]))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[:2], model.posterior(scores[:2], given[:2]), rtol=1e-4)


@pytest.mark.parametrize(("seed", "n", "spread"), [(1, 200, 0.3), (31, 60, 0.02), (86, 500, 0.3)])
def test_searches_that_go_far_out_do_not_overflow(seed, n, spread):
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) < n / 50).astype(int)
    given = np.where(rng.random(n) < 0.1, 1 - truth, truth)
    scores = np.eye(2)[truth] + spread * rng.standard_normal((n, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model, posterior = fit_transition(scores, given)
    assert np.isfinite(posterior).all() and np.isfinite(model.log_likelihood)
