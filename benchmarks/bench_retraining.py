"""Test accuracy of networks retrained on purified labels, by every objective.

    python -m benchmarks.bench_retraining --data DIR [--sets banking77 cifar10n digits]
        [--noises sym-50] [--rows 10000] [--epochs 30] [--seeds 5] [--only TEXT ...]
        [--name retraining]

Labels are purified by TransitionCleaner on the embeddings; digits are embedded by SSLFeaturizer,
and are also trained on as images ("images" in the name). Beside the objectives of NeuralRetrainer
stand logistic regressions on the noisy, the purified and the clean labels. "closed" is the share
of the gap between the first and the last that a method closes. "+ graph" adds the graph
regularizer, "- CBS" draws labelled rows as they come and not in equal numbers a class. IEG is given
ten verified rows of each class.
"""

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from benchmarks import _data, _results
from skclean import NeuralRetrainer, SSLFeaturizer, TransitionCleaner
from skclean.datasets import load_noisy_digits

OBJECTIVES = (
    "supervised",
    "mixmatch",
    "fixmatch",
    "remixmatch",
    "pi_model",
    "temporal_ensembling",
    "ieg",
)
VARIANTS = {
    **{name: {"objective": name} for name in OBJECTIVES},
    "mixmatch + graph": {"objective": "mixmatch", "graph": True},
    "mixmatch - CBS": {"objective": "mixmatch", "class_balanced": False},
    "supervised - CBS": {"objective": "supervised", "class_balanced": False},
}
TRUSTED_PER_CLASS = 10


def load(folder, name, n_rows, seed):
    """Features, labels and inputs of training and test: (X, y, inputs, X_test, y_test, inputs)."""
    if name == "digits":
        digits = load_noisy_digits(noise_rate=0)
        rows, test = train_test_split(np.arange(1797), test_size=0.3, random_state=seed)
        featurizer = SSLFeaturizer("kmeans").fit(digits.images[rows])
        parts = (
            (featurizer.transform(digits.images[part]).features, digits.target[part],
             digits.images[part])
            for part in (rows, test)
        )  # fmt: skip
        return *next(parts), *next(parts)
    (X, y, _), (X_test, y_test) = _data.load(folder, name), _data.held_out(folder, name)
    rows = slice(n_rows if name == "cifar10n" else None)
    return X[rows], y[rows], None, X_test, y_test, None


def corrupt(folder, name, y, noise, seed):
    """Given labels."""
    if noise in _data.HUMAN:
        return _data.load(folder, name)[2][noise][: len(y)]
    kind, rate = noise.split("-")
    return _data.MAKERS[kind](y, int(rate) / 100, random_state=seed)[0]


def run(data, given, options, seed):
    """Records of all methods on one set of given labels."""
    X, y, inputs, X_test, y_test, inputs_test = data
    purified = TransitionCleaner().fit_transform(X, given)
    labels = {"noisy": given, "purified": purified.labels, "clean": y}
    for name, used in labels.items():
        start = time.perf_counter()
        accuracy = LogisticRegression(max_iter=300).fit(X, used).score(X_test, y_test)
        yield {
            "method": f"logistic regression, {name}",
            "accuracy": accuracy,
            "labels": float(np.mean(used == y)),
            "seconds": time.perf_counter() - start,
        }
    settings = {"epochs": options.epochs, "random_state": seed}
    containers = {"": (purified, X_test)}
    if inputs is not None:
        containers["images: "] = purified.with_features(purified.features, inputs), inputs_test
    for kind, (samples, test) in containers.items():
        for name, changes in VARIANTS.items():
            if not any((kind + name).startswith(text) for text in options.only):
                continue
            used = verified(samples, y, seed) if changes["objective"] == "ieg" else samples
            start = time.perf_counter()
            model = NeuralRetrainer(**settings, **changes).fit(used)
            yield {
                "method": kind + name,
                "accuracy": float(np.mean(model.predict(test) == y_test)),
                "seconds": time.perf_counter() - start,
            }


def verified(samples, y, seed):
    """The rows with ten of each class looked at."""
    rng, codes = np.random.RandomState(seed), np.searchsorted(samples.classes, y)
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(codes == k), TRUSTED_PER_CLASS)
            for k in np.unique(codes)
        ]
    )  # fmt: skip
    given = samples.given.copy()
    given[rows] = codes[rows]
    trusted = np.isin(np.arange(len(y)), rows)
    bare = type(samples)(
        samples.features, samples.classes[given], inputs=samples.inputs, trusted=trusted
    )
    return TransitionCleaner().fit_transform(bare)


def report(records):
    """Print mean and deviation of the test accuracy, and the share of the gap that is closed."""
    for setting in dict.fromkeys(r["setting"] for r in records):
        print(f"\n{setting:40}{'accuracy':>10}{'+-':>8}{'closed':>8}{'seconds':>9}")
        own = [r for r in records if r["setting"] == setting]
        low, high = (
            np.mean([r["accuracy"] for r in own if r["method"] == f"logistic regression, {k}"])
            for k in ("noisy", "clean")
        )
        for method in dict.fromkeys(r["method"] for r in own):
            found = [r["accuracy"] for r in own if r["method"] == method]
            seconds = np.median([r["seconds"] for r in own if r["method"] == method])
            mean = np.mean(found)
            closed = (mean - low) / (high - low)
            print(f"{method:40}{mean:10.4f}{np.std(found):8.4f}{closed:8.2f}{seconds:9.1f}")


def main(argv=None):
    """Run the settings that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["banking77", "cifar10n", "digits"])
    parser.add_argument("--noises", nargs="+", default=["sym-50"])
    parser.add_argument("--rows", type=int, default=10_000, help="of CIFAR-10")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], help="objectives that start so")
    parser.add_argument("--name", default="retraining", help="results/NAME.json")
    options = parser.parse_args(argv)
    records = []
    for seed in range(options.seeds):
        for name in options.sets:
            data = load(options.data, name, options.rows, seed)
            for noise in options.noises:
                if noise in _data.HUMAN and name != "cifar10n":
                    continue
                given = corrupt(options.data, name, data[1], noise, seed)
                for record in run(data, given, options, seed):
                    records.append({"setting": f"{name} {noise}", "seed": seed, **record})
                    print(records[-1], flush=True)
                kept = {k: v for k, v in vars(options).items() if k not in ("data", "name")}
                _results.write(options.name, records, **kept)
    report(records)


if __name__ == "__main__":
    main()
