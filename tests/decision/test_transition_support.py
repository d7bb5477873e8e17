"""When the labels bear out noise, and from which start it is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from skclean import TransitionCleaner
from skclean.datasets import make_symmetric_noise
from skclean.decision import transition, transition_doubt, transition_support
from skclean.decision.transition import fit_transition
from skclean.decision.transition_doubt import (
    SUPPORT_NATS,
    SUPPORT_SEPARATIONS,
    TWO_SEPARATIONS,
    needed_support,
    separation,
)
from skclean.decision.transition_support import fit_supported


def overlapping(n, spread, seed, rate=0.0):
    """Scores of classes that overlap, and labels of which a share is wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    scores = np.eye(3)[truth] + spread * rng.standard_normal((n, 3))
    return scores, np.where(rng.random(n) < rate, (truth + 1) % 3, truth), truth


def test_few_overlapping_rows_are_no_wrong_labels():
    harm = []
    for seed in range(24):
        scores, given, _ = overlapping(100, 1.0, seed)
        _, gamma = fit_supported(scores, given, temperature=1.0)
        harm.append(np.mean(gamma.argmax(axis=1) != given))
    assert np.mean(harm) < 0.04 and np.mean(np.array(harm) > 0) < 0.2


def test_noise_of_classes_that_stand_apart_is_believed():
    for n in (150, 400):
        scores, given, truth = overlapping(n, 0.2, n, rate=0.25)
        model, gamma = fit_supported(scores, given, temperature=3.0)
        assert np.mean(gamma.argmax(axis=1) == truth) > 0.97
        assert model.transition.diagonal().max() < 0.9
    assert needed_support(separation(scores)) < 0
    rng = np.random.default_rng(0)
    assert separation(rng.standard_normal((5000, 2))) == pytest.approx(1 / np.pi, abs=0.02)
    assert separation(rng.standard_normal((5000, 6))) < 2 / 3


def test_all_noise_of_few_rows_that_stand_apart_is_found():
    """Where overlap would explain some of it as well, too."""
    found, wrong = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 2, 200)
        X = rng.standard_normal((2, 50))[truth] + rng.standard_normal((200, 50))
        given = make_symmetric_noise(truth, 0.2, random_state=100 + seed)[0]
        cleaner = TransitionCleaner().fit(X, given)
        found.append(cleaner.noise_rate_)
        wrong.append(np.mean(given != truth))
        assert np.mean(cleaner.transduction_ == truth) > 0.98
        assert np.array_equal(TransitionCleaner().fit(X, truth).transduction_, truth)
    assert np.min(np.array(found) / wrong) > 0.8 and np.mean(found) < 1.02 * np.mean(wrong)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_few_rows_that_stand_apart_do_not_hide_how_many_are_wrong(rate):
    """T says of them what their labels say."""
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    X = 8 * np.eye(3, 5)[truth] + rng.standard_normal((60, 5))
    given = make_symmetric_noise(truth, rate, random_state=1)[0]
    cleaner = TransitionCleaner().fit(X, given)
    np.testing.assert_array_equal(cleaner.transduction_, truth)
    found = 1 - np.diag(cleaner.transition_matrix_).mean()
    assert found == pytest.approx(np.mean(given != truth), rel=0.1)


def test_the_further_classes_stand_apart_the_less_support_noise_needs():
    needed = [needed_support(share) for share in np.linspace(0, 1, 101)]
    assert (np.diff(needed) <= 0).all()
    assert (needed[0], needed[-1]) == (SUPPORT_NATS[0], SUPPORT_NATS[-1])
    assert needed_support(2 / np.pi) == SUPPORT_NATS[0]
    assert needed_support(SUPPORT_SEPARATIONS[1] + 0.05) < 0
    # Two classes cut out of a flat cloud.
    assert needed_support(3 / 4, TWO_SEPARATIONS) == SUPPORT_NATS[0]


def test_many_rows_are_believed_as_they_are(monkeypatch):
    scores, given, _ = overlapping(400, 0.5, 0, rate=0.2)
    for module in (transition, transition_support):
        monkeypatch.setattr(module, "SUPPORT_ROWS", 399)
    model, gamma = fit_supported(scores, given, temperature=1.0)
    expected, same = fit_transition(scores, given)
    np.testing.assert_array_equal(gamma, same)
    np.testing.assert_array_equal(model.transition, expected.transition)


def ambiguous(factors=(0.4, 1.2), rate=0.0, n=6000):
    """Scores of rows, some more ambiguous than the model can say, and their labels."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((n, 4))
    proba = softmax(rng.choice(factors, n)[:, None] * scores, axis=1)
    truth = (proba.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return scores, np.where(rng.random(n) < rate, (truth + 1) % 4, truth), truth


def test_weak_scores_that_predict_few_labels_need_more(monkeypatch):
    scores, given, _ = ambiguous(factors=(0.3, 1.6), n=4000)
    assert separation(scores) < SUPPORT_SEPARATIONS[0]
    assert np.mean(scores.argmax(axis=1) == given) < 0.5
    monkeypatch.setattr(transition_support, "MISFIT", 0.0)
    model, _ = fit_supported(scores, given, temperature=1.0)
    assert model.support >= model.needed == 4 * transition_doubt.CLASS_NATS
    # A T that fits single rows counts against noise.
    monkeypatch.setattr(transition_doubt, "OPTIMISM", 0.0)
    plainly, _ = fit_supported(scores, given, temperature=1.0)
    assert plainly.support >= model.support
    monkeypatch.setattr(transition_doubt, "CLASS_NATS", 0.3 * plainly.support)
    model, gamma = fit_supported(scores, given, temperature=1.0)
    np.testing.assert_array_equal(gamma.argmax(axis=1), given)
    assert model.support == -np.inf


def test_scores_that_tell_little_but_of_classes_that_stand_apart_bear_noise_out():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    scores = 0.15 * (np.eye(3)[truth] + 0.3 * rng.standard_normal((400, 3)))
    given = np.where(rng.random(400) < 0.55, rng.integers(0, 3, 400), truth)
    assert separation(scores) > SUPPORT_SEPARATIONS[0]
    _, gamma = fit_supported(scores, given, temperature=1.0, informative=False)
    assert np.mean(gamma.argmax(axis=1) == truth) > 0.9
    random = rng.permutation(given)
    model, gamma = fit_supported(scores, random, temperature=1.0, informative=False)
    np.testing.assert_array_equal(gamma.argmax(axis=1), random)
    assert model.support == -np.inf


@pytest.mark.parametrize("n", [3000, 4900])
def test_noise_that_fewer_weak_rows_hardly_bear_out_is_not_believed_either(n, monkeypatch):
    scores, given, _ = ambiguous(factors=(0.6, 1.6), n=n)
    model, gamma = fit_supported(scores, given, temperature=1.0)
    np.testing.assert_array_equal(gamma.argmax(axis=1), given)
    assert model.support == -np.inf
    monkeypatch.setattr(transition_support, "MISFIT", 0.0)
    model, gamma = fit_supported(scores, given, temperature=1.0)
    assert np.mean(gamma.argmax(axis=1) != given) > 0.005
    assert model.support > SUPPORT_NATS[0]


def test_noise_that_many_weak_rows_hardly_bear_out_is_not_believed():
    scores, given, _ = ambiguous()
    _, gamma = fit_transition(scores, given)
    assert np.mean(gamma.argmax(axis=1) != given) > 0.01
    model, gamma = fit_supported(scores, given, temperature=1.0)
    np.testing.assert_array_equal(gamma.argmax(axis=1), given)
    assert model.support == -np.inf
    # A trusted row or two do not change that; some of each class bear it out by themselves.
    trusted = np.arange(6000) < 2
    model, gamma = fit_supported(scores, given, trusted, temperature=1.0)
    np.testing.assert_array_equal(gamma.argmax(axis=1), given)
    trusted = np.arange(6000) < 40
    model, gamma = fit_supported(scores, given, trusted, temperature=1.0)
    np.testing.assert_array_equal(gamma, fit_transition(scores, given, trusted)[1])
    assert model.support == np.inf


@pytest.mark.parametrize(
    ("constant", "value"), [("MISFIT", -1.0), ("MISFIT_NOISE", -1.0), ("LITTLE_NOISE", 0.9)]
)
@pytest.mark.parametrize("few_classes", [True, False])
def test_each_condition_of_disbelief(monkeypatch, constant, value, few_classes):
    scores, given, _ = ambiguous()
    expected = fit_transition(scores, given)[1]
    monkeypatch.setattr(transition_support, "SHARES", ())
    if few_classes:
        monkeypatch.setattr(transition_support, constant, value)
        monkeypatch.setattr(transition_doubt, "SUPPORT_NATS", (-99.0, -99.0, -99.0))
        monkeypatch.setattr(transition_doubt, "CLASS_NATS", -99.0)
    else:
        monkeypatch.setattr(transition_doubt, "QUADRATIC_CLASSES", 3)
    _, gamma = fit_supported(scores, given, temperature=1.0)
    np.testing.assert_array_equal(gamma, expected)


def test_what_weak_rows_have_to_gain_is_a_share_of_what_they_tell(monkeypatch):
    scores, given, _ = ambiguous()
    model, gamma = fit_transition(scores, given)
    eye, rate = np.eye(4), 1 / 6002
    simpler, _ = fit_transition(scores, given, transition=rate / 3 * (1 - eye) + (1 - rate) * eye)
    share = np.bincount(given) / 6000
    told = model.log_likelihood - np.sum(share * np.log(share))
    noise = 1 - np.mean(gamma[np.arange(6000), given])
    gain = model.log_likelihood - simpler.log_likelihood
    assert gain < min(0.007, 0.1 * noise) * told

    def hardly(**constants):
        for name, value in constants.items():
            monkeypatch.setattr(transition_support, name, value)
        return transition_support._hardly_likelier(model, noise, simpler, given)

    assert hardly()
    gain = 0.003 * told
    simpler = replace(simpler, log_likelihood=model.log_likelihood - gain)
    assert hardly(MISFIT=1.01 * gain / told) and not hardly(MISFIT=0.99 * gain / told)
    assert not hardly(MISFIT=1.0, MISFIT_NOISE=0.99 * gain / told / noise)
    assert hardly(MISFIT_NOISE=1.01 * gain / told / noise)
    assert hardly(LITTLE_NOISE=0.99 * noise) and not hardly(LITTLE_NOISE=1.01 * noise)


@pytest.mark.parametrize("n", [4000, 6000])
def test_weak_rows_take_less_noise_where_that_makes_labels_likelier(n, monkeypatch):
    rng = np.random.default_rng(0 if n == 4000 else 1)
    scores = rng.standard_normal((n, 2))
    proba = softmax(scores, axis=1)
    truth = (proba.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    given = np.where(rng.random(n) < (0.1 if n == 4000 else 0.2), 1 - truth, truth)
    less, gamma = fit_supported(scores, given, temperature=1.0)
    monkeypatch.setattr(transition_support, "SHARES", ())
    more, before = fit_supported(scores, given, temperature=1.0)
    assert less.log_likelihood > more.log_likelihood and less.support == more.support
    errors, most = (1 - model.transition.diagonal() for model in (less, more))
    share = errors / most
    assert np.abs(share - share[0]).max() < 1e-3 and round(share[0], 2) in (0.75, 0.5, 0.25)
    right, was = (np.mean(g.argmax(axis=1) == truth) for g in (gamma, before))
    assert right > was - 0.002 and (n == 6000 or right > was + 0.02)


def test_noise_that_many_weak_rows_bear_out_is_believed():
    scores, given, truth = ambiguous(factors=(3.0, 4.0), rate=0.3)
    assert separation(scores) < SUPPORT_SEPARATIONS[0]
    model, gamma = fit_supported(scores, given, temperature=1.0)
    assert model.support == np.inf
    assert np.mean(gamma.argmax(axis=1) == truth) > np.mean(given == truth) + 0.02


def test_probabilities_that_predict_few_labels_need_as_much():
    scores, given, _ = ambiguous()
    log_proba = log_softmax(0.8 * scores, axis=1)
    assert np.mean(scores.argmax(axis=1) == given) < 0.5
    _, gamma = fit_supported(log_proba, given, temperature=1.0, log_proba=True)
    np.testing.assert_array_equal(gamma.argmax(axis=1), given)


@pytest.mark.parametrize("few", [True, False])
def test_the_simplest_model_is_the_softmax_of_the_scores(few, xp):
    scores, given, _ = overlapping(12 if few else 60, 0.5, 0, rate=0.2)
    trusted = np.arange(len(given)) < 3
    model, gamma = fit_supported(
        xp.asarray(scores), given, trusted, temperature=2.0, informative=few
    )
    q, rate = softmax(2 * scores, axis=1), 1 / (len(given) + 2)
    factor = np.where(np.eye(3)[given] > 0, 1 - rate, rate / 2)
    expected = q * factor / (q * factor).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(xp.to_numpy(gamma), expected, atol=1e-5)
    np.testing.assert_allclose(xp.to_numpy(model.class_proba(xp.asarray(scores))), q, atol=1e-5)
    likelihood = np.where(trusted, q[np.arange(len(given)), given], (q * factor).sum(axis=1))
    assert model.log_likelihood == pytest.approx(np.log(likelihood).mean(), abs=1e-5)
    assert model.n_iter == 0 and model.converged


def test_few_rows_of_many_classes_that_look_clean_from_the_first_start(monkeypatch):
    rng, n, n_classes = np.random.default_rng(0), 3000, 60
    rows, truth = np.arange(n), np.arange(n) % n_classes
    alike = (truth + rng.integers(1, 4, n)) % n_classes
    given = np.where(rng.random(n) < 0.25, alike, truth)
    scores = rng.standard_normal((n, n_classes))
    for step, more in enumerate((4.0, 2.4, 2.4, 2.4)):
        scores[rows, (truth + step) % n_classes] += more
    scores = np.maximum(log_softmax(1.5 * scores, axis=1), np.log(1e-6)).astype(np.float32)
    gamma = fit_transition(scores, given)[1]
    assert np.mean(gamma.argmax(axis=1) == truth) > 0.87
    monkeypatch.setattr(transition, "START_NOISE", (2 / 3,))
    alone = fit_transition(scores, given)[1]
    assert np.mean(alone.argmax(axis=1) == given) > 0.98


def test_few_rows_are_unmixed_where_that_makes_them_likelier(monkeypatch):
    rng, n, n_classes = np.random.default_rng(0), 1000, 20
    truth = rng.integers(0, n_classes, n)
    T = 0.6 * np.eye(n_classes) + 0.4 * np.roll(np.eye(n_classes), 1, axis=1)
    given = (T[truth].cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    # Scores of a fit to such labels are a mixture by T.
    scores = T[truth] + 0.18 * rng.standard_normal((n, n_classes))

    def accuracy():
        _, gamma = fit_supported(scores, given, temperature=5.0)
        return np.mean(gamma.argmax(axis=1) == truth)

    unmixed = accuracy()
    monkeypatch.setattr(transition_support, "UNMIXING_GAIN", 99)
    assert unmixed > max(0.9, accuracy() + 0.02)


@pytest.mark.parametrize(("rate", "n"), [(0.3, 6000), (0.2, 4000), (0.02, 6000)])
def test_the_least_share_of_noise_costs_what_weak_scores_may_be_off(rate, n):
    scores, given, _ = ambiguous(factors=(3.0, 4.0), rate=rate, n=n)
    model, gamma = fit_supported(scores, given, temperature=1.0)
    q = gamma.astype(np.float64) / model.transition[:, given].T
    q /= q.sum(axis=1, keepdims=True)

    def likelihood(share):
        less = share * model.transition + (1 - share) * np.eye(4)
        return np.mean([np.log(q[i] @ less[:, given[i]]) for i in range(n)])

    frequency = np.bincount(given) / n
    told = model.log_likelihood - np.sum(frequency * np.log(frequency))
    lost = likelihood(1) - likelihood(model.least_share)
    if rate < 0.1:
        assert model.least_share == 0.5 and lost < 0.007 * told
    else:
        assert 0.5 < model.least_share < 1
        assert lost == pytest.approx(0.007 * told, rel=1e-3)


def test_strong_scores_and_trusted_rows_leave_no_doubt_of_the_share():
    scores, given, _ = overlapping(2000, 0.3, 0, rate=0.2)
    assert fit_supported(scores, given, temperature=1.0)[0].least_share == 1
    scores, given, _ = ambiguous(factors=(3.0, 4.0), rate=0.3)
    trusted = np.arange(6000) < 40
    assert fit_supported(scores, given, trusted, temperature=1.0)[0].least_share == 1


@pytest.mark.parametrize("n", [4000, 6000])
def test_trusted_rows_of_some_classes_say_nothing_of_the_least_share(n):
    scores, given, truth = ambiguous(factors=(3.0, 4.0), rate=0.25, n=n)
    alone = fit_supported(scores, given, temperature=1.0)[0].least_share
    trusted = (given == truth) & (given != 3) & (np.arange(n) % 3 == 0)
    beside = fit_supported(scores, given, trusted, temperature=1.0)[0].least_share
    assert beside == pytest.approx(alone, abs=0.05)


@pytest.mark.parametrize("n, n_grades", [(1000, 5), (3000, 10), (8000, 10)])
def test_right_labels_of_classes_in_a_row_are_left(n, n_grades):
    rng = np.random.default_rng(0)
    level = rng.uniform(0, n_grades, n)
    grade = np.clip((level + rng.normal(size=n)).astype(int), 0, n_grades - 1)
    X = np.column_stack([level, rng.normal(size=(n, 2))])
    cleaner = TransitionCleaner().fit(X, grade)
    assert np.mean(cleaner.transduction_ == grade) > 0.97
