import sys

import pytest

from skclean import _memory
from skclean._memory import kept_memory


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(_memory, "_set", lambda *thresholds: found.append(thresholds))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc alone")
def test_the_first_sets_and_the_last_restores_what_the_environment_says(calls, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    with pytest.raises(KeyError), kept_memory():
        with kept_memory():
            pass
        assert len(calls) == 1
        raise KeyError
    assert calls[1:] == [(65536, 131072)]


def test_nothing_is_set_where_memory_is_kept_anyway(calls, monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with kept_memory():
        pass
    assert not calls
