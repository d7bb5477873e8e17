import math

import numpy as np
import pytest

from skclean.embeddings.rates import learning_rate_at
from skclean.neural.schedules import Cosine, Ramps, Restarts


@pytest.mark.parametrize("warmup", [0, 3])
def test_cosine_is_that_of_the_name(warmup):
    found = [Cosine(warmup=warmup)(step / 4, 10) for step in range(40)]
    expected = [learning_rate_at(step, 40, 4 * warmup, 1.0) for step in range(40)]
    rise = 4 * warmup
    np.testing.assert_allclose(found[rise:], expected[rise:])
    np.testing.assert_allclose(found[1 : rise + 1], expected[: max(rise, 0)])


def test_cosine_ends_at_its_floor():
    found = [Cosine(0.2)(t, 500) for t in np.linspace(0, 500, 50)]
    assert found[0] == 1 and found[-1] == pytest.approx(0.2) and (np.diff(found) < 0).all()


def cycles(n, cycle, growth, decay):
    """Where each cycle starts, and at what rate."""
    start = 0.0
    for k in range(n):
        yield start, decay**k, cycle * growth**k
        start += cycle * growth**k


@pytest.mark.parametrize("settings", [(1, 1.5, 0.9), (2.5, 1, 1), (0.3, 2, 0.5)])
def test_restarts(settings):
    schedule = Restarts(settings[0], growth=settings[1], decay=settings[2])
    for start, peak, length in cycles(5, *settings):
        for share in (1e-6, 0.2, 0.7, 0.999):
            expected = peak * (1 + math.cos(math.pi * share)) / 2
            assert schedule(start + share * length, 30) == pytest.approx(expected, abs=1e-5)


def test_ramps():
    schedule = Ramps(80, 50)
    for t in (0, 20, 80, 150, 250, 270, 299.5):
        rise = math.exp(-5 * (1 - min(t, 80) / 80) ** 2)
        fall = math.exp(-((max(t - 250, 0)) ** 2) / 200)
        assert schedule(t, 300) == pytest.approx(rise * fall)
    assert Ramps(0, 0)(0, 5) == Ramps(0, 0)(5, 5) == 1


def test_ramps_share_a_short_training():
    for t in (0.0, 1.5, 4.0, 6.0, 8.0):
        assert Ramps(80, 50)(t, 13) == pytest.approx(Ramps(8, 5)(t, 13))
    assert max(Ramps()(t, 10) for t in np.linspace(0, 10, 100)) > 0.99


def test_schedules_of_a_training():
    pytest.importorskip("torch")
    pytest.importorskip("lightning_fabric")
    from sklearn.base import clone

    from skclean.neural import NeuralRetrainer

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    options = {"epochs": 4, "hidden_units": 4, "learning_rate": 0.01}
    one = NeuralRetrainer("supervised", schedule=Cosine(), **options).fit(X, y)
    np.testing.assert_allclose(
        one.predict_proba(X),
        clone(one).set_params(schedule="cosine").fit(X, y).predict_proba(X),
        rtol=1e-4,
    )
    floor = clone(one).set_params(schedule__floor=0.5).fit(X, y).history_["learning_rate"]
    assert 0.005 < floor[-1] < 0.006
    half = clone(one).set_params(schedule=lambda t, epochs: 0.5 if t < 2 else 0.25).fit(X, y)
    np.testing.assert_allclose(half.history_["learning_rate"], [0.005, 0.005, 0.0025, 0.0025])
    with pytest.raises(ValueError, match="'floor' parameter of Cosine"):
        clone(one).set_params(schedule__floor=-1).fit(X, y)
    for schedule, message in (
        (lambda t, epochs: -1, "expected a schedule with shares .* got -1.0 after 0 of 4 epochs"),
        (lambda t, epochs: float("nan") if t > 3 else 1, "expected a schedule with shares"),
        (lambda t, epochs: None, "expected a schedule from the epochs done"),
        (lambda t: 1, "expected a schedule from the epochs done"),
        (Cosine, r"expected an instance as schedule, .* do pass Cosine\(\)"),
        (Cosine(warmup=99), "expected a schedule with warmup below its epochs, 4, got 99"),
    ):
        with pytest.raises(ValueError, match=message):
            clone(one).set_params(schedule=schedule).fit(X, y)
