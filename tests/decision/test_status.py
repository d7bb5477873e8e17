import numpy as np
import pytest

from skclean._fields import STATUSES
from skclean.decision.status import judged_status

CLEAN = np.array([0.9, 0.5, 0.1, 0.1, np.nan, 0.1])
GIVEN = np.array([0, 0, 0, 0, -1, 0])
BEST = np.array([1, 1, 1, 0, 1, 1])
TRUSTED = np.arange(6) == 5


@pytest.mark.parametrize(
    "best, expected",
    [
        (None, "kept unknown unknown unknown predicted trusted"),
        (BEST, "kept corrected corrected unknown predicted trusted"),
    ],
)
def test_each_status(best, expected):
    found = judged_status(CLEAN, GIVEN, TRUSTED, 0.5, best)
    assert found.dtype == np.int8
    assert " ".join(np.array(STATUSES)[found]) == expected


def test_without_trusted_rows_and_rows():
    assert STATUSES[judged_status(CLEAN, GIVEN, None, 0.5)[5]] == "unknown"
    empty = np.zeros(0, dtype=np.int64)
    assert judged_status(np.zeros(0), empty, None, 0.5, empty).shape == (0,)
