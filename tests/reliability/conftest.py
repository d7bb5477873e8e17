"""How much is tried, and processes that can be killed."""

import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

#: Inputs that each test tries; without it there are few and always the same.
SOAK = int(os.environ.get("SKCLEAN_SOAK", "0"))
#: A program, which imports packages that may be missing.
collect_ignore = ["forker.py"]
NEURAL = ("torch", "lightning_fabric", "safetensors", "tqdm")


@pytest.fixture
def rng():
    """Another one each time in a soak; a test that fails shows its seed."""
    seed = secrets.randbits(32) if SOAK else 0
    print("seed", seed)
    return np.random.default_rng(seed)


@pytest.fixture
def rounds(record_property):
    """``rounds(few, share=1)``: a range of `few`, in a soak of `share` of the inputs."""

    def given(few, share=1.0):
        n = max(few, int(SOAK * share))
        record_property("rounds", n)
        return range(n)

    return given


class Forks:
    """Runs jobs of ``forker.py`` in children of a process of its own."""

    def __init__(self, folder, modules):
        import skclean

        root = str(Path(skclean.__file__).parents[1])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forker.py")), *modules],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._folder, self._count = folder, 0

    def _ask(self, **order):
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, job, *args, folder, die_at=None, in_writing=False, number=signal.SIGKILL):
        """Begin a job in a folder; it dies at a call where `die_at` is not None."""
        self._count += 1
        log = str(self._folder / f"{self._count}.log")
        counted = {} if die_at is None else {"die_at": die_at, "in_writing": in_writing}
        args = [a if isinstance(a, int) else str(a) for a in args]
        order = {"job": job, "args": args, "folder": str(folder), "log": log}
        pid = self._ask(**order, **counted, number=int(number))
        return SimpleNamespace(pid=pid, log=Path(log))

    def end(self, started):
        """Exit code, what was printed, and the number of calls where they were counted."""
        code = self._ask(wait=started.pid)
        calls = Path(f"{started.log}.calls")
        counted = int(calls.read_text()) if calls.exists() else None
        said = started.log.read_text() if started.log.exists() else ""
        return SimpleNamespace(code=code, said=said, calls=counted)

    def run(self, job, *args, **options):
        return self.end(self.start(job, *args, **options))

    def close(self):
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    for name in ("typer", "pyarrow", "jinja2"):
        pytest.importorskip(name)
    there = all(importlib.util.find_spec(name) for name in NEURAL)
    modules = ["pyarrow.parquet", "pyarrow.csv"]
    modules += ["skclean.neural", "skclean.embeddings.network"] if there else []
    forks = Forks(tmp_path_factory.mktemp("forks"), modules)
    yield forks
    forks.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("no file system may be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)
