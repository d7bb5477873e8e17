"""Which labels are wrong: TransitionCleaner beside cleanlab's filters and the papers' mixture.

    python -m benchmarks.bench_detection --data DIR [--seeds 5] [--only TEXT ...] [--cache DIR]

For every setting and seed: F1, precision and recall of the flagged labels, area under the ROC
curve of clean_proba, accuracy of the purified labels, expected calibration error of clean_proba
(ten bins) and seconds; of TransitionCleaner also at threshold "f1". The rivals flag on the same
evidence as TransitionCleaner ("loo") and on the out-of-fold probabilities of their own five-fold
logistic regression ("lr"), which --cache keeps from run to run; TransitionCleaner is handed those
as well.
"""

import argparse
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues

from benchmarks import _data, _results
from benchmarks._peers import cross_validated
from skclean import CredibilityRelabeler, GMMCleaner, LabelledSamples, TransitionCleaner
from skclean.decision.f1_threshold import f1_threshold
from skclean.evidence import LeaveOneOutRidge
from skclean.exceptions import NothingToSeparateWarning
from skclean.metrics import calibration_error, detection_scores

OURS, OURS_F1 = "TransitionCleaner", 'TransitionCleaner("f1")'
OURS_LR = "TransitionCleaner (lr)"
FILTERS = ("prune_by_noise_rate", "both", "confident_learning", "predicted_neq_given")


def cached(X, given, seed, path):
    """Out-of-fold probabilities of a logistic regression, from the cache where it has them."""
    if path is not None and path.exists():
        with np.load(path) as found:
            if np.array_equal(found["g"], given):
                return found["p"], float(found["t"])
    start = time.perf_counter()
    proba = cross_validated(X, given, seed=seed)
    seconds = time.perf_counter() - start
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, p=proba.astype(np.float32), g=given, t=seconds)
    return proba, seconds


def run(X, y, given, lr, lr_seconds):
    """One record a method."""
    wrong, records = given != y, []

    def record(method, flagged, seconds, labels=None, clean=None):
        scores = detection_scores(y, given, np.where(flagged, 0.0, 1.0))
        records.append(
            {
                "method": method,
                "f1": scores.f1,
                "precision": scores.precision,
                "recall": scores.recall,
                "flagged": float(np.mean(flagged)),
                "auc": np.nan if clean is None else detection_scores(y, given, clean).auc,
                "labels": np.nan if labels is None else float(np.mean(labels == y)),
                "calibration": np.nan if clean is None else calibration_error(~wrong, clean),
                "seconds": seconds,
            }
        )

    start = time.perf_counter()
    cleaner = TransitionCleaner().fit(X, given)
    seconds = time.perf_counter() - start
    flagged = cleaner.clean_proba_ <= cleaner.threshold
    record(OURS, flagged, seconds, cleaner.transduction_, cleaner.clean_proba_)
    flagged = cleaner.clean_proba_ <= f1_threshold(cleaner.clean_proba_)
    record(OURS_F1, flagged, seconds)

    start = time.perf_counter()
    evidence = LeaveOneOutRidge().fit(X, given)
    loo_seconds = time.perf_counter() - start
    lr = lr.astype(np.float64) / lr.sum(axis=1, keepdims=True, dtype=np.float64)
    for source, proba, before in (
        ("loo", evidence.loo_proba(), loo_seconds),
        ("lr", lr, lr_seconds),
    ):
        for rule in FILTERS:
            start = time.perf_counter()
            flagged = find_label_issues(given, proba, filter_by=rule, n_jobs=1)
            record(f"{rule} ({source})", flagged, before + time.perf_counter() - start)
        samples = LabelledSamples(X, given, proba=proba, missing_label=None)
        if source == "lr":
            start = time.perf_counter()
            cleaner = TransitionCleaner().fit(samples)
            seconds = before + time.perf_counter() - start
            flagged = cleaner.clean_proba_ <= cleaner.threshold
            record(OURS_LR, flagged, seconds, cleaner.transduction_, cleaner.clean_proba_)
        for aware in (False, True):
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NothingToSeparateWarning)
                judged = GMMCleaner(class_aware=aware).fit_transform(samples)
                labels = CredibilityRelabeler().fit_transform(judged).labels
            record(
                f"{'class-aware ' * aware}GMM ({source})",
                judged.status == "unknown",
                before + time.perf_counter() - start,
                labels,
                judged.clean_proba,
            )
    records.append({"method": "given", "labels": float(np.mean(~wrong))})
    return records


def report(records):
    """Print mean and spread over the seeds, a line a setting."""
    table = defaultdict(lambda: defaultdict(list))
    for r in records:
        table[r["setting"]][r["method"]].append(r)

    def stat(rows, key):
        return float(np.mean([r[key] for r in rows])), float(np.std([r[key] for r in rows]))

    print(
        f"{'setting':26} {'F1':>12} {'f1 cut':>7} {'on lr':>6} {'best rival':>11}  {'':28} "
        f"{'AUC':>6} {'flagged':>8} {'wrong':>6} {'labels':>7} {'given':>6} {'REED':>6} {'ECE':>6} "
        f"{'s':>5} {'lr s':>5}"
    )
    for setting, methods in table.items():
        ours, at_f1, on_lr = (methods.pop(method) for method in (OURS, OURS_F1, OURS_LR))
        given = stat(methods["given"], "labels")[0]
        rivals = {m: rows for m, rows in methods.items() if m != "given"}
        # Where nothing was corrupted, F1 has no meaning: the best rival flags least.
        key, best = ("f1", max) if given < 1 else ("flagged", min)
        rival = best(rivals, key=lambda m: stat(rivals[m], key)[0])
        mean, spread = stat(ours, key)
        print(
            f"{setting:26} {mean:6.3f}±{spread:.3f} {stat(at_f1, key)[0]:7.3f} "
            f"{stat(on_lr, key)[0]:6.3f} {stat(rivals[rival], key)[0]:11.3f}  "
            f"{rival:28} {stat(ours, 'auc')[0]:6.3f} {stat(ours, 'flagged')[0]:8.3f} "
            f"{1 - given:6.3f} {stat(ours, 'labels')[0]:7.3f} {given:6.3f} "
            f"{stat(rivals['GMM (loo)'], 'labels')[0]:6.3f} {stat(ours, 'calibration')[0]:6.3f} "
            f"{np.median([r['seconds'] for r in ours]):5.1f} "
            f"{np.median([r['seconds'] for r in rivals['both (lr)']]):5.1f}"
        )


def main(argv=None):
    """Run the settings that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["banking77", "cifar10n"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], help="settings that contain a text")
    parser.add_argument("--cache", type=Path, help="folder for the logistic regressions")
    parser.add_argument("--name", default="detection", help="results/NAME.json")
    options = parser.parse_args(argv)
    records, loaded = [], {}
    chosen = [
        s for s in _data.settings(options.sets) if any(text in str(s) for text in options.only)
    ]
    for seed in range(options.seeds):
        for setting in chosen:
            if setting.noise in _data.HUMAN and seed:
                continue
            data = loaded.setdefault(setting.data, _data.load(options.data, setting.data))
            X, y, given = _data.corrupt(data, setting, seed)
            key = f"{setting.data}-{setting.noise}-{setting.rate:g}-{seed}.npz"
            path = options.cache / key if options.cache else None
            lr, seconds = cached(X, given, seed, path)
            found = run(X, y, given, lr, seconds)
            records += [{"setting": str(setting), "seed": seed, **record} for record in found]
            print(setting, seed, f"{found[0]['f1']:.3f}", flush=True)
        _results.write(options.name, records, seeds=seed + 1, sets=options.sets)
    report(records)


if __name__ == "__main__":
    main()
