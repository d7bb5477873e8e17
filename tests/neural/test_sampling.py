import numpy as np
import pytest

from skclean.neural.sampling import balanced_batches, plain_batches


def test_each_row_once():
    rows = np.arange(100, 112)
    batches = plain_batches(rows, 3, 4, (0, 1))
    assert batches.shape == (3, 4)
    assert batches.dtype == np.int64
    np.testing.assert_array_equal(np.sort(batches.ravel()), rows)


def test_no_row_a_second_time_before_each_was_taken():
    batches = plain_batches(np.arange(7), 5, 4, (3,)).ravel()
    for start in (0, 7):
        np.testing.assert_array_equal(np.sort(batches[start : start + 7]), np.arange(7))
    assert len(set(batches[14:])) == 6


@pytest.mark.parametrize("balanced", [False, True])
def test_a_function_of_its_key(balanced):
    def draw(key, **kwargs):
        rows, codes = np.arange(50), np.arange(50) % 3
        if balanced:
            return balanced_batches(rows, codes, 4, 6, key, **kwargs)
        return plain_batches(rows, 4, 6, key, **kwargs)

    state = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(draw((0, 1, 2)), draw((0, 1, 2)))
    for other in [(0, 1, 3), (0, 2, 2), (1, 1, 2)]:
        assert (draw((0, 1, 2)) != draw(other)).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("world", [2, 3])
def test_shares_of_processes(world):
    rows, codes = np.arange(60), np.arange(60) % 4
    shares = [plain_batches(rows, 5, 4, (0,), rank=r, world=world) for r in range(world)]
    together = np.concatenate(shares, axis=1)
    assert len(np.unique(together)) == together.size == 20 * world
    whole = plain_batches(rows, 5, 4 * world, (0,))
    np.testing.assert_array_equal(together, whole)
    balanced = [
        balanced_batches(rows, codes, 5, 4, (0,), rank=r, world=world) for r in range(world)
    ]
    together = np.concatenate(balanced, axis=1)
    np.testing.assert_array_equal(together, balanced_batches(rows, codes, 5, 4 * world, (0,)))
    if together.size <= len(rows):
        assert len(np.unique(together)) == together.size


def test_classes_are_equally_often():
    rng = np.random.default_rng(0)
    codes = rng.choice([0, 1, 2, 5], size=400, p=[0.7, 0.2, 0.08, 0.02])
    rows = np.arange(1000, 1400)
    batches = balanced_batches(rows, codes, 25, 10, (0,))
    drawn = codes[batches - 1000]
    counts = np.stack([(drawn == c).sum(axis=1) for c in (0, 1, 2, 5)])
    assert counts.min() >= 1
    assert counts.max() <= 4
    totals = counts.sum(axis=1)
    assert totals.sum() == 250
    assert totals.max() - totals.min() <= 1


def test_rows_of_a_class_take_turns():
    codes = np.repeat([0, 1], [10, 4])
    taken = np.bincount(balanced_batches(np.arange(14), codes, 10, 4, (0,)).ravel(), minlength=14)
    np.testing.assert_array_equal(taken, np.repeat([2, 5], [10, 4]))


def test_names_of_classes_do_not_matter():
    codes = np.random.default_rng(0).integers(5, size=30)
    found = balanced_batches(np.arange(30), codes, 3, 8, (0,))
    np.testing.assert_array_equal(found, balanced_batches(np.arange(30), codes * 7 + 2, 3, 8, (0,)))


def test_small_sets():
    assert (plain_batches(np.array([4]), 2, 3, (0,)) == 4).all()
    assert (balanced_batches(np.array([4]), np.array([1]), 2, 3, (0,)) == 4).all()
    more_classes = balanced_batches(np.arange(9), np.arange(9), 1, 4, (0,))
    assert len(np.unique(more_classes)) == 4
    assert plain_batches(np.arange(3), 0, 2, (0,)).shape == (0, 2)
    assert balanced_batches(np.arange(3), np.arange(3), 0, 2, (0,)).shape == (0, 2)


def test_no_row():
    with pytest.raises(ValueError, match="plain_batches: expected at least one row"):
        plain_batches(np.arange(0), 1, 2, (0,))
    with pytest.raises(ValueError, match="balanced_batches: expected at least one row"):
        balanced_batches(np.arange(0), np.arange(0), 1, 2, (0,))
