"""A million rows purified end to end, beside one Gram matrix product, CleanLearning and Dask.

    python -m benchmarks run scale [--rows 1000000] [--features 768] [--classes 10]
        [--kernels linear rbf] [--device cpu|cuda] [--dask] [--peer-rows 50000] [--only TEXT ...]

Makes a file of Gaussian classes in a temporary folder (3 GB by default; TMPDIR moves it), of which
20 % of the labels are wrong, symmetrically. Each method runs in a process of its own, over the file
mapped into memory, and its seconds are also told as a multiple of the bare product X^T X by BLAS in
the same process (the faster of one call and a pass over blocks), by the clock and by processor
time. Peak memory is anonymous memory, beside the page cache.

- evidence: leave-one-out least squares alone;
- papers: evidence, mixture of two Gaussians, credibility;
- transition: TransitionCleaner.

CleanLearning, with a logistic regression of 100 steps, runs on --peer-rows rows where there are
more, and ours once more on the same rows: "times faster" compares these two. With --device cuda
features go from the host to the device within the time that is told, and the transfer alone and the
product alone stand beside it. With --dask two worker processes run the chains on blocks of the
file.
"""

import argparse
import multiprocessing
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks import _results
from benchmarks._estimators import purify
from benchmarks._memory import PeakMemory
from benchmarks._peers import clean_learning
from benchmarks.bench_memory import gram_seconds, make_file
from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples, TransitionCleaner
from skclean._device import to_device
from skclean.evidence import LeaveOneOutRidge
from skclean.metrics import detection_scores
from skclean.scale import open_features

#: Labels of no more than this probability of being right are flagged.
THRESHOLD = 0.5
METHODS = ("evidence", "papers", "transition")
WARM_UP_ROWS = 500
GOALS = {"Gram": 3.0, "CleanLearning": 20.0, "dask": 1.3}


def estimators(method, kernel, device=None):
    """The chain of a method, which brings features to the device itself."""
    ridge = LeaveOneOutRidge(kernel=kernel)
    if method == "evidence":
        return [ridge.set_params(device=device)]
    if method == "papers":
        gmm = GMMCleaner(estimator=ridge, device=device)
        return [gmm, CredibilityRelabeler(device=device)]
    return [TransitionCleaner(estimator=ridge, device=device)]


def product_seconds(X):
    """Seconds of the fastest bare X^T X: by the clock, of the processor."""
    taken = [gram_seconds(X)]
    start = np.array([time.perf_counter(), time.process_time()])
    X.T @ X
    taken.append(np.array([time.perf_counter(), time.process_time()]) - start)
    return np.min(taken, axis=0)


def device_seconds(X):
    """Seconds to bring features to the device, as the library does, and of the product there."""
    import cupy

    taken = []
    for _ in range(2):
        start = time.perf_counter()
        there = to_device(X, "cuda", "scale")
        cupy.cuda.Device().synchronize()
        moved = time.perf_counter()
        there.T @ there
        cupy.cuda.Device().synchronize()
        taken.append([moved - start, time.perf_counter() - moved])
        del there
    return np.min(taken, axis=0)


def clean_proba(steps, X, given):
    """Probability that each given label is right, by the last of the steps."""
    if isinstance(steps[0], LeaveOneOutRidge):
        proba = steps[0].fit(X, given).loo_proba()
        return np.take_along_axis(np.asarray(proba), given[:, None], axis=1)[:, 0]
    return purify(steps, LabelledSamples(X, given)).clean_proba


def run(method, kernel, folder, device="cpu", rows=None):
    """One record of a method in this process."""
    X = np.load(folder / "X.npy", mmap_mode="r")[:rows]
    y, given = np.load(folder / "y.npy")[:, :rows]
    bare = product_seconds(X)
    found = {"method": method, "kernel": kernel, "device": device, "rows": len(X)}
    if device == "cuda":
        found["transfer s"], found["product on device s"] = device_seconds(X)

    def flag(rows):
        if method == "CleanLearning":
            return ~clean_learning(np.asarray(X[rows]), given[rows]).known
        steps = estimators(method, kernel, "cuda" if device == "cuda" else None)
        return clean_proba(steps, X[rows], given[rows]) <= THRESHOLD

    with PeakMemory() as memory, warnings.catch_warnings(record=True) as caught:
        # What is imported, and compiled on a device, by the first call.
        flag(slice(WARM_UP_ROWS))
        memory.reset()
        start = np.array([time.perf_counter(), time.process_time()])
        flagged = flag(slice(None))
        taken = np.array([time.perf_counter(), time.process_time()]) - start
    return found | {
        "seconds": taken[0],
        "products": taken[0] / bare[0],
        "products, processor": taken[1] / bare[1],
        "product s": bare[0],
        "peak GB": (memory.peak - memory.start) / 1e9,
        "f1": detection_scores(y, given, np.where(flagged, 0.0, 1.0)).f1,
        "warnings": sorted({w.category.__name__ for w in caught}),
    }


def warm_up(method, kernel, folder):
    """Import, and compile, what a method needs."""
    _, given = np.load(folder / "y.npy")
    X = np.load(folder / "X.npy", mmap_mode="r")[:WARM_UP_ROWS]
    clean_proba(estimators(method, kernel), X, given[: len(X)])


def run_dask(method, kernel, folder, _device="cpu", _rows=None):
    """One record of a method on two Dask workers, and the same memory-mapped in this process."""
    from dask.distributed import Client, LocalCluster

    X = np.load(folder / "X.npy", mmap_mode="r")
    y, given = np.load(folder / "y.npy")
    warm_up(method, kernel, folder)
    start = time.perf_counter()
    mapped = clean_proba(estimators(method, kernel), X, given)
    alone = time.perf_counter() - start
    found = {"method": method, "kernel": kernel, "device": "2 dask workers", "rows": len(X)}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            client.run(warm_up, method, kernel, folder)
            rows = open_features(folder / "X.npy")
            clean_proba(estimators(method, kernel), rows[:WARM_UP_ROWS], given[:WARM_UP_ROWS])
            start = time.perf_counter()
            cleaned = np.asarray(clean_proba(estimators(method, kernel), rows, given))
            seconds = time.perf_counter() - start
    return found | {
        "seconds": seconds,
        "mapped s": alone,
        "of mapped": seconds / alone,
        "same decisions": bool(np.array_equal(cleaned <= THRESHOLD, mapped <= THRESHOLD)),
        "f1": detection_scores(y, given, np.where(cleaned <= THRESHOLD, 0.0, 1.0)).f1,
    }


def apart(call, *arguments):
    """The result of a call in a process of its own, which may start others."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


def compared(records):
    """Records with what is said of two methods together."""
    peer = next((r for r in records if r["method"] == "CleanLearning"), None)
    if peer is not None:
        for r in records:
            if r["rows"] == peer["rows"] and r is not peer and r["device"] in ("cpu", "cuda"):
                r["times faster than CleanLearning"] = peer["seconds"] / r["seconds"]
                r["CleanLearning f1"] = peer["f1"]
    return records


def verdicts(records, n_rows):
    """The goals, in words."""
    for r in records:
        name = f"{r['method']}, {r.get('kernel') or '-'}, {r['device']}, {r['rows']} rows"
        if r["method"] in ("papers", "transition") and r["rows"] == n_rows and "products" in r:
            met = r["products, processor"] <= GOALS["Gram"]
            yield (
                f"{name}: {r['products']:.2f} products by the clock, {r['products, processor']:.2f}"
                f" of processor time, goal {GOALS['Gram']:g}: {'met' if met else 'MISSED'}"
            )
        if r["method"] != "evidence" and "times faster than CleanLearning" in r:
            faster, f1 = r["times faster than CleanLearning"], r["CleanLearning f1"]
            met = faster >= GOALS["CleanLearning"] and r["f1"] >= f1
            yield (
                f"{name}: {faster:.1f} times faster than CleanLearning, F1 {r['f1']:.3f} against "
                f"{f1:.3f}: {'met' if met else 'MISSED'}"
            )
        if "of mapped" in r:
            met = r["of mapped"] <= GOALS["dask"] and r["same decisions"]
            yield f"{name}: {r['of mapped']:.2f} of mapped: {'met' if met else 'MISSED'}"


def plan(options):
    """What is run: function, method, kernel, device and rows of each."""
    peer_rows = min(options.peer_rows, options.rows)
    device = options.device
    for kernel in options.kernels:
        for method in METHODS:
            yield run, method, kernel, device, None
            if 0 < peer_rows < options.rows and method != "evidence":
                yield run, method, kernel, device, peer_rows
    if peer_rows:
        yield run, "CleanLearning", None, "cpu", peer_rows
    if options.dask:
        for kernel in options.kernels:
            for method in METHODS[1:]:
                yield run_dask, method, kernel, "cpu", None


def main(argv=None):
    """Make the file, run each method, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--kernels", nargs="+", default=["linear", "rbf"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dask", action="store_true", help="two workers too")
    parser.add_argument("--peer-rows", type=int, default=50_000, help="of CleanLearning; 0 is none")
    parser.add_argument("--only", nargs="+", default=[""], help="methods that contain a text")
    parser.add_argument("--name", default="scale", help="results/NAME.json")
    options = parser.parse_args(argv)
    settings = {k: v for k, v in vars(options).items() if k != "name"}
    records = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_file(folder, options.rows, options.features, options.classes)
        for call, method, kernel, device, rows in plan(options):
            if not any(text in method for text in options.only):
                continue
            record = apart(call, method, kernel, folder, device, rows)
            records.append(record)
            print(
                ", ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                    for k, v in record.items()
                ),
                flush=True,
            )
            _results.write(options.name, compared(records), **settings)
    print(*verdicts(records, options.rows), sep="\n")


if __name__ == "__main__":
    main()
