"""The benchmarks by name: the module that runs each, and the data that it needs."""

import ast
import importlib
from pathlib import Path
from typing import NamedTuple

from benchmarks.papers import published

_FOLDER = Path(__file__).parent
_BOTH = "DIR with banking77.npz and cifar10n/"

#: Name -> module and data, apart from the papers' tables.
_MODULES = {
    "detection": ("bench_detection", _BOTH),
    "purifiers": ("bench_purifiers", _BOTH),
    "peers": ("bench_peers", _BOTH),
    "dmlp": ("bench_dmlp", "DIR with cifar10n/"),
    "features": ("bench_features", "DIR with cifar10n/images.npz"),
    "retraining": ("bench_retraining", _BOTH),
    "speed": ("bench_speed", _BOTH),
    "growth": ("bench_growth", "none"),
    "scale": ("bench_scale", "none"),
    "memory": ("bench_memory", "none"),
    "augment": ("bench_augment", "none"),
}


class Benchmark(NamedTuple):
    """A benchmark as the command line knows it.

    Attributes
    ----------
    module : str
        Dotted name; its ``main(argv)`` runs it.
    line : str
        What it measures.
    data : str
        What its --data is to hold.
    arguments : tuple of str
        Come before those of the user.
    """

    module: str
    line: str
    data: str
    arguments: tuple = ()


def benchmarks():
    """All benchmarks, by name."""
    found = {
        name: Benchmark(f"benchmarks.{module}", _first_line(module), data)
        for name, (module, data) in _MODULES.items()
    }
    for name, table in published.tables().items():
        line = f"{table['paper']}, {table['caption']}"
        data = " or ".join(table["data"])
        found[name] = Benchmark("benchmarks.papers.runner", line, data, (name,))
    return found


def run(name, arguments):
    """Run a benchmark, which must be there, with the arguments of a command line."""
    chosen = benchmarks()[name]
    importlib.import_module(chosen.module).main([*chosen.arguments, *arguments])


def _first_line(module):
    """First line of a module's docstring, without importing the module."""
    source = (_FOLDER / f"{module}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)).splitlines()[0]
