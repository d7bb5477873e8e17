"""A table of a paper by the library: the published number, ours, the difference.

    python -m benchmarks run reed-table2 --data PATH [--budget SECONDS] [--share 1]
        [--rows N] [--seeds 1] [--columns TEXT ...] [--methods TEXT ...] [--device cpu|cuda]
        [--backbone NAME] [--features METHOD] [--foreign PATH ...]

--data is a folder or an npz file, see benchmarks/papers/data.py; columns whose data is not there
are left out, with a word. --budget scales the epochs of all stages down alike, so that the whole
table takes about so many seconds, and takes fewer rows where one epoch is too much; "share" is what
was run of the published steps, rows of an epoch times epochs; "seconds" are those of the features,
which methods share, and of the method. --backbone and --features put another network, or other
features, in place of the paper's ("conv_net" and "kmeans" where there is no GPU); that is written
beside the figures.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from benchmarks import _results
from benchmarks.papers import data as image_data
from benchmarks.papers import published
from benchmarks.papers.budget import measured, share_for, share_run
from benchmarks.papers.noise import Column, corrupt
from benchmarks.papers.protocols import METHODS, PUBLISHED_ROWS
from benchmarks.papers.stages import Changes, Problem, embed, epochs_of, run
from skclean import NeuralRetrainer

#: A network that makes semantic noise, and its epochs.
SEMANTIC_NETWORK, SEMANTIC_EPOCHS = "vgg13_bn", 100


def chosen_rows(data, n_rows, n_test, seed):
    """A stratified part of the rows."""

    def part(y, n):
        if n is None or n >= len(y):
            return np.arange(len(y))
        rng = np.random.RandomState(seed)
        order = rng.permutation(len(y))
        # Round the classes, so that each has its share.
        ranks = np.empty(len(y), np.int64)
        for k in np.unique(y):
            rows = order[y[order] == k]
            ranks[rows] = np.arange(len(rows)) * (len(y) / len(rows))
        return np.sort(np.argsort(ranks, kind="stable")[:n])

    return data.rows(part(data.y, n_rows), part(data.y_test, n_test))


def draw_trusted(data, wanted, seed, allowed):
    """Mask of so many of the allowed rows of each class, or of all that are "verified"."""
    if data.verified is not None:
        allowed = allowed & data.verified
    if wanted == "verified":
        return allowed
    rng, trusted = np.random.RandomState(2000 + seed), np.zeros(len(data.y), bool)
    for k in np.unique(data.y):
        rows = rng.permutation(np.flatnonzero(allowed & (data.y == k)))
        trusted[rows[: min(wanted, max(1, len(rows) // 2))]] = True
    return trusted


def labels_by_network(data, changes, seed):
    """From rows to the labels that a network trained on these gives to all rows."""

    def label(rows):
        network = NeuralRetrainer(
            "supervised",
            changes.backbone or SEMANTIC_NETWORK,
            epochs=epochs_of(SEMANTIC_EPOCHS, changes.share),
            device=changes.device,
            random_state=seed,
        )
        return network.fit(data.images[rows], data.y[rows]).predict(data.images)

    return label


def problem_of(data, column, method, seed, changes, foreign):
    """The problem of a column for a method; None where the data does not hold it."""
    by_network = labels_by_network(data, changes, seed)
    corrupted, given = corrupt(data, column, seed, foreign, by_network)
    if corrupted is None or (method.trusted == "verified" and data.verified is None):
        return None
    trusted = None
    if method.trusted:
        # Foreign images belong to no class.
        trusted = draw_trusted(data, method.trusted, seed, corrupted.y <= data.y.max())
        given = np.where(trusted, data.y, given)
    return Problem(corrupted, given, trusted, seed)


def records_of(table, row, column, method, outcome):
    """One record a published figure, or one without where there is none."""
    numbers = published.number(table, row, column) if row in _rows(table) else {}
    ours = {"best": outcome.best, "last": outcome.last, "final": getattr(outcome, method.report)}
    for report in numbers or {method.report: None}:
        value, theirs = 100 * ours.get(report, outcome.last), numbers.get(report)
        yield {
            "method": row,
            "column": column,
            "report": report,
            "published": theirs,
            "ours": value,
            "difference": None if theirs is None else value - theirs,
        }


def run_table(name, options):
    """Yield the records of a table."""
    table, methods = published.tables()[name], METHODS[name]
    changes = Changes(
        options.share, options.backbone, options.features, options.device, options.image_size
    )
    methods = {k: v for k, v in methods.items() if _chosen(k, options.methods)}
    columns = [c for c in table["columns"] if _chosen(c, options.columns)]
    foreign = _foreign(options.foreign) if any("open-" in c for c in columns) else None
    loaded = {d: image_data.load(options.data, d) for d in {c.split()[0] for c in columns}}
    for missing in sorted(k for k, v in loaded.items() if v is None):
        print(f"{name}: no {missing} in {options.data}; its columns are left out", flush=True)
    columns = [c for c in columns if loaded[c.split()[0]] is not None]
    loaded = {
        k: chosen_rows(v, options.rows, options.test_rows, 0)
        for k, v in loaded.items()
        if v is not None
    }
    if options.budget and columns:
        changes, loaded = _within_budget(options, columns, methods, loaded, changes, foreign)
    for seed in range(options.seeds):
        kept: dict = {}
        for text in columns:
            column = Column.parse(text)
            for row, specify in methods.items():
                method, data = specify(column), loaded[column.data]
                problem = problem_of(data, column, method, seed, changes, foreign)
                if problem is None:
                    print(f"{name}: no data for {text}; left out", flush=True)
                    break
                key = column.data, repr(method.features), column.noise.startswith("open-") and text
                if key not in kept:
                    start = time.perf_counter()
                    features = embed(method, problem.data, seed, changes)
                    kept[key] = features, time.perf_counter() - start
                features, embedded = kept[key]
                outcome = run(method, problem, changes, features)
                # Where labels are as they come, nobody knows the true ones.
                right = problem.given == problem.data.y if column.noise != "given" else np.nan
                epoch_rows = method.epoch_rows or PUBLISHED_ROWS[column.data]
                for record in records_of(name, row, text, method, outcome):
                    yield {
                        **record,
                        "seed": seed,
                        "share": share_run(outcome, epoch_rows, len(problem.given)),
                        "epochs": outcome.epochs,
                        "published epochs": outcome.published,
                        "rows": len(problem.given),
                        "given": 100 * float(np.mean(right)),
                        "labels": np.nan if column.noise == "given" else 100 * outcome.labels,
                        "seconds": embedded + outcome.seconds,
                        "notes": [*method.notes, *changes.words(), *outcome.notes],
                    }


def _within_budget(options, columns, methods, loaded, changes, foreign):
    """Changes and data cut so that the table takes the seconds of the budget."""
    start, tasks, seen = time.perf_counter(), [], set()
    few = {k: chosen_rows(v, 256, 256, 0) for k, v in loaded.items()}
    costs: dict = {}
    for text in columns:
        column = Column.parse(text)
        for row, specify in methods.items():
            method = specify(column)
            kind = row, column.data
            if kind not in costs:
                tiny = replace(changes, share=1e-9)
                problem = problem_of(few[column.data], column, method, 0, tiny, foreign)
                if problem is None:
                    continue
                costs[kind] = measured(method, problem, changes)
            features = column.data, repr(method.features)
            tasks.append(
                (costs[kind], method, options.seeds, options.seeds * (features not in seen))
            )
            seen.add(features)
    n_rows = max(len(data.y) for data in loaded.values())
    left = max(options.budget - (time.perf_counter() - start), 1.0)
    share, rows = share_for(left, tasks, n_rows, changes)
    n_test = max(100, int(rows / 5)) if rows < n_rows else None
    loaded = {k: chosen_rows(v, rows, n_test, 0) for k, v in loaded.items()}
    return replace(changes, share=share), loaded


def _foreign(paths):
    """Foreign images by the names of the columns."""
    images = {}
    for text in paths or ():
        name, _, path = text.rpartition("=")
        images[name or "cifar100"] = image_data.foreign_images(path)
    if {"cifar100", "imagenet"} <= images.keys():
        images["both"] = np.concatenate([images["cifar100"], images["imagenet"]])
    return images


def _rows(table):
    return {row["method"] for row in published.tables()[table]["rows"]}


def _chosen(name, texts):
    return any(text in name for text in texts)


def main(argv=None):
    """Run the table that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=sorted(METHODS), metavar="table")
    parser.add_argument("--data", required=True, help="folder or npz file of the images")
    parser.add_argument("--budget", type=float, help="seconds for the whole table")
    parser.add_argument("--share", type=float, default=1.0, help="of the epochs, without --budget")
    parser.add_argument("--rows", type=int, help="training rows, of all classes alike")
    parser.add_argument("--test-rows", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--columns", nargs="+", default=[""], help="columns that contain a text")
    parser.add_argument("--methods", nargs="+", default=[""], help="rows that contain a text")
    parser.add_argument("--device", help="cpu or cuda; none is what is there")
    parser.add_argument("--backbone", help="network in place of the paper's")
    parser.add_argument("--features", help="method of SSLFeaturizer, or pixels, instead")
    parser.add_argument("--image-size", type=int, help="side of images that come as files")
    parser.add_argument(
        "--foreign", nargs="+", help="cifar100=PATH imagenet=PATH, for open-set noise"
    )
    parser.add_argument("--name", help="results/NAME.json; none is the table's name")
    options = parser.parse_args(argv)
    kept = {k: v for k, v in vars(options).items() if k not in ("data", "foreign", "name")}
    records = []
    head = f"{'column':24} {'method':36} {'':6} {'published':>9} {'ours':>7} {'diff':>7}"
    print(f"{head} {'share':>8}")
    for record in run_table(options.table, options):
        records.append(record)
        known = record["published"] is not None
        print(
            f"{record['column']:24} {record['method']:36} {record['report']:6} "
            f"{record['published'] if known else '':>9} {record['ours']:7.2f} "
            + (f"{record['difference']:+7.2f}" if known else f"{'':7}")
            + f" {record['share']:8.2%}  {record['seconds']:.0f} s",
            flush=True,
        )
        _results.write(options.name or options.table, records, **kept)


if __name__ == "__main__":
    main()
