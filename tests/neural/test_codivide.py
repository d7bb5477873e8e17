import numpy as np
import pytest

from skclean import GMMCleaner, PrototypeCleaner, TransitionCleaner
from skclean.datasets import load_noisy_digits
from skclean.exceptions import NothingToSeparateWarning
from skclean.neural.codivide import divide


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
    labelled, unlabelled = [], []
    for i, (w, y, t) in enumerate(zip(clean, given, trusted)):
        if y >= 0 and (t or w > threshold):
            labelled.append((i, 1.0 if t else w))
        else:
            unlabelled.append(i)
    return labelled, unlabelled


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_division(seed, threshold):
    rng = np.random.default_rng(seed)
    clean, given = rng.random(40), rng.integers(-1, 3, size=40)
    trusted = rng.random(40) < 0.1
    found = divide(Fixed(clean), given, np.ones((40, 3)) / 3, None, threshold, trusted=trusted)
    labelled, unlabelled = algorithm_1(clean, given, trusted, threshold)
    assert found.labelled.tolist() == [i for i, _ in labelled]
    np.testing.assert_array_equal(found.clean, [w for _, w in labelled])
    assert found.unlabelled.tolist() == unlabelled
    assert len(found.labelled)
    assert len(found.unlabelled)


def test_all_rows_alike():
    found = divide(Fixed(np.full(5, 0.3)), np.zeros(5, int), np.ones((5, 2)) / 2)
    assert found.labelled.tolist() == list(range(5))
    assert not len(found.unlabelled)


def test_no_label_at_all():
    given = np.full(4, -1)
    found = divide(Fixed(np.ones(4)), given, np.ones((4, 2)) / 2, trusted=np.ones(4, bool))
    assert not len(found.labelled)
    assert found.unlabelled.tolist() == list(range(4))


def test_trusted_rows_alone():
    found = divide(Fixed(np.zeros(3)), np.zeros(3, int), np.ones((3, 2)) / 2, trusted=np.ones(3))
    np.testing.assert_array_equal(found.clean, np.ones(3))
    assert not len(found.unlabelled)


def test_order_of_the_rows():
    rng = np.random.default_rng(0)
    clean, given, order = rng.random(30), rng.integers(-1, 3, 30), rng.permutation(30)
    proba = np.ones((30, 3)) / 3
    a = divide(Fixed(clean), given, proba)
    b = divide(Fixed(clean[order]), given[order], proba)
    assert sorted(order[b.labelled]) == a.labelled.tolist()


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
    together = np.concatenate([found.labelled, found.unlabelled])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(y)))
    assert (given[found.labelled] == y[found.labelled]).mean() > 0.9
    assert set(range(20)) <= set(found.unlabelled)
    assert set(range(20, 40)) <= set(found.labelled)
    assert ((found.clean > 0) & (found.clean <= 1)).all()


def test_constant_losses():
    given, proba = np.zeros(30, int), np.full((30, 2), 0.5)
    with pytest.warns(NothingToSeparateWarning):
        found = divide(GMMCleaner(), given, proba)
    assert len(found.labelled) == 30
