"""Which labels are wrong: skclean beside what cleanlab and scikit-learn offer, in one process.

    python -m benchmarks run peers --data DIR [--rows 5000] [--seeds 3] [--only TEXT ...]
        [--methods TEXT ...]

For every setting, seed and method: F1, precision and recall of the flagged labels, area under the
ROC curve of the probability that a label is right, accuracy of the labels given and afterwards,
whether these are less right by more than a point, and seconds. Without --data, the sets are the 27
small ones of `benchmarks._small`. cuML is run where it is installed, LabelSpreading up to 20,000
rows. The papers' loops are those of `benchmarks._published`.
"""

import argparse
import time
import warnings

import numpy as np

from benchmarks import _data, _results, _small
from benchmarks._estimators import chain, purify
from benchmarks._peers import PEERS, Found
from benchmarks.suites.problems import gaussian_classes
from skclean import LabelledSamples
from skclean.metrics import detection_scores

OURS = ("TransitionCleaner", "GMMCleaner + CredibilityRelabeler", "AutoPurifier")
#: Labels that lose more than this are harmed.
HARM = 0.01


def settings(options):
    """Yield what names a setting, and its features, true and given labels."""
    names = options.sets or (_small.SETS if options.data is None else ["banking77", "cifar10n"])
    of_set = _small.settings if options.data is None else _data.settings
    chosen = [s for s in of_set(names) if any(text in str(s) for text in options.only)]
    for seed in range(options.seeds):
        for setting in chosen:
            if options.data is None:
                noise = str(setting).removeprefix(f"{setting.data} ")
                X, y, given = _small.corrupt(*_small.load(setting.data, seed), setting, seed)
                yield {"setting": noise, "set": setting.data, "seed": seed}, X, y, given
                continue
            X, y, given = _data.corrupt(_data.load(options.data, setting.data), setting, seed)
            rows = np.random.RandomState(seed).permutation(len(y))[: options.rows]
            yield {"setting": str(setting), "seed": seed}, X[rows], y[rows], given[rows]


def ours(name, X, given):
    """What a chain of the library says, as the peers say it."""
    steps = chain(name)
    samples = purify(steps, LabelledSamples(X, given, missing_label=None))
    labels = samples.classes[samples.label_codes]
    return Found(labels, samples.status == "kept", samples.clean_proba)


def judge(found, y, given, seconds):
    """Figures of a method."""
    scores = detection_scores(y, given, np.where(found.known, 1.0, 0.0))
    before, labels = float(np.mean(given == y)), float(np.mean(found.labels == y))
    both_kinds = found.clean is not None and 0 < before < 1
    return {
        # Where nothing is wrong, the share flagged tells all.
        "f1": scores.f1 if before < 1 else np.nan,
        "precision": scores.precision,
        "recall": scores.recall,
        "flagged": float(np.mean(~np.asarray(found.known))),
        "auc": detection_scores(y, given, found.clean).auc if both_kinds else np.nan,
        "labels": labels,
        "given": before,
        "harmed": float(labels < before - HARM),
        "seconds": seconds,
    }


def main(argv=None):
    """Run the settings and methods that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", help="names of data sets; all by default")
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
    for setting, X, y, given in settings(options):
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
            records.append({**setting, "method": method, **record})
            print(
                f"{' '.join(map(str, setting.values())):40} {method:34} F1 {record['f1']:.3f} "
                f"labels {record['labels']:.3f} {seconds:7.2f} s",
                flush=True,
            )
        _results.write(
            options.name, records, rows=options.rows, seeds=options.seeds, not_run=sorted(missing)
        )


if __name__ == "__main__":
    main()
