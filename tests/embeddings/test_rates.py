import math
from itertools import pairwise

import pytest

from skclean.embeddings.rates import learning_rate_at


def test_learning_rate_rises_and_falls():
    rates = [learning_rate_at(step, 100, 10, 2.0) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0)
    assert rates[10:] == pytest.approx([1 + math.cos(math.pi * i / 90) for i in range(90)])
    assert all(a > b > 0 for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize("warmup", [0, 1, 5, 9])
def test_short_runs(warmup):
    rates = [learning_rate_at(step, 5, warmup, 1.0) for step in range(5)]
    assert all(0 < rate <= 1 for rate in rates)
