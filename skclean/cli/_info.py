"""What is installed, and which devices there are."""

import importlib.metadata
import importlib.util
import os
import platform
import re
from typing import Any

import skclean

_NOT_FOR_USERS = {"all", "bench", "dev", "doc", "test", "test-core"}
_REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[([\w,-]+)\])?.*?(?:extra\s*==\s*['\"]([\w-]+)['\"])?$")


def collect_info() -> dict[str, Any]:
    """Versions of skclean, Python and all that skclean uses; extras; devices.

    Returns
    -------
    dict
        ``skclean``, ``python``, ``platform``, ``packages`` (name to version or None), ``extras``
        (name to the packages that are missing), ``devices``.
    """
    needs = _requirements()
    packages = sorted({name for names in needs.values() for name in names})
    versions = {name: _version(name) for name in packages}
    return {
        "skclean": skclean.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "extras": {
            extra: [name for name in names if versions[name] is None]
            for extra, names in sorted(needs.items())
            if extra
        },
        "devices": _devices(),
    }


def info_text(info: dict[str, Any]) -> str:
    """The same for people."""
    packages = [f"  {name} {version or '-'}" for name, version in info["packages"].items()]
    extras = [
        f"  {extra}: " + ("installed" if not missing else f"missing {', '.join(missing)}")
        for extra, missing in info["extras"].items()
    ]
    return "\n".join(
        [
            f"skclean {info['skclean']}, Python {info['python']}, {info['platform']}",
            "packages:",
            *packages,
            "extras:",
            *extras,
            f"devices: {', '.join(info['devices'])}",
        ]
    )


def _requirements():
    """Packages by extra, "" for those that are always needed."""
    try:
        lines = importlib.metadata.requires("skclean") or []
    except importlib.metadata.PackageNotFoundError:
        # Run from a source tree.
        names = ("array-api-compat", "joblib", "numpy", "scikit-learn", "scipy", "threadpoolctl")
        return {"": [*names]}
    needs: dict[str, list[str]] = {}
    for line in lines:
        match = _REQUIREMENT.match(line)
        if match and match[1] != "skclean" and (match[3] or "") not in _NOT_FOR_USERS:
            needs.setdefault(match[3] or "", []).append(match[1])
    return needs


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices():
    found = [f"cpu ({os.cpu_count()} cores)"]
    if importlib.util.find_spec("torch") is None:
        return found
    import torch

    if torch.cuda.is_available():
        found += [
            f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
