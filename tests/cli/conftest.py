"""A small noisy data set, and a way to call the program."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

N, NAMES = 240, np.array(["cat", "dog", "eel"])


@pytest.fixture
def noisy():
    """Three classes, 240 rows, 20 % of the labels wrong: X float32, y of str, truth."""
    rng = np.random.default_rng(0)
    truth = np.arange(N) % 3
    X = (4 * np.eye(3, 5)[truth] + rng.standard_normal((N, 5))).astype(np.float32)
    given = np.where(rng.random(N) < 0.2, (truth + 1) % 3, truth)
    return SimpleNamespace(X=X, y=NAMES[given], truth=NAMES[truth], codes=given)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call ``skclean ARGS`` in a folder of its own; an exit code other than `code` fails."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from skclean.cli._app import app

    monkeypatch.chdir(tmp_path)

    def call(*args, code=0):
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
        if code == 1:
            # One line, and nothing on stdout.
            lines = result.stderr.strip().splitlines()
            assert lines[-1].startswith("skclean: error: ") and result.stdout == ""
            assert not any(line.startswith("Traceback") for line in lines)
        if "--json" in args and code == 0:
            result.json = json.loads(result.stdout)
        return result

    return call


@pytest.fixture
def env():
    """The environment of a process that finds this skclean wherever it runs."""
    import skclean

    root = Path(skclean.__file__).parents[1]
    paths = [str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
