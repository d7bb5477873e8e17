import numpy as np
import pytest

from skclean.decision.summary import audit_labels, refined_transition, soft_transition


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_soft_transition_by_loops(rng):
    proba, given = rng.dirichlet(np.ones(4), size=50), rng.integers(-1, 4, 50)
    proba[:, 3] = 0
    proba /= proba.sum(axis=1, keepdims=True)
    found = soft_transition(given, proba)
    for y in range(3):
        weight = sum(proba[i, y] for i in range(50) if given[i] >= 0)
        for k in range(4):
            expected = sum(proba[i, y] for i in range(50) if given[i] == k) / weight
            assert np.isclose(found[y, k], expected)
    np.testing.assert_array_equal(found[3], [0, 0, 0, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_refined_transition_by_loops(rng, dtype):
    proba, given = rng.dirichlet(np.ones(4), size=1200).astype(dtype), rng.integers(-1, 4, 1200)
    clean = np.where(given >= 0, rng.random(1200), np.nan)
    proba[5], given[5] = [0, 1, 0, 0], 1
    counts = np.zeros((4, 4))
    for p, g, w in zip(proba.astype(np.float64), given, clean, strict=True):
        if g >= 0:
            p[g] = 0
            refined = (1 - w) * p / max(p.sum(), 1e-12)
            refined[g] = w
            counts[:, g] += refined
    found = refined_transition(given, proba, clean)
    np.testing.assert_allclose(found, counts / counts.sum(axis=1, keepdims=True), rtol=1e-6)
    order = rng.permutation(1200)
    again = refined_transition(given[order], proba[order], clean[order])
    np.testing.assert_allclose(again, found)


def test_soft_transition_of_hard_labels_is_the_confusion_matrix():
    found = soft_transition(np.array([0, 0, 1, 1, 1]), np.eye(2)[[0, 0, 0, 1, 1]])
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3], [0, 1]])


def test_audit_counts_the_rows_judged(rng):
    clean, given = rng.random(300), rng.integers(0, 3, 300)
    clean[given == 2] = 1 - 0.01 * clean[given == 2]
    clean[:20], given[10:30] = np.nan, -1
    judged = np.arange(300) >= 30
    audit = audit_labels(clean, clean < 0.5, given, np.array(["a", "b", "c"]))
    wrong = 1 - clean[judged]
    assert audit.n_labels == 270
    assert np.isclose(audit.n_wrong, wrong.sum())
    assert audit.n_flagged == np.sum(clean[judged] < 0.5)
    assert not audit.looks_clean
    assert [c for c, _ in audit.worst_classes][-1] == "c"
    for label, share in audit.worst_classes:
        assert np.isclose(share, wrong[given[judged] == "abc".index(label)].mean())
    assert str(audit.n_flagged) in str(audit) and "wrong" in str(audit)


def test_the_interval_covers_the_number_of_wrong_labels(rng):
    covered = 0
    for _ in range(300):
        clean = rng.beta(4, 1, 100)
        low, high = audit_labels(clean, clean < 0.5, np.zeros(100, int), np.array([0, 1])).interval
        covered += low <= np.sum(rng.random(100) > clean) <= high
    assert covered / 300 >= 0.95


def test_clean_labels_look_clean():
    clean = np.full(200, 0.999)
    clean[:2] = 0.1
    audit = audit_labels(clean, clean < 0.5, np.arange(200) % 2, np.array([3, 7]))
    assert audit.looks_clean and "look clean" in str(audit)
    clean[2] = 0.1
    assert not audit_labels(clean, clean < 0.5, np.arange(200) % 2, np.array([3, 7])).looks_clean
    low, high = audit_labels(
        np.ones(9), np.zeros(9, bool), np.zeros(9, int), np.array([0])
    ).interval
    assert low == 0 and 0 < high < 1


def test_a_line_break_in_a_label_breaks_no_line():
    classes = np.array(["a\nb", "c"])
    audit = audit_labels(np.array([0.2, 0.9]), np.array([True, False]), np.array([0, 1]), classes)
    assert str(audit).splitlines()[-1] == "Worst given labels: a b 80 %, c 10 %."
