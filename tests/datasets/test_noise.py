"""The makers of label noise and the noisy digits."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from skclean.datasets import (
    load_noisy_digits,
    make_asymmetric_noise,
    make_instance_dependent_noise,
    make_openset_noise,
    make_pair_noise,
    make_symmetric_noise,
)

N = 20_000


def labels(n=N, n_classes=5, seed=0):
    return np.random.default_rng(seed).integers(n_classes, size=n)


def features(n=N, seed=1):
    return np.random.default_rng(seed).normal(size=(n, 3)) * [1, 100, 0] + [0, 7, 5]


#: Every maker as a function of (y, noise_rate).
MAKERS = {
    "symmetric": make_symmetric_noise,
    "symmetric_other": lambda y, r, **kw: make_symmetric_noise(y, r, include_true=False, **kw),
    "asymmetric": lambda y, r, **kw: make_asymmetric_noise(y, r, {0: 1, 1: 0, 3: 4}, **kw),
    "pair": make_pair_noise,
    "instance": lambda y, r, **kw: make_instance_dependent_noise(features(len(y)), y, r, **kw),
    "openset": lambda y, r, **kw: make_openset_noise(y, [3], **kw),
}
CLOSED = [name for name in MAKERS if name != "openset"]


def counted_transition(y, y_noisy):
    """P(given | true), counted row by row."""
    true_classes, given_classes = sorted(set(y.tolist())), sorted(set(y_noisy.tolist()))
    counts = np.zeros((len(true_classes), len(given_classes)))
    for t, g in zip(y.tolist(), y_noisy.tolist(), strict=True):
        counts[true_classes.index(t), given_classes.index(g)] += 1
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rate", [0.05, 0.4])
@pytest.mark.parametrize("maker", MAKERS)
def test_transition_is_what_the_labels_show(maker, rate):
    y = labels()
    y_noisy, transition = MAKERS[maker](y, rate, random_state=0)
    np.testing.assert_allclose(transition.sum(axis=1), 1)
    assert (transition >= 0).all()
    # four standard deviations of a share counted over the N / 5 rows of a class
    np.testing.assert_allclose(counted_transition(y, y_noisy), transition, atol=4 * 0.5 / 4000**0.5)


def test_symmetric_transition_is_of_the_rows_that_are_drawn():
    y = np.arange(5) % 2
    others, transition = make_symmetric_noise(y, 0.3, include_true=False, random_state=0)
    assert np.mean(others != y) == 0.4
    np.testing.assert_allclose(transition, [[0.6, 0.4], [0.4, 0.6]])
    _, transition = make_symmetric_noise(y, 0.3, random_state=0)
    np.testing.assert_allclose(transition, [[0.8, 0.2], [0.2, 0.8]])


@pytest.mark.parametrize("rate", [0, 0.2, 0.333, 0.8, 1])
def test_symmetric_rates_are_exact_under_both_conventions(rate):
    y = labels()
    others, transition = make_symmetric_noise(y, rate, include_true=False, random_state=0)
    assert (others != y).sum() == round(rate * N)
    np.testing.assert_allclose(np.diag(transition), 1 - rate)
    drawn, transition = make_symmetric_noise(y, rate, random_state=0)
    assert (drawn != y).mean() == pytest.approx(rate * (1 - 1 / 5), abs=0.015)
    np.testing.assert_allclose(np.diag(transition), 1 - rate + rate / 5)


def test_asymmetric_cifar10_map_touches_its_five_classes_alone():
    y = np.repeat(np.arange(10), 2000)
    y_noisy, transition = make_asymmetric_noise(y, 0.4, random_state=0)
    pairs = set(zip(y[y != y_noisy].tolist(), y_noisy[y != y_noisy].tolist(), strict=True))
    assert pairs == {(9, 1), (2, 0), (4, 7), (3, 5), (5, 3)}
    assert (y != y_noisy).mean() == pytest.approx(0.2, abs=0.01)
    np.testing.assert_array_equal(np.diag(transition) == 1, np.isin(np.arange(10), [0, 1, 6, 7, 8]))


def test_pair_noise_goes_to_the_next_class_in_sorted_order():
    y = np.array(["bird", "cat", "dog"])[labels(n_classes=3)]
    y_noisy, _ = make_pair_noise(y, 0.3, random_state=0)
    wrong = y != y_noisy
    assert {*zip(y[wrong].tolist(), y_noisy[wrong].tolist(), strict=True)} == {
        ("bird", "cat"),
        ("cat", "dog"),
        ("dog", "bird"),
    }
    assert wrong.mean() == pytest.approx(0.3, abs=0.015)


def test_instance_dependent_rows_that_look_alike_get_the_same_mistake():
    X, y = features(), labels()
    X[:, 0], X[:, 1] = np.where(np.arange(N) % 2, 10, -10), 0  # two kinds of rows in every class
    y_noisy, _ = make_instance_dependent_noise(X, y, 0.4, random_state=0)
    for k in range(5):
        mistakes = [
            np.bincount(
                y_noisy[(y == k) & (y_noisy != k) & (np.arange(N) % 2 == side)], minlength=5
            )
            for side in (0, 1)
        ]
        share = [counts / counts.sum() for counts in mistakes]
        assert np.abs(share[0] - share[1]).sum() > 0.3


def test_instance_dependent_spread_zero_flips_every_row_alike():
    _, transition = make_instance_dependent_noise(features(), labels(), 0.3, spread=0)
    np.testing.assert_allclose(np.diag(transition), 0.7)


@pytest.mark.parametrize("rate", [0, 1])
def test_instance_dependent_rates_stay_inside_zero_and_one(rate):
    y = labels(500)
    y_noisy, transition = make_instance_dependent_noise(
        features(500), y, rate, spread=0.2, random_state=0
    )
    assert 0 < (y_noisy != y).mean() < 1  # the truncated normal has mass on one side alone
    assert (transition >= 0).all()


def test_openset_rows_get_known_labels_and_the_others_keep_theirs():
    y = np.array(["ant", "bee", "cow", "dog"])[labels(n_classes=4)]
    y_noisy, transition = make_openset_noise(y, ["bee", "dog"], random_state=0)
    assert set(y_noisy) == {"ant", "cow"}
    known = np.isin(y, ["ant", "cow"])
    np.testing.assert_array_equal(y_noisy[known], y[known])
    np.testing.assert_array_equal(transition, [[1, 0], [0.5, 0.5], [0, 1], [0.5, 0.5]])


@pytest.mark.parametrize("maker", MAKERS)
def test_seeded_pure_and_without_the_global_generator(maker):
    y = labels(500)
    original, state = y.copy(), np.random.get_state()
    first, _ = MAKERS[maker](y, 0.4, random_state=3)
    second, _ = MAKERS[maker](y, 0.4, random_state=3)
    third, _ = MAKERS[maker](y, 0.4, random_state=4)
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()
    np.testing.assert_array_equal(y, original)
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))


@pytest.mark.parametrize("maker", CLOSED)
def test_rate_zero_leaves_every_label(maker):
    y = labels(500)
    options = {"spread": 0} if maker == "instance" else {}
    y_noisy, transition = MAKERS[maker](y, 0, random_state=0, **options)
    np.testing.assert_array_equal(y_noisy, y)
    np.testing.assert_array_equal(transition, np.eye(5))


@pytest.mark.parametrize("maker", ["symmetric", "symmetric_other", "pair", "instance", "openset"])
@pytest.mark.parametrize(
    "names", [[10, 20, 30, 40, 50], ["a", "b", "c", "dddd", "e"]], ids=["gapped", "str"]
)
def test_names_of_the_classes_do_not_matter(maker, names):
    y, names = labels(500), np.array(names)
    open_classes = {"openset": lambda y, r, **kw: make_openset_noise(y, [names[3]], **kw)}
    expected, transition = MAKERS[maker](y, 0.4, random_state=0)
    named, named_transition = open_classes.get(maker, MAKERS[maker])(names[y], 0.4, random_state=0)
    np.testing.assert_array_equal(named, names[expected])
    assert named.dtype == names.dtype
    np.testing.assert_array_equal(named_transition, transition)


def test_symmetric_noise_commutes_with_a_permutation_of_the_classes():
    # which rows are relabelled, and with include_true what they become, does not depend on y
    y, order = labels(500), np.array([3, 0, 4, 1, 2])
    permuted, _ = make_symmetric_noise(order[y], 0.5, random_state=0)
    plain, _ = make_symmetric_noise(y, 0.5, random_state=0)
    redrawn = (plain != y) & (permuted != order[y])
    np.testing.assert_array_equal(plain[redrawn], permuted[redrawn])


def test_bool_and_list_labels():
    y_noisy, transition = make_pair_noise([True, False] * 50, 1.0)
    np.testing.assert_array_equal(y_noisy, [False, True] * 50)
    np.testing.assert_array_equal(transition, [[0, 1], [1, 0]])


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("maker", CLOSED)
def test_rates_outside_the_unit_interval_are_refused(maker, rate):
    with pytest.raises(ValueError, match=r"noise_rate to be in \[0, 1\]"):
        MAKERS[maker](labels(50), rate)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: make_symmetric_noise([1, 1, 1], 0.2), "at least two classes"),
        (lambda: make_symmetric_noise([[0, 1], [1, 0]], 0.2), "1d array"),
        (lambda: make_asymmetric_noise([0, 1], 0.2), "class_map to name classes of y"),
        (lambda: make_asymmetric_noise([0, 1], 0.2, "cifar"), "a dict or one of"),
        (lambda: make_asymmetric_noise([0, 1], 0.2, {0: 7}), "got 7"),
        (lambda: make_asymmetric_noise([0, 1], 0.2, None), "a dict or one of"),
        (lambda: make_symmetric_noise([0, 1, np.nan, np.nan], 0.2), "none in 2 of 4"),
        (lambda: make_pair_noise(np.array([0.0, 1.0, np.nan], object), 0.2), "none in 1 of 3"),
        (lambda: make_symmetric_noise(["a", "b", np.nan], 0.2), "none in 1 of 3"),
        (lambda: make_pair_noise(np.ma.masked_array([0, 1, 2], [1, 0, 0]), 0.2), "none in 1 of 3"),
        (lambda: make_instance_dependent_noise(np.eye(2), [0, 1], 0.2, spread="a"), "spread"),
        (lambda: make_instance_dependent_noise(np.eye(2), [0, 1], 0.2, spread=-1), "spread"),
        (lambda: make_instance_dependent_noise(np.eye(3), [0, 1], 0.2), "inconsistent"),
        (lambda: make_instance_dependent_noise([[np.nan], [0]], [0, 1], 0.2), "NaN"),
        (lambda: make_openset_noise([0, 1, 2], [5]), "classes of y, got .*5"),
        (lambda: make_openset_noise([0, 1, 2], [0, 1]), "at least two classes outside"),
        (lambda: load_noisy_digits("sym"), "load_noisy_digits: expected noise"),
        (lambda: load_noisy_digits(noise_rate=2), "noise_rate"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("noise", ["symmetric", "pair", "asymmetric", "instance"])
def test_noisy_digits(noise):
    digits = load_noisy_digits(noise, 0.4)
    assert digits.data.shape == (1797, 64) and digits.images.shape == (1797, 8, 8)
    assert digits.transition.shape == (10, 10) and digits.frame is None
    np.testing.assert_allclose(
        counted_transition(digits.target, digits.target_noisy), digits.transition, atol=0.15
    )
    assert f"{(digits.target != digits.target_noisy).sum()} of 1797" in digits.DESCR
    X, y_noisy = load_noisy_digits(noise, 0.4, return_X_y=True)
    np.testing.assert_array_equal(X, digits.data)
    np.testing.assert_array_equal(y_noisy, digits.target_noisy)


@pytest.mark.parametrize("maker", CLOSED)
def test_a_rate_of_a_wrong_type_and_one_class_are_refused(maker):
    for rate in ("0.2", None, True, [0.2]):
        with pytest.raises(TypeError, match="^make_.*: expected noise_rate as a number"):
            MAKERS[maker]([0, 1, 3, 4], rate)
    with pytest.raises(ValueError, match="^make_.*: expected y to hold at least two classes"):
        MAKERS[maker]([1, 1, 1, 1], 0.2)
    with pytest.raises(ValueError, match="^make_.*: expected labels of one type"):
        MAKERS[maker](np.array([1, "a", 1], dtype=object), 0.2)
    with pytest.raises(ValueError, match="^make_.*: expected noise_rate .*got 1.5;"):
        MAKERS[maker]([0, 1, 3, 4], np.float64(1.5))


@pytest.mark.parametrize("maker", ["symmetric", "symmetric_other"])
@pytest.mark.parametrize("seed", range(3))
def test_corrupted_rows_do_not_depend_on_a_split_of_the_same_seed(maker, seed):
    y = labels(4000)
    y_noisy, _ = MAKERS[maker](y, 0.3, random_state=seed)
    _, wrong = train_test_split(y_noisy != y, test_size=0.3, random_state=seed)
    # Three standard deviations of a share of 1200 rows.
    assert abs(wrong.mean() - (y_noisy != y).mean()) < 3 * 0.5 / np.sqrt(1200)
