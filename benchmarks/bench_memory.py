"""Time and memory of every purifier on features that are mapped from disk.

    python -m benchmarks.bench_memory [--rows 1000000] [--features 768] [--classes 100]
        [--only NAME ...]

Makes a file of Gaussian classes in a temporary folder (3 GB by default; TMPDIR moves it), of which
20 % of the labels are wrong, symmetrically. Every estimator runs in a process of its own, with ten
trusted rows a class where that is said. Reported are

- seconds, and as a multiple of one Gram pass (X^T X over blocks) in the same process. The multiple
  is of processor time, which other work on the machine does not change;
- peak anonymous memory during the call: what is there beside the page cache;
- accuracy of the purified labels, and the share of rows that have one.
"""

import argparse
import multiprocessing
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks import _results
from benchmarks._estimators import CHAINS, chain, purify
from benchmarks._memory import PeakMemory
from skclean import LabelledSamples
from skclean.datasets import make_symmetric_noise
from skclean.evidence import LeaveOneOutRidge

#: Distance between the means of two classes, in standard deviations of a feature.
SEPARATION = 5.0
BLOCK_ROWS = 4096
TRUSTED_PER_CLASS = 10
KERNELS = {f"LeaveOneOutRidge(kernel={kernel!r})": kernel for kernel in ("linear", "rbf")}
WITHOUT = ("TransitionCleaner", "GMMCleaner + CredibilityRelabeler", "OpenSetFilter")
#: Whether the trusted rows are handed over, of each run.
RUNS = {
    **dict.fromkeys(KERNELS, False),
    **{name: name not in WITHOUT for name in CHAINS},
}


def make_file(folder, n, d, n_classes):
    """Features (n, d) float32 and labels (2, n), the true and the given, as files."""
    rng = np.random.default_rng(0)
    means = rng.standard_normal((n_classes, d)).astype(np.float32)
    means *= SEPARATION / (2 * d) ** 0.5
    y = rng.integers(0, n_classes, n)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, d))
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, n))
        X[rows] = means[y[rows]]
        X[rows] += rng.standard_normal(X[rows].shape, dtype=np.float32)
    X.flush()
    np.save(folder / "y.npy", np.stack([y, make_symmetric_noise(y, 0.2, random_state=0)[0]]))


def gram_seconds(X):
    """Seconds of one Gram pass over features in the page cache: by the clock, of the processor."""
    taken, gram = [], np.zeros((X.shape[1], X.shape[1]))
    for _ in range(2):
        start = np.array([time.perf_counter(), time.process_time()])
        for first in range(0, len(X), BLOCK_ROWS):
            block = X[first : first + BLOCK_ROWS]
            gram += block.T @ block
        taken.append([time.perf_counter(), time.process_time()] - start)
    return np.min(taken, axis=0)


def run(name, folder):
    """One record."""
    steps = None if name in KERNELS else chain(name)
    X = np.load(folder / "X.npy", mmap_mode="r")
    y, given = np.load(folder / "y.npy")
    trusted = np.zeros(len(y), bool)
    if RUNS[name]:
        for k in np.unique(y):
            trusted[np.flatnonzero(y == k)[:TRUSTED_PER_CLASS]] = True
        given[trusted] = y[trusted]
    mask = trusted if RUNS[name] else None
    gram, gram_processor = gram_seconds(X)
    with PeakMemory() as memory, warnings.catch_warnings(record=True) as caught:
        start, processor = time.perf_counter(), time.process_time()
        if name in KERNELS:
            model = LeaveOneOutRidge(kernel=KERNELS[name]).fit(X, given)
            labels, known = model.loo_scores_.argmax(axis=1), np.ones(len(y), bool)
        else:
            samples = purify(steps, LabelledSamples(X, given, trusted=mask))
            labels, known = samples.label_codes, samples.known
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    judged = known & ~trusted
    return {
        "name": name,
        "trusted": int(trusted.sum()),
        "seconds": seconds,
        "gram passes": processor / gram_processor,
        "processor seconds": processor,
        "gram seconds": gram,
        "gram processor seconds": gram_processor,
        "peak GB": (memory.peak - memory.start) / 1e9,
        "before GB": memory.start / 1e9,
        "given": float(np.mean(given[~trusted] == y[~trusted])),
        "accuracy": float(np.mean(labels[judged] == y[judged])),
        "coverage": float(np.mean(known[~trusted])),
        "warnings": sorted({w.category.__name__ for w in caught}),
    }


def main(argv=None):
    """Make the file, run each estimator, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--only", nargs="+", default=[""], help="names that contain a text")
    parser.add_argument("--name", default="memory", help="results/NAME.json")
    options = parser.parse_args(argv)
    sizes = options.rows, options.features, options.classes
    records = []
    with tempfile.TemporaryDirectory() as folder:
        make_file(Path(folder), *sizes)
        for name in RUNS:
            if not any(text in name for text in options.only):
                continue
            # spawn, so that a process holds nothing but its own.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                record = pool.apply(run, (name, Path(folder)))
            records.append(record)
            print(
                f"{name:44} {record['seconds']:7.1f} s {record['gram passes']:6.1f} Gram passes "
                f"{record['peak GB']:6.2f} GB, labels {record['accuracy']:.4f} of "
                f"{record['coverage']:.3f} (given {record['given']:.3f}) "
                f"{' '.join(record['warnings'])}",
                flush=True,
            )
            _results.write(
                options.name, records, rows=sizes[0], features=sizes[1], classes=sizes[2]
            )


if __name__ == "__main__":
    main()
