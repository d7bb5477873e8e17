"""Which labels are wrong: skclean beside what cleanlab and scikit-learn offer, in one process.

    python -m benchmarks run peers --data DIR [--rows 5000] [--seeds 3] [--only TEXT ...]
        [--methods TEXT ...]

For every setting, seed and method: F1, precision and recall of the flagged labels, area under the
ROC curve of the probability that a label is right, accuracy of the labels afterwards, and seconds.
Without --data the problem is one of Gaussian classes. cuML is run where it is installed,
LabelSpreading up to 20,000 rows. The papers' loops are those of `benchmarks._published`.
"""

import argparse
import time
import warnings

import numpy as np

from benchmarks import _data, _results
from benchmarks._estimators import chain, purify
from benchmarks._peers import PEERS, Found
from benchmarks.suites.problems import gaussian_classes
from skclean import LabelledSamples
from skclean.metrics import detection_scores

OURS = ("TransitionCleaner", "GMMCleaner + CredibilityRelabeler")
MADE = [("sym", 0.2), ("sym", 0.5), ("pair", 0.4)]


def settings(options):
    """Yield the name of a setting, its seed, and features, true and given labels."""
    for seed in range(options.seeds):
        if options.data is None:
            X, y, _ = gaussian_classes(options.rows or 5000, 64, 10)
            for noise, rate in MADE:
                given = _data.MAKERS[noise](y, rate, random_state=seed)[0]
                yield f"gaussian {noise} {100 * rate:g} %", seed, X, y, given
            continue
        for setting in _data.settings(options.sets):
            if any(text in str(setting) for text in options.only):
                X, y, given = _data.corrupt(_data.load(options.data, setting.data), setting, seed)
                rows = np.random.RandomState(seed).permutation(len(y))[: options.rows]
                yield str(setting), seed, X[rows], y[rows], given[rows]


def ours(name, X, given):
    """What a chain of the library says, as the peers say it."""
    steps = chain(name)
    samples = purify(steps, LabelledSamples(X, given, missing_label=None))
    flagged = samples.clean_proba <= steps[0].threshold
    labels = samples.classes[samples.label_codes]
    return Found(labels, ~flagged, samples.clean_proba)


def judge(found, y, given, seconds):
    """Figures of a method."""
    scores = detection_scores(y, given, np.where(found.known, 1.0, 0.0))
    both_kinds = found.clean is not None and 0 < np.mean(given == y) < 1
    return {
        "f1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        "flagged": float(np.mean(~np.asarray(found.known))),
        "auc": detection_scores(y, given, found.clean).auc if both_kinds else np.nan,
        "labels": float(np.mean(found.labels == y)),
        "seconds": seconds,
    }


def main(argv=None):
    """Run the settings and methods that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["banking77", "cifar10n"])
    parser.add_argument("--rows", type=int, default=5000, help="rows drawn of a data set; 0 is all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["sym", "pair"], help="settings with a text")
    parser.add_argument("--methods", nargs="+", default=[""], help="that contain a text")
    parser.add_argument("--name", default="peers", help="results/NAME.json")
    options = parser.parse_args(argv)
    options.rows = options.rows or None
    calls = {name: lambda X, g, name=name: ours(name, X, g) for name in OURS} | PEERS
    calls = {k: v for k, v in calls.items() if any(t in k for t in options.methods)}
    records, missing = [], set()
    for call in calls.values():
        # What the first call imports does not count.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(*gaussian_classes(500, 16, 5)[::2])
    for setting, seed, X, y, given in settings(options):
        for method, call in calls.items():
            # Labels as positions, as cleanlab wants them: a class may be absent from the rows.
            classes, codes = np.unique(given, return_inverse=True)
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = call(X, codes)
            seconds = time.perf_counter() - start
            if found is None:
                missing.add(method)
                continue
            found = found._replace(labels=classes[found.labels])
            record = judge(found, y, given, seconds)
            records.append({"setting": setting, "method": method, "seed": seed, **record})
            print(
                f"{setting:28} {seed} {method:34} F1 {record['f1']:.3f} labels "
                f"{record['labels']:.3f} {seconds:7.2f} s",
                flush=True,
            )
        _results.write(
            options.name, records, rows=options.rows, seeds=options.seeds, not_run=sorted(missing)
        )


if __name__ == "__main__":
    main()
