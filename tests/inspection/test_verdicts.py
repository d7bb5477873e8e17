import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    LabelledSamples,
    RankingCleaner,
    TransitionCleaner,
)
from skclean.datasets import load_noisy_digits
from skclean.inspection.verdicts import is_ranking, verdicts

PROBA = [[0.97, 0.03], [0.06, 0.94], [0.48, 0.52], [0.48, 0.52], [0.3, 0.7], [0.5, 0.5], [1, 0]]
GIVEN = ["cat", "cat", "cat", "dog", None, "dog", None]
STATUS = ["kept", "corrected", "unknown", "unknown", "corrected", "trusted", "predicted"]
CLEAN = [0.97, 0.004, 0.4, 0.6, np.nan, 1, np.nan]
EXPECTED = [
    ("given 'cat' is right with probability .97", "keep"),
    ("given 'cat' has probability <.01; 'dog' has .94", "relabel"),
    ("given 'cat' has probability .40, 'dog' has .52: too unsure", "review"),
    ("given 'dog' has probability .60: too unsure, and so is any other", "review"),
    ("no given label; 'dog' has probability .70", "label"),
    ("given 'dog' is trusted", "keep"),
    ("no given label; 'cat' has probability >.99", "label"),
]


RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(90, 3)) + 4 * np.eye(3)[np.arange(90) % 3], np.arange(90) % 3


def samples(**changes):
    fields = {"proba": PROBA, "status": STATUS, "clean_proba": CLEAN, "classes": ["cat", "dog"]}
    return LabelledSamples(np.zeros((7, 2)), GIVEN, **(fields | changes))


def test_a_sentence_and_an_action_for_each_status():
    reasons, actions = verdicts(samples())
    assert list(zip(reasons, actions, strict=True)) == EXPECTED
    assert reasons.dtype == actions.dtype == object


def test_rows_that_were_not_judged_or_belong_to_no_class():
    reasons, _ = verdicts(samples(clean_proba=None))
    assert reasons[1] == "given 'cat' has probability .06; 'dog' has .94"
    reasons, actions = verdicts(samples(in_distribution_proba=[1, 1, 0.1, 0.9, 1, 1, 1]))
    assert reasons[2] == "belongs to a class with probability .10 only"
    assert reasons[3] == EXPECTED[3][0] and actions[2] == "review"
    status = ["kept", "corrected", "unknown", "unknown", "unknown", "trusted", "predicted"]
    readable = [True] * 4 + [False] + [True] * 2
    reasons, actions = verdicts(samples(status=status, readable=readable))
    assert reasons[4] == "the input could not be read" and actions[4] == "review"
    status[4] = "unknown"
    assert verdicts(samples(status=status))[0][4].endswith("has probability .70: too unsure")
    bare = samples(proba=None, labels=["cat"] * 7, clean_proba=None)
    assert verdicts(bare)[0][1] == "given 'cat' has probability unknown; it is still the likeliest"


def test_a_ranking_has_scores():
    reasons, actions = verdicts(samples(), ranking=True)
    assert list(reasons) == [
        "given 'cat' is kept by its score, .97",
        "given 'cat' has score <.01; 'dog' has probability .94",
        "given 'cat' has score .40, 'dog' has probability .52: too unsure",
        "given 'dog' has score .60: too unsure, and so is any other",
        *(reason for reason, _ in EXPECTED[4:]),
    ]
    assert list(actions) == [action for _, action in EXPECTED]
    reasons, _ = verdicts(samples(clean_proba=None), ranking=True)
    assert reasons[0] == "given 'cat' is kept by its score, unknown"


def test_which_cleaners_rank():
    ranks = RankingCleaner()
    for model in (ranks, make_pipeline(ranks, CredibilityRelabeler())):
        assert is_ranking(model)
    assert is_ranking(CredibilityRelabeler(cleaner=ranks).fit(*ROWS))
    assert is_ranking(AutoPurifier(candidates=[("ranks", ranks)]).fit(*ROWS))
    assert not is_ranking(AutoPurifier().fit(*ROWS))
    assert not is_ranking(None)


def test_probabilities_on_dask():
    da = pytest.importorskip("dask.array")
    for changes in ({}, {"clean_proba": None}):
        held, lazy = samples(**changes), samples(proba=da.from_array(PROBA, (3, 2)), **changes)
        for one, other in zip(verdicts(held), verdicts(lazy), strict=True):
            np.testing.assert_array_equal(one, other)


def test_where_nothing_tells_no_probability_is_named():
    reasons, actions = verdicts(samples(), evidence=False)
    assert reasons[0] == "given 'cat' stays: nothing tells whether it is right"
    assert actions[0] == "keep"


def test_classes_that_are_markup_or_braces_stay_as_they_are():
    reasons, _ = verdicts(
        LabelledSamples(
            [[0.0]],
            ["{label}"],
            classes=["<b>\n", "{label}"],
            proba=[[0.9, 0.1]],
            status=["corrected"],
        )
    )
    assert reasons[0] == "given '{label}' has probability .10; '<b>\\n' has .90"


def test_numbers_are_shown_as_numbers():
    digits = load_noisy_digits(noise_rate=0.2)
    found = TransitionCleaner().fit_transform(digits.data[:400], digits.target_noisy[:400])
    reasons, actions = verdicts(found)
    corrected = np.flatnonzero(found.status == "corrected")
    for row in corrected:
        given, label = digits.target_noisy[row], found.labels[row]
        assert reasons[row].startswith(f"given {given} has probability ")
        assert f"; {label} has " in reasons[row]
    assert (actions[corrected] == "relabel").all()
    some = np.array([399, 5, 17])
    np.testing.assert_array_equal(verdicts(found[some])[0], reasons[some])


def test_no_rows_and_no_verdict():
    assert [len(part) for part in verdicts(samples()[np.arange(0)])] == [0, 0]
    with pytest.raises(ValueError, match="expected purified samples"):
        verdicts(LabelledSamples(np.zeros((2, 1)), ["a", "b"]))
