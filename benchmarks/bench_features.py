"""Accuracy and speed of features that are learned from the images of CIFAR-10 alone.

    python -m benchmarks.bench_features --data DIR [--methods kmeans pixels simclr moco]
        [--epochs 200] [--backbone resnet18] [--batch 512] [--seeds 1] [--name features]

Without --methods: kmeans and pixels (the principal components of the pixels, which features must
beat), and simclr where torch finds a GPU. The features are fitted on the 50,000 training images.
For every method and seed:

- fit s: seconds of the fit; images/s: of the embedding of training and test images;
- linear: accuracy on the labelled test images of a RidgeClassifier trained on the clean labels of
  the labelled training images (30,000 and 5,000 of them), its alpha of greatest accuracy on a fifth
  of these;
- knn: accuracy of the 20 nearest training images by cosine of the centred features;
- sym 20 to sym 90: accuracy of the labels of all labelled training images, where that share of them
  was redrawn from all classes, by TransitionCleaner and, "gmm", by GMMCleaner and
  CredibilityRelabeler;
- share: where a network is trained, images/s of the training by those of bare forward and backward
  passes of the same network on two batches of the same size.

Published, with ResNet-50 and all 50,000 labels: REED without its third stage .918, .917, .908 and
.891; DMLP-Naive .947, .942, .935 and .928.
"""

import argparse
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from benchmarks import _results
from skclean import CredibilityRelabeler, GMMCleaner, SSLFeaturizer, TransitionCleaner
from skclean.datasets import make_symmetric_noise

#: Regularisations of the linear classifier, for features of unit variance.
ALPHAS = np.logspace(0, 5, 11)
RATES = (0.2, 0.5, 0.8, 0.9)
METHODS = ("kmeans", "pixels", "simclr", "moco")
#: Steps of the bare loop, after as many that do not count.
BARE_STEPS = 20
_JPEG = ("bytes", "offsets")


class PixelPCA(BaseEstimator):
    """The principal components of the pixels."""

    def fit_images(self, source, random_state):
        """Fit on 10,000 images."""
        images = source.read(np.sort(random_state.permutation(source.n)[:10_000]))
        self._pca = PCA(256, random_state=random_state).fit(_flat(images))
        self.n_features_out_ = 256
        return self

    def embed_images(self, images):
        """Components (b, 256)."""
        return self._pca.transform(_flat(images)).astype(np.float32)


def load(folder):
    """Images of training and test, uint8 (n, 32, 32, 3), and the labels of the first of them."""
    folder = Path(folder) / "cifar10n"
    with np.load(folder / "images.npz") as data:
        files = [[data[f"{part}_{what}"] for what in _JPEG] for part in ("train", "test")]
    with np.load(folder / "labels.npz") as data:
        labels = data["clean"].astype(np.int64), data["test_clean"].astype(np.int64)
    return *(decode(*parts) for parts in files), *labels


def decode(jpeg, offsets):
    """Images of one size from their concatenated files."""

    def one(i):
        file = io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())
        return np.asarray(Image.open(file).convert("RGB"))

    with ThreadPoolExecutor() as pool:
        return np.stack(list(pool.map(one, range(len(offsets) - 1))))


def run(name, options, train, test, y, y_test, seed):
    """One record of a method."""
    featurizer = SSLFeaturizer(
        PixelPCA() if name == "pixels" else name,
        backbone=options.backbone,
        epochs=options.epochs,
        batch_size=options.batch,
        random_state=seed,
        verbose=True,
    )
    start = time.perf_counter()
    featurizer.fit(train)
    fitted = time.perf_counter()
    X, X_test = (featurizer.transform(images).features for images in (train, test))
    seconds = time.perf_counter() - fitted
    X, X_test = X[: len(y)], X_test[: len(y_test)]
    record = {
        "fit s": fitted - start,
        "images/s": (len(train) + len(test)) / seconds,
        "n_features": X.shape[1],
        "linear": linear_accuracy(X, y, X_test, y_test, seed),
        "knn": knn_accuracy(X, y, X_test, y_test),
    }
    for rate in RATES:
        given = make_symmetric_noise(y, rate, random_state=seed)[0]
        record |= purified_accuracy(X, y, given, f"sym {100 * rate:g}")
    if hasattr(featurizer, "backbone_"):
        trained = float(np.median(featurizer.history_["images_per_second"]))
        record |= {"trained images/s": trained, "share": trained / bare_speed(featurizer, options)}
        record |= {"epochs": options.epochs, "backbone": options.backbone}
    return record


def linear_accuracy(X, y, X_test, y_test, seed):
    """Test accuracy of ridge regression, alpha chosen on a part of the training rows."""
    X, X_test = X / X.std(), X_test / X.std()
    A, B, a, b = train_test_split(X, y, test_size=0.2, random_state=seed, stratify=y)
    scores = [RidgeClassifier(alpha).fit(A, a).score(B, b) for alpha in ALPHAS]
    best = RidgeClassifier(ALPHAS[np.argmax(scores)]).fit(X, y)
    return float(best.score(X_test, y_test))


def knn_accuracy(X, y, X_test, y_test):
    """Test accuracy of the majority of the 20 nearest training rows."""
    mean = X.mean(axis=0)
    model = KNeighborsClassifier(20, metric="cosine", algorithm="brute").fit(X - mean, y)
    return float(model.score(X_test - mean, y_test))


def purified_accuracy(X, y, given, name):
    """Share of right labels as given, and after the cleaners."""
    transition = TransitionCleaner().fit(X, given).transduction_
    kept = GMMCleaner().fit_transform(X, given)
    mixture = CredibilityRelabeler().fit_transform(kept, given).labels
    labels = {"given": given, "": transition, "gmm": mixture}
    return {f"{name} {k}".strip(): float(np.mean(v == y)) for k, v in labels.items()}


def bare_speed(featurizer, options):
    """Images/s of forward and backward passes of two batches, in the precision of the training."""
    import torch

    from skclean.embeddings.devices import make_fabric

    fabric = make_fabric()
    network = featurizer.backbone_.to(fabric.device, memory_format=torch.channels_last).train()
    side = featurizer.image_shape_[1]
    x = torch.rand(2 * options.batch, 3, side, side, device=fabric.device)
    x = x.contiguous(memory_format=torch.channels_last)

    def steps():
        for _ in range(BARE_STEPS):
            with fabric.autocast():
                loss = network(x).float().square().mean()
            loss.backward()
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()

    steps()
    start = time.perf_counter()
    steps()
    return BARE_STEPS * options.batch / (time.perf_counter() - start)


def _flat(images):
    return images.reshape(len(images), -1).astype(np.float32)


def report(records):
    """Print the mean over the seeds, a line a figure."""
    methods = list(dict.fromkeys(r["method"] for r in records))
    print(f"{'':18}" + "".join(f"{m:>12}" for m in methods))
    for key in dict.fromkeys(k for r in records for k in r if isinstance(r[k], float | int)):
        means = [
            np.mean([r.get(key, np.nan) for r in records if r["method"] == m]) for m in methods
        ]
        print(f"{key:18}" + "".join(f"{v:12.4g}" for v in means))


def main(argv=None):
    """Run the methods that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--images", type=int, help="train on the first images alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--name", default="features", help="results/NAME.json")
    options = parser.parse_args(argv)
    if options.methods is None:
        found = SSLFeaturizer()._chosen_method()
        options.methods = ["kmeans", "pixels", *(["simclr"] if hasattr(found, "make") else [])]
    train, test, y, y_test = load(options.data)
    train, y = train[: options.images], y[: options.images]
    records = []
    for method in options.methods:
        for seed in range(options.seeds):
            found = run(method, options, train, test, y, y_test, seed)
            records.append({"method": method, "seed": seed} | found)
            _results.write(
                options.name,
                records,
                **{k: v for k, v in vars(options).items() if k not in ("data", "name")},
            )
    report(records)


if __name__ == "__main__":
    main()
