"""Time and memory beside what users would run instead, in one process, as ratios.

    python -m benchmarks.bench_speed --data DIR [--repeats 3]

- leave-one-out evidence and TransitionCleaner beside five-fold cross-validated logistic regression;
- the mixture on ten million losses beside scikit-learn's GaussianMixture;
- recognition of a million rows.

Seconds are medians over the repeats. Memory is the peak of what Python allocates during the call
(tracemalloc, which NumPy reports to), measured in a run of its own.
"""

import argparse
import time
import tracemalloc
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from benchmarks import _data, _results
from benchmarks._peers import smaller_proba
from skclean import TransitionCleaner
from skclean.datasets import make_symmetric_noise
from skclean.evidence import LeaveOneOutRidge
from skclean.linalg.mixture import fit_two_gaussians
from skclean.linalg.rows import RowIndex


def seconds(call, repeats):
    """Median seconds of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def peak_bytes(call):
    """Peak of the memory allocated during a call, and what of it stays with the result."""
    tracemalloc.start()
    kept = call()
    stays, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return peak, stays


def evidence(folder, repeats):
    """Leave-one-out evidence and TransitionCleaner on both data sets."""
    for name in ("cifar10n", "banking77"):
        X, y, _ = _data.load(folder, name)
        given, _ = make_symmetric_noise(y, 0.4, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(max_iter=100)
            peer = seconds(
                lambda X=X, given=given, model=model: cross_val_predict(
                    model, X, given, cv=5, method="predict_proba"
                ),
                repeats,
            )
        yield {"what": "LogisticRegression, cv=5", "data": name, "seconds": peer}
        ours = {
            "LeaveOneOutRidge(kernel='linear')": LeaveOneOutRidge(kernel="linear"),
            "LeaveOneOutRidge()": LeaveOneOutRidge(),
            "TransitionCleaner(estimator=LeaveOneOutRidge(kernel='linear'))": TransitionCleaner(
                estimator=LeaveOneOutRidge(kernel="linear")
            ),
            "TransitionCleaner()": TransitionCleaner(),
        }
        for what, estimator in ours.items():

            def call(estimator=estimator, X=X, given=given):
                return estimator.fit(X, given)

            taken, (peak, stays) = seconds(call, repeats), peak_bytes(call)
            yield {
                "what": what,
                "data": name,
                "seconds": taken,
                "times faster": peer / taken,
                "peak / input": peak / X.nbytes,
                "beyond what stays / input": (peak - stays) / X.nbytes,
            }


def mixture(repeats, n=10_000_000):
    """The two-Gaussian mixture on losses in [0, 1]."""
    rng = np.random.default_rng(0)
    loss = np.where(rng.random(n) < 0.6, rng.beta(1, 12, n), rng.beta(5, 3, n))

    def peer():
        return smaller_proba(loss)

    def ours():
        return fit_two_gaussians(loss).smaller_proba(loss)

    distance = float(np.abs(peer() - ours()).max())
    theirs, taken = seconds(peer, 1), seconds(ours, repeats)
    yield {"what": "GaussianMixture", "data": f"{n} losses", "seconds": theirs}
    yield {
        "what": "fit_two_gaussians",
        "data": f"{n} losses",
        "seconds": taken,
        "times faster": theirs / taken,
        "largest difference": distance,
    }


def rows(repeats, n=1_000_000, d=64):
    """Recognition of rows, shuffled and changed in their last bits."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)).astype(np.float32)
    order = rng.permutation(n)
    moved = X[order] * (1 + np.float32(1e-6) * rng.standard_normal((n, d)).astype(np.float32))
    batches = {"same order": (X, np.arange(n)), "shuffled": (X[order], order)}
    batches["shuffled, moved by 1e-6"] = moved, order
    for what, (batch, truth) in batches.items():
        found = RowIndex(X).match(batch)
        wrong = int(((found >= 0) & (found != truth)).sum())
        taken = seconds(lambda batch=batch: RowIndex(X).match(batch), repeats)
        yield {
            "what": f"RowIndex, {what}",
            "data": f"{n} x {d}",
            "seconds": taken,
            "found": float((found == truth).mean()),
            "wrong": wrong,
        }


def main(argv=None):
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(argv)
    records = []
    parts = (
        evidence(options.data, options.repeats),
        mixture(options.repeats),
        rows(options.repeats),
    )
    for part in parts:
        for record in part:
            records.append(record)
            figures = ", ".join(
                f"{k} {v:.4g}" for k, v in record.items() if k not in ("what", "data")
            )
            print(f"{record['data']:18} {record['what']:54} {figures}", flush=True)
    _results.write("speed", records, repeats=options.repeats)


if __name__ == "__main__":
    main()
