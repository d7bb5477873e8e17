"""Purified labels beside the trusted rows alone, the evidence alone and the peers.

    python -m benchmarks.bench_purifiers --data DIR [--seeds 5] [--trusted 0 1 10 50]
        [--only TEXT ...] [--methods TEXT ...] [--rows N] [--jobs N]

For every setting, number of trusted rows per class (half of a class where it has fewer rows than
that), method and seed:

- labels: accuracy of the purified labels on all rows that are not trusted;
- coverage, covered: share of these rows that are not of status unknown, and accuracy on them;
- auc: of "the given label is right" by clean_proba;
- test: accuracy on held-out rows of a RidgeClassifier trained on the labels that are not unknown;
- seconds, and peak anonymous memory of the process beyond what was there before the call.

"alone" is without trusted rows: the method sees the other rows only. Goals are judged on the
difference to their rival, seed by seed: met where its mean is not below zero by more than its
spread.
"""

import argparse
import time
import warnings
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import RidgeClassifier
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from benchmarks import _data, _results
from benchmarks._data import Setting
from benchmarks._estimators import CHAINS, chain, purify
from benchmarks._memory import PeakMemory
from benchmarks._peers import Found, clean_learning, logistic, published
from skclean import LabelledSamples
from skclean.evidence import LeaveOneOutRidge
from skclean.metrics import detection_scores

NOISE = [("sym", 0.2), ("sym", 0.5), ("sym", 0.8), ("sym", 0.9), ("pair", 0.4)]
COLUMNS = ("labels", "coverage", "covered", "auc", "test", "seconds", "peak MB")


def by_chain(name, X, given, trusted, n_classes):
    """A chain of the library's estimators."""
    classes = np.arange(n_classes)
    samples = LabelledSamples(X, given, classes=classes, trusted=trusted, missing_label=None)
    samples = purify(chain(name), samples)
    return Found(samples.label_codes, samples.known, samples.clean_proba)


def as_given(X, given, trusted, n_classes):
    """Labels as given."""
    return Found(given)


def trusted_alone(X, given, trusted, n_classes):
    """Logistic regression on the trusted rows labels the others."""
    model = logistic().fit(X[trusted], given[trusted])
    return Found(model.predict(X))


def evidence_alone(X, given, trusted, n_classes):
    """Leave-one-out least squares, the class of greatest score."""
    model = LeaveOneOutRidge().fit(X, given)
    return Found(model.classes_[model.loo_scores_.argmax(axis=1)])


def label_spreading(X, given, trusted, n_classes):
    """The labels of the trusted rows, spread to the others."""
    model = LabelSpreading(kernel="knn", n_neighbors=10)
    return Found(model.fit(X, np.where(trusted, given, -1)).transduction_)


def self_training(X, given, trusted, n_classes):
    """The labels of the trusted rows, and a classifier that labels the others bit by bit."""
    model = SelfTrainingClassifier(logistic()).fit(X, np.where(trusted, given, -1))
    return Found(model.predict(X), model.transduction_ >= 0)


class Method(NamedTuple):
    """How a method is called.

    Attributes
    ----------
    call : callable or None
        None is the chain of that name.
    trusted : str
        "used", "needed", or "hidden": the method sees the other rows alone.
    slow : bool
        Whether it runs on the first seeds only.
    """

    call: Any = None
    trusted: str = "used"
    slow: bool = False


METHODS = {
    "given": Method(as_given),
    "trusted alone": Method(trusted_alone, "needed"),
    "evidence alone": Method(evidence_alone, "hidden"),
    "TransitionCleaner alone": Method(None, "hidden"),
    **{n: Method(slow=n == "AutoPurifier") for n in CHAINS if n != "OpenSetFilter"},
    "LabelSpreading": Method(label_spreading, "needed"),
    "SelfTrainingClassifier": Method(self_training, "needed", slow=True),
    "cleanlab": Method(clean_learning, "hidden", slow=True),
    "IEG's loop": Method(published("ieg"), "needed", slow=True),
}


class Goal(NamedTuple):
    """A method is not below the best of its rivals, by more than the margin, given trusted rows."""

    method: str
    rivals: tuple
    margin: float = 0.0
    trusted: tuple = (0, 1, 10, 50)


GOALS = (
    Goal("LeastSquaresMetaPurifier", ("trusted alone", "evidence alone")),
    Goal("TransitionCleaner", ("trusted alone", "evidence alone")),
    Goal("MetaReweighter", ("given",), trusted=(1,)),
    Goal("AutoPurifier", ("given",), margin=0.01),
)


def settings(names):
    """All settings of the named data sets."""
    human = [(noise, 0.0) for noise in _data.HUMAN]
    return [Setting(d, *row) for d in names for row in NOISE + human * (d == "cifar10n")]


def draw_trusted(y, per_class, seed):
    """Mask of so many rows of each class, half of the class at most."""
    rng, trusted = np.random.RandomState(2000 + seed), np.zeros(len(y), bool)
    for k in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == k))
        trusted[rows[: min(per_class, len(rows) // 2)]] = True
    return trusted


def run(method, X, y, given, trusted, test):
    """One record of a method; None where it is not there."""
    how, n_classes = METHODS[method], int(y.max()) + 1
    seen = ~trusted if how.trusted == "hidden" else np.ones(len(y), bool)
    mask = trusted[seen] if trusted.any() and how.trusted != "hidden" else None
    arguments = X[seen], given[seen], mask, n_classes
    with PeakMemory() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        if how.call is None:
            found = by_chain(method.removesuffix(" alone"), *arguments)
        else:
            found = how.call(*arguments)
        seconds = time.perf_counter() - start
    if found is None:
        return None
    # Trusted rows that a method did not see are trained on all the same.
    labels, known, clean = given.copy(), np.ones(len(y), bool), np.full(len(y), np.nan)
    labels[seen] = found.labels
    known[seen] = True if found.known is None else found.known
    labels[trusted], known[trusted] = given[trusted], True
    if found.clean is not None:
        clean[seen] = found.clean
    rows = np.flatnonzero(~trusted)
    right, known_rows = labels[rows] == y[rows], known[rows]
    both_kinds = 0 < np.mean(given[rows] == y[rows]) < 1
    judged = both_kinds and np.isfinite(clean[rows]).all()
    return {
        "labels": float(right.mean()),
        "coverage": float(known_rows.mean()),
        "covered": float(right[known_rows].mean()) if known_rows.any() else np.nan,
        "auc": detection_scores(y[rows], given[rows], clean[rows]).auc if judged else np.nan,
        "test": tested(X[known], labels[known], *test),
        "seconds": seconds,
        "peak MB": (memory.peak - memory.start) / 1e6,
    }


def tested(X, labels, X_test, y_test):
    """Accuracy on the test rows of a classifier trained on the labels."""
    if len(np.unique(labels)) < 2:
        return np.nan
    return float(RidgeClassifier().fit(X, labels).score(X_test, y_test))


def run_all(folder, setting, seed, trusted_levels, methods, n_rows):
    """Records of one setting and seed."""
    data = _data.load(folder, setting.data)
    test = _data.held_out(folder, setting.data)
    X, y, given = _data.corrupt(data, setting, seed)
    if n_rows and n_rows < len(y):
        rows = np.sort(np.random.RandomState(3000 + seed).permutation(len(y))[:n_rows])
        X, y, given = X[rows], y[rows], given[rows]
    records = []
    for level in trusted_levels:
        trusted = draw_trusted(y, level, seed)
        labels = np.where(trusted, y, given)
        for method in methods:
            # Without trusted rows, the method itself is the one that sees none.
            if not level and (
                METHODS[method].trusted == "needed" or method == "TransitionCleaner alone"
            ):
                continue
            try:
                record = run(method, X, y, labels, trusted, test)
            except Exception as error:
                print(f"{setting} {level} {method}: {type(error).__name__}: {error}", flush=True)
                continue
            if record is not None:
                key = {"setting": str(setting), "trusted": level, "method": method, "seed": seed}
                records.append(key | record)
    return records


def report(records):
    """Print mean and spread over the seeds, a line a setting, trusted level and method."""
    table = defaultdict(lambda: defaultdict(dict))
    for r in records:
        table[r["setting"], r["trusted"]][r["method"]][r["seed"]] = r
    print(f"{'setting':20} {'trusted':>7} {'method':42}" + "".join(f"{c:>13}" for c in COLUMNS))
    for (setting, level), methods in table.items():
        for method, seeds in methods.items():
            cells = []
            for column in COLUMNS:
                values = np.array([r[column] for r in seeds.values()], float)
                digits = 1 if column in ("seconds", "peak MB") else 3
                cells.append(f"{values.mean():.{digits}f}±{values.std():.{digits}f}".rjust(13))
            print(f"{setting:20} {level:7} {method:42}" + "".join(cells))
        for goal in GOALS:
            verdict = judge(goal, level, methods)
            if verdict:
                print(f"{setting:20} {level:7} {verdict}")


def judge(goal, level, methods):
    """Whether a goal is met, in words; None where it does not apply."""
    rivals = [methods[rival] for rival in goal.rivals if rival in methods]
    if level not in goal.trusted or goal.method not in methods or not rivals:
        return None
    best = max(rivals, key=lambda seeds: np.mean([r["labels"] for r in seeds.values()]))
    shared = sorted(methods[goal.method].keys() & best.keys())
    if not shared:
        return None
    ours = np.array([methods[goal.method][seed]["labels"] for seed in shared])
    gain = ours - [best[seed]["labels"] for seed in shared] + goal.margin
    met = gain.mean() >= -gain.std()
    name = next(iter(best.values()))["method"]
    less = f" - {goal.margin:g}" if goal.margin else ""
    return (
        f"{'goal met' if met else 'GOAL MISSED'}: {goal.method} - ({name}{less}) = "
        f"{gain.mean():+.4f}±{gain.std():.4f}"
    )


def chosen(names, texts):
    """Names that contain one of the texts; a text that is a name stands for itself alone."""
    return [
        n
        for n in names
        if any(t == str(n) or (t in str(n) and t not in map(str, names)) for t in texts)
    ]


def main(argv=None):
    """Run the settings and methods that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["banking77", "cifar10n"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--slow", type=int, default=1, help="seeds of the slow methods")
    parser.add_argument("--only", nargs="+", default=[""], help="settings that contain a text")
    parser.add_argument("--methods", nargs="+", default=[""], help="those, or that contain a text")
    parser.add_argument("--trusted", nargs="+", type=int, default=[0, 1, 10, 50], help="per class")
    parser.add_argument("--rows", type=int, help="rows drawn of a data set that has more")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--name", default="purifiers", help="results/NAME.json")
    options = parser.parse_args(argv)
    methods, records, tasks = chosen(METHODS, options.methods), [], []
    for seed in range(options.seeds):
        now = [m for m in methods if seed < options.slow or not METHODS[m].slow]
        for setting in chosen(settings(options.sets), options.only):
            tasks.append((options.data, setting, seed, options.trusted, now, options.rows))
    parallel = Parallel(n_jobs=options.jobs, return_as="generator_unordered")
    for done, part in enumerate(parallel(delayed(run_all)(*task) for task in tasks), 1):
        records += part
        records.sort(key=lambda r: (r["setting"], r["trusted"], methods.index(r["method"])))
        _results.write(
            options.name,
            records,
            seeds=options.seeds,
            slow=options.slow,
            sets=options.sets,
            trusted=options.trusted,
            rows=options.rows,
        )
        print(f"{done} of {len(tasks)}", *{(r["setting"], r["seed"]) for r in part}, flush=True)
    report(records)


if __name__ == "__main__":
    main()
