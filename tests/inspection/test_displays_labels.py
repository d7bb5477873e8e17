"""LabelFlowDisplay and ClassBalanceDisplay."""

import numpy as np
import pytest

from skclean import LabelledSamples
from skclean.inspection import ClassBalanceDisplay, LabelFlowDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

RNG = np.random.default_rng(0)


def many(n_classes, n=2000):
    names = np.array([f"c{k:03d}" for k in range(n_classes)])
    given = RNG.integers(0, n_classes, n)
    label = np.where(RNG.random(n) < 0.3, RNG.integers(0, n_classes, n), given)
    return names[given], names[label], names


def ticks(labels):
    return [text.get_text() for text in labels]


def test_counts_with_missing_and_unknown_labels():
    given = np.array(["cat", "cat", "cat", "dog", "dog", None], dtype=object)
    label = np.array(["cat", "dog", None, "dog", "cat", "dog"], dtype=object)
    shown = LabelFlowDisplay.from_predictions(given, label)
    np.testing.assert_array_equal(shown.counts, [[1, 1, 1], [1, 1, 0], [0, 1, 0]])
    assert [text.get_text() for text in shown.text_] == ["1"] * 6
    assert ticks(shown.ax_.get_xticklabels()) == ["cat", "dog", "unknown"]
    assert ticks(shown.ax_.get_yticklabels()) == ["cat", "dog", "none"]
    assert shown.ax_.get_xlabel() == "Purified label"


def test_a_container_and_its_arrays_give_the_same():
    given = np.array([0, 0, 1, 1, 2, 2])
    samples = LabelledSamples(
        np.zeros((6, 1)),
        given,
        labels=[0, 1, 1, 1, 2, 0],
        status=["kept", "corrected", "kept", "kept", "trusted", "unknown"],
    )
    flow = LabelFlowDisplay.from_predictions(samples)
    np.testing.assert_array_equal(
        flow.counts, [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]
    )
    arrays = LabelFlowDisplay.from_predictions(given, samples.labels_or_missing())
    np.testing.assert_array_equal(arrays.counts, flow.counts)
    mixed = LabelFlowDisplay.from_predictions(samples, samples.labels_or_missing())
    np.testing.assert_array_equal(mixed.counts, flow.counts)
    balance = ClassBalanceDisplay.from_predictions(samples)
    np.testing.assert_array_equal([balance.given, balance.purified], [[2, 2, 2], [1, 3, 1]])


def test_only_changed_labels_are_coloured():
    given, label, names = many(10)
    shown = LabelFlowDisplay.from_predictions(given, label)
    drawn = shown.im_.get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), np.eye(10, dtype=bool))
    off = shown.counts[:10, :10] * ~np.eye(10, dtype=bool)
    assert shown.im_.get_clim() == (0, off.max()) and drawn.sum() == off.sum()
    assert [text.get_text() for text in shown.text_] == [str(n) for n in shown.counts.flat if n]
    assert ticks(shown.ax_.get_yticklabels()) == names.tolist()


def test_withheld_labels_are_coloured_where_none_changed():
    given = np.array([0, 0, 1, 1, 1])
    shown = LabelFlowDisplay.from_predictions(given, [0, None, None, None, 1])
    np.testing.assert_array_equal(shown.im_.get_array().compressed(), [0, 1, 0, 2])
    assert shown.flows == [(1, None, 2), (0, None, 1)]
    flows = shown.plot(kind="flows")
    assert ticks(flows.ax_.get_yticklabels()) == ["1 → unknown", "0 → unknown"]


def test_a_hundred_classes_show_the_largest_flows():
    given, label, names = many(100)
    shown = LabelFlowDisplay.from_predictions(given, label, n_flows=7)
    pairs, counts = np.unique(
        np.stack([given, label])[:, given != label], axis=1, return_counts=True
    )
    found = {(a, b): n for a, b, n in shown.flows}
    assert found == {(a, b): n for (a, b), n in zip(pairs.T, counts, strict=True)}
    sizes = [n for *_, n in shown.flows]
    assert sizes == sorted(sizes, reverse=True)
    assert [bar.get_width() for bar in shown.bars_] == sizes[:7]
    first = shown.flows[0]
    assert ticks(shown.ax_.get_yticklabels())[0] == f"{first[0]} → {first[1]}"
    share = 100 * first[2] / np.sum(given == first[0])
    assert shown.text_[0].get_text() == f" {first[2]} ({share:.0f} %)"
    changed = np.sum(given != label)
    assert (
        shown.ax_.get_title()
        == f"7 of {len(counts)} flows; {changed} labels changed class, 0 withheld"
    )
    matrix = shown.plot(kind="matrix")
    assert not matrix.text_ and len(matrix.ax_.get_xticks()) <= 21
    assert names[0] in ticks(matrix.ax_.get_xticklabels())


def test_nothing_changed():
    for kind in ("matrix", "flows"):
        shown = LabelFlowDisplay.from_predictions([0, 1], [0, 1], kind=kind)
        assert shown.flows == []


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="expected kind to be 'auto', 'matrix' or 'flows'"):
        LabelFlowDisplay.from_predictions([0, 1], [0, 1], kind="sankey")


def test_names_are_drawn_letter_by_letter():
    given = np.array(["$x_1$", "<b>", "_z" + 50 * "y", "$x_1$"])
    flow = LabelFlowDisplay.from_predictions(given, given[::-1])
    balance = ClassBalanceDisplay.from_predictions(given, given[::-1])
    for shown in (flow, balance):
        shown.figure_.canvas.draw()
        names = ticks(shown.ax_.get_yticklabels())
        assert names == [r"\$x_1\$", "<b>", " _z" + 35 * "y" + "..."]


def test_balance_before_and_after():
    given, label, names = many(10)
    shown = ClassBalanceDisplay.from_predictions(given, label)
    for bars, values in zip(shown.bars_, (given, label), strict=True):
        expected = [np.sum(values == name) for name in names]
        np.testing.assert_array_equal([bar.get_width() for bar in bars], expected)
    assert ticks(shown.ax_.get_yticklabels()) == names.tolist()
    texts = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert texts == ["given (2,000 rows)", "purified (2,000 rows)"]
    assert shown.ax_.get_xlabel() == "Rows"


def test_balance_of_a_hundred_classes_shows_those_that_changed_most():
    given, label, names = many(100)
    shown = ClassBalanceDisplay.from_predictions(given, label, max_classes=5)
    change = np.abs(shown.purified - shown.given)
    drawn = [list(names).index(name) for name in ticks(shown.ax_.get_yticklabels())]
    assert len(drawn) == 5 and change[drawn].min() >= np.delete(change, drawn).max()
    assert "5 of 100 classes" in shown.ax_.get_legend().get_title().get_text()


def test_classes_beyond_those_of_a_container():
    samples = LabelledSamples(np.eye(3), ["cat", "dog", "dog"])
    purified = samples.with_labels(label_codes=[0, 0, 1], status=["kept", "corrected", "kept"])
    every = ["ant", "cat", "dog"]
    for arguments in ((samples, ["cat", "cat", "dog"]), (purified,)):
        flow = LabelFlowDisplay.from_predictions(*arguments, classes=every)
        assert flow.flows == [("dog", "cat", 1)] and flow.classes.tolist() == every
        balance = ClassBalanceDisplay.from_predictions(*arguments, classes=np.array(every))
        assert balance.given.tolist() == [0, 1, 2] and balance.purified.tolist() == [0, 2, 1]
    with pytest.raises(ValueError, match="LabelFlowDisplay: expected labels of the 1 classes"):
        LabelFlowDisplay.from_predictions(purified, classes=["dog"])
