import numpy as np
import pytest

from skclean.evidence.ranking import (
    agreement,
    fit_trusted_judges,
    rank_cutoffs,
    rank_proba,
)

RNG = np.random.default_rng(0)
N, C = 400, 4
PROBA = RNG.dirichlet(np.full(C, 0.4), size=N)
GIVEN = np.array([RNG.choice(C, p=p) for p in PROBA])


def section_3_1(proba, given, confidence, min_share):
    """The rule of section 3.1, class by class."""
    kept = np.zeros(len(given), dtype=bool)
    for c in range(proba.shape[1]):
        rows = [i for i in range(len(given)) if given[i] == c]
        ranking = [i for i in rows if proba[i].argmax() == c]
        ranking.sort(key=lambda i: -proba[i, c])
        n_sure = sum(proba[i, c] >= confidence for i in ranking)
        least = int(np.ceil(min_share * len(rows)))
        kept[ranking[: max(n_sure, least)]] = True
    return kept


def ranked(proba, given, confidence, min_share, n_classes=C):
    own, share = agreement(proba, given)
    cutoffs = rank_cutoffs(own, share >= 0.5, given, n_classes, confidence, min_share)
    return cutoffs, rank_proba(own, share, cutoffs[given])


@pytest.mark.parametrize("min_share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("confidence", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rule_by_its_definition(xp, dtype, confidence, min_share):
    proba = PROBA.astype(dtype)
    _, clean = ranked(xp.asarray(proba), GIVEN, confidence, min_share)
    np.testing.assert_array_equal(clean > 0.5, section_3_1(proba, GIVEN, confidence, min_share))


def test_agreement(xp):
    own, share = agreement(xp.asarray(PROBA), GIVEN)
    np.testing.assert_allclose(own, PROBA[np.arange(N), GIVEN])
    np.testing.assert_array_equal(share == 0.5, PROBA.argmax(axis=1) == GIVEN)
    assert (share <= 0.5).all()


def test_clean_proba_rises_along_the_ranking():
    _, clean = ranked(PROBA, GIVEN, 0.9, 0.1)
    assert (clean >= 0).all() and (clean <= 1).all()
    own = PROBA[np.arange(N), GIVEN]
    for c in range(C):
        rows = np.flatnonzero((GIVEN == c) & (PROBA.argmax(axis=1) == c))
        rows = rows[np.argsort(own[rows])]
        assert (np.diff(clean[rows]) >= 0).all()


def test_cutoffs_do_not_depend_on_the_order_of_rows_or_the_names_of_classes():
    cutoffs, clean = ranked(PROBA, GIVEN, 0.9, 0.2)
    order, names = RNG.permutation(N), np.array([2, 0, 3, 1])
    moved, found = ranked(PROBA[order][:, np.argsort(names)], names[GIVEN[order]], 0.9, 0.2)
    np.testing.assert_allclose(found, clean[order], atol=1e-9)
    np.testing.assert_allclose(moved[names], cutoffs)


def test_empty_classes_ties_and_single_rows():
    cutoffs, clean = ranked(np.full((6, 3), 1 / 3), np.zeros(6, np.int64), 0.9, 0.1, 3)
    np.testing.assert_allclose(cutoffs, [1 / 3, 0.9, 0.9], rtol=1e-5)
    assert (clean > 0.5).all()
    cutoffs, clean = ranked(np.array([[0.2, 0.8]]), np.array([0]), 0.9, 0.1, 2)
    np.testing.assert_array_equal(cutoffs, 0.9)
    assert clean[0] <= 0.2
    assert ranked(np.array([[1.0, 0.0]]), np.array([0]), 1.0, 0.0, 2)[1][0] > 0.5


def blobs(n_classes=3, n=90, noise=0.8):
    truth = np.arange(n) % n_classes
    X = 3 * np.eye(n_classes, 6)[truth] + noise * RNG.standard_normal((n, 6))
    scores = np.eye(n_classes)[truth] + 0.3 * RNG.standard_normal((n, n_classes))
    return X, scores, truth


def test_judges_by_their_definition(xp):
    X, scores, truth = blobs()
    judges = fit_trusted_judges(xp.asarray(X[:60]), xp.asarray(scores[:60]), truth[:60])
    given = RNG.integers(0, 3, 90)
    clean = judges.clean_proba(xp.asarray(X), xp.asarray(scores), given)
    a, b = (x[:60].var(axis=0).sum() ** -0.5 for x in (X, scores))
    inputs = np.hstack([X * a, scores * b])
    f = judges.model._ridge.predict(xp.asarray(inputs))
    for i in range(90):
        z = judges.slope * float(f[i, int(given[i])]) + judges.bias
        assert clean[i] == pytest.approx(1 / (1 + np.exp(-z)), abs=1e-4)
    assert np.mean((clean > 0.5) == (given == truth)) > 0.95


def test_classes_without_a_trusted_row_are_not_judged():
    X, scores, truth = blobs(4, 120)
    seen = np.flatnonzero(truth < 3)
    judges = fit_trusted_judges(X[seen], scores[seen], truth[seen])
    clean = judges.clean_proba(X, scores, truth)
    np.testing.assert_array_equal(np.isnan(clean), truth == 3)
    assert fit_trusted_judges(X[truth == 1], scores[truth == 1], truth[truth == 1]) is None


def test_trusted_rows_that_teach_nothing_do_not_judge():
    # Without its own label, a row of a balanced class is likelier of another class.
    alike = np.ones((12, 3)), np.zeros((12, 2))
    assert fit_trusted_judges(*alike, np.arange(12) % 2) is None
    X, scores, truth = blobs()
    assert fit_trusted_judges(X, scores, truth) is not None
    assert fit_trusted_judges(X, scores, truth, np.zeros(90, np.int64)) is None


def test_groups_are_left_out_together():
    X, scores, truth = (np.repeat(part, 5, axis=0) for part in blobs(3, 12, noise=3.0))
    judges = [
        fit_trusted_judges(X, scores, truth, groups) for groups in (None, np.repeat(range(12), 5))
    ]
    errors = [judge.model.alpha_errors_.min() for judge in judges]
    assert errors[0] < 0.1 * errors[1]
