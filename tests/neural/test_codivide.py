import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skclean import GMMCleaner, PrototypeCleaner, TransitionCleaner
from skclean.datasets import load_noisy_digits
from skclean.exceptions import NothingToSeparateWarning
from skclean.neural import NeuralRetrainer
from skclean.neural.codivide import (
    average_losses,
    divide,
    losses_of,
    pack_cleaners,
    unpack_cleaners,
)


class Fixed:
    """A cleaner that says what it was told to."""

    def __init__(self, clean):
        self.clean = np.asarray(clean, float)

    def assess(self, given, proba, features=None):
        return np.where(np.asarray(given) >= 0, self.clean, np.nan)


def algorithm_1(clean, given, trusted, threshold):
    """DivideMix algorithm 1, lines 5 and 6, row by row, threshold clipped as C2D does."""
    judged = [w for w, y, t in zip(clean, given, trusted) if y >= 0 and not t]
    low, high = min(judged) + 1e-5, max(judged) - 1e-5
    threshold = min(max(threshold, low), high)
    found = []
    for w, y, t in zip(clean, given, trusted):
        labelled = y >= 0 and (t or w > threshold)
        found.append((1.0 if t else w) if labelled else -1.0)
    return found


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_division(seed, threshold):
    rng = np.random.default_rng(seed)
    clean, given = rng.random(40), rng.integers(-1, 3, size=40)
    trusted = rng.random(40) < 0.1
    found = divide(Fixed(clean), given, np.ones((40, 3)) / 3, None, threshold, trusted=trusted)
    np.testing.assert_array_equal(found, algorithm_1(clean, given, trusted, threshold))
    assert (found >= 0).any() and (found < 0).any()


def test_all_rows_alike():
    found = divide(Fixed(np.full(5, 0.3)), np.zeros(5, int), np.ones((5, 2)) / 2)
    np.testing.assert_array_equal(found, np.full(5, 0.3))


def test_no_label_at_all():
    given = np.full(4, -1)
    found = divide(Fixed(np.ones(4)), given, np.ones((4, 2)) / 2, trusted=np.ones(4, bool))
    np.testing.assert_array_equal(found, np.full(4, -1))


def test_trusted_rows_alone():
    found = divide(Fixed(np.zeros(3)), np.zeros(3, int), np.ones((3, 2)) / 2, trusted=np.ones(3))
    np.testing.assert_array_equal(found, np.ones(3))


def test_order_of_the_rows():
    rng = np.random.default_rng(0)
    clean, given, order = rng.random(30), rng.integers(-1, 3, 30), rng.permutation(30)
    proba = np.ones((30, 3)) / 3
    found = divide(Fixed(clean[order]), given[order], proba)
    np.testing.assert_array_equal(found, divide(Fixed(clean), given, proba)[order])


@pytest.fixture(scope="module")
def digits():
    data = load_noisy_digits(noise_rate=0.4, random_state=0)
    samples = TransitionCleaner().fit(data.data, data.target_noisy)
    return data.data / 16, data.target, data.target_noisy, samples.evidence_.proba()


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    "cleaner", [GMMCleaner(), TransitionCleaner(), PrototypeCleaner(max_iter=2)]
)
def test_cleaners(digits, cleaner, library):
    X, y, given, proba = digits
    given = given.copy()
    given[:20] = -1
    trusted = np.zeros(len(y), bool)
    trusted[20:40] = True
    given[trusted] = y[trusted]
    features = X
    if library == "torch":
        torch = pytest.importorskip("torch")
        proba, features = torch.from_numpy(proba), torch.from_numpy(X)
    found = divide(cleaner, given, proba, features, trusted=trusted)
    labelled = found >= 0
    assert labelled.shape == y.shape and (given[labelled] == y[labelled]).mean() > 0.9
    assert not labelled[:20].any() and labelled[20:40].all()
    assert ((found[labelled] > 0) & (found[labelled] <= 1)).all()


def test_constant_losses():
    given, proba = np.zeros(30, int), np.full((30, 2), 0.5)
    with pytest.warns(NothingToSeparateWarning):
        found = divide(GMMCleaner(), given, proba)
    assert len(found) == 30 and (found >= 0).all()


# Averages of losses


def averaged(losses, proba, given):
    """The mean of each row's losses, every epoch in [0, 1], in the range of the last one."""
    rows = [i for i, y in enumerate(given) if y >= 0]
    low, high = min(losses[-1][i] for i in rows), max(losses[-1][i] for i in rows)
    found = [list(row) for row in proba]
    for i in rows:
        scaled = []
        for epoch in losses:
            least, most = min(epoch[j] for j in rows), max(epoch[j] for j in rows)
            scaled.append((epoch[i] - least) / (most - least or 1.0))
        own = math.exp(-low - sum(scaled) / len(scaled) * (high - low))
        rest = sum(p for k, p in enumerate(proba[i]) if k != given[i])
        found[i] = [own if k == given[i] else p / rest * (1 - own) for k, p in enumerate(proba[i])]
    return found


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_averaged_losses_by_loops(epochs):
    rng = np.random.default_rng(epochs)
    proba, given = rng.dirichlet(np.ones(4), size=(epochs, 30)), rng.integers(-1, 4, 30)
    losses = np.stack([losses_of(p, given) for p in proba])
    found = average_losses(losses, proba[-1], given)
    np.testing.assert_allclose(found, averaged(losses, proba[-1], given), rtol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    if epochs == 1:
        np.testing.assert_allclose(found, proba[-1])


def test_averages_of_losses_that_are_constant_or_missing():
    proba = np.full((5, 3), 1 / 3)
    given = np.array([0, 1, 2, -1, 0])
    losses = np.stack([losses_of(proba, given)] * 3)
    np.testing.assert_allclose(average_losses(losses, proba, given), proba)
    sure = np.eye(3)[[0, 1, 2, 0, 1]]
    found = average_losses(np.stack([losses_of(sure, given)] * 2), sure, given)
    np.testing.assert_allclose(found, sure, atol=1e-9)
    none = np.full(5, -1)
    np.testing.assert_array_equal(average_losses(losses, proba, none), proba)


@pytest.mark.filterwarnings("ignore:.*one Gaussian explains")
def test_a_division_by_the_losses_of_several_epochs(monkeypatch):
    """The mixture sees the losses that are expected; those of the warm-up do not count."""
    pytest.importorskip("torch")
    pytest.importorskip("lightning_fabric")
    digits = load_noisy_digits(noise_rate=0.8, random_state=0)
    X, y = digits.data[:300] / 16, digits.target_noisy[:300]
    seen, own = [], []
    assess = GMMCleaner.assess

    def watched(self, given, proba, features=None):
        seen.append(np.asarray(proba, float))
        return assess(self, given, proba, features)

    monkeypatch.setattr(GMMCleaner, "assess", watched)
    options = {"cleaner": GMMCleaner(), "warmup_epochs": 2, "epochs": 6, "threshold": 0.0}
    NeuralRetrainer("supervised", loss_window=3, **options).fit(X, y)
    averages, seen[:] = seen.copy(), []
    monkeypatch.setattr(
        "skclean.neural.learners.average_losses",
        lambda past, p, given: own.append((past, p)) or average_losses(past, p, given),
    )
    NeuralRetrainer("supervised", loss_window=3, **options).fit(X, y)
    assert [len(past) for past, _ in own] == [1, 2, 3, 3]
    for i, (past, proba) in enumerate(own):
        first = max(0, i - 2)
        expected = np.stack([losses_of(p, y) for _, p in own[first : i + 1]])
        np.testing.assert_allclose(past, expected, rtol=1e-5)
        np.testing.assert_allclose(averages[i], averaged(past, proba, y), rtol=1e-6)


# Checkpoints


class Stateful(Fixed, BaseEstimator):
    def assess(self, given, proba, features=None):
        self.state_ = 1
        return super().assess(given, proba, features)


def test_cleaners_and_their_state_come_back():
    digits = load_noisy_digits(noise_rate=0.3, random_state=0)
    X, y = digits.data[:300], digits.target_noisy[:300]
    proba = np.full((300, 10), 0.02)
    proba[np.arange(300), digits.target[:300]] = 0.82
    cleaner = PrototypeCleaner(max_iter=2)
    cleaner.assess(y, proba, X)
    other, new = unpack_cleaners(pack_cleaners([cleaner, GMMCleaner()]), [PrototypeCleaner(), None])
    assert isinstance(new, GMMCleaner)
    np.testing.assert_array_equal(other.assess(y, proba, X), cleaner.assess(y, proba, X))
    own = Stateful([0.5])
    assert pack_cleaners([own]) == {} and unpack_cleaners({}, [own]) == [own]
    own.assess([0], None)
    with pytest.warns(UserWarning, match="does not hold the state of Stateful") as found:
        told = set()
        for _ in range(2):
            pack_cleaners([own, own], told)
    assert len(found) == 1


def test_cleaners_that_a_checkpoint_lacks_or_has_damaged():
    packed = pack_cleaners([GMMCleaner()])
    with pytest.warns(UserWarning, match=r"expected the state of GMMCleaner in here, got"):
        unpack_cleaners({}, [GMMCleaner(), GMMCleaner()], "here", used=True)
    unpack_cleaners({}, [GMMCleaner()], "here")
    packed["cleaner0"] = packed["cleaner0"].copy()
    packed["cleaner0"][50:90] ^= 255
    with pytest.raises(ValueError, match="expected whole cleaners in the checkpoint here"):
        unpack_cleaners(packed, [GMMCleaner()], "here")
