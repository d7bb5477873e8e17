"""Where results are written, with all that is needed to read them later."""

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from skclean._files import replacing

FOLDER = Path(__file__).parent / "results"
_PACKAGES = "skclean numpy scipy scikit-learn cleanlab torch cupy cuml dask".split()


def write(name, records, **settings):
    """Write records and their circumstances to results/<name>.json, and return the path."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    content = {"settings": settings, **circumstances(), "records": records}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=float) + "\n")
    return path


def circumstances():
    """Machine, versions and commit."""
    return {
        "machine": {"processor": platform.machine(), "cores": len(os.sched_getaffinity(0))},
        "python": platform.python_version(),
        "versions": {p: v for p in _PACKAGES if (v := _version(p))},
        "commit": _commit(),
    }


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit():
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "")
