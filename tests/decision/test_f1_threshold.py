import numpy as np
import pytest

from skclean.decision.f1_threshold import f1_threshold


def f1(wrong, flagged):
    """F1 of flags (m,) for each of the wrong labels (k, m)."""
    return 2 * (wrong & flagged).sum(axis=1) / np.maximum(wrong.sum(axis=1) + flagged.sum(), 1)


def test_greatest_expected_f1():
    rng = np.random.default_rng(0)
    clean = rng.beta(3, 1, 30)
    truths = rng.random((4000, 30)) > clean
    found = f1_threshold(clean)
    scores = {cut: np.mean(f1(truths, clean <= cut)) for cut in clean}
    assert found in scores
    assert max(scores.values()) - scores[found] < 0.005
    assert scores[found] > 0.02 + np.mean(f1(truths, clean <= 0.5))


@pytest.mark.parametrize("clean", [[1.0, 1.0], [0.9, 0.8], np.full(1000, 1001 / 1002)])
def test_nothing_wrong_flags_nothing(clean):
    assert f1_threshold(np.array(clean)) == 0


def test_no_labels():
    assert f1_threshold(np.array([])) == 0.5
