"""Small data sets of many kinds: those of scikit-learn, and made ones.

Tables, text and images of 60 to 2,500 rows; classes that overlap, that have several modes, that are
rare, and twenty or fifty of them; features of unlike units, heavy tails and no use.
"""

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
    make_classification,
    make_gaussian_quantiles,
    make_hastie_10_2,
    make_moons,
)
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import StandardScaler

from benchmarks._data import MAKERS, Setting
from skclean.datasets import make_instance_dependent_noise

#: Noise and its rate.
NOISES = (
    [("sym", rate) for rate in (0.0, 0.05, 0.2, 0.4)]
    + [("pair", 0.2), ("pair", 0.4), ("asym", 0.4)]
    + [("instance", 0.2), ("instance", 0.4)]
)


def load(name, seed):
    """Features (n, d) and true labels (n,), 0 to C - 1, of a set: other rows for each seed."""
    make, rows = SETS[name]
    X, y = make(seed)
    chosen = np.random.default_rng(seed).permutation(len(y))[:rows]
    return X[chosen], np.unique(y[chosen], return_inverse=True)[1]


def settings(names):
    """All settings of the named sets."""
    return [Setting(name, *noise) for name in names for noise in NOISES]


def corrupt(X, y, setting, seed):
    """Features, true and given labels; asymmetric noise turns all classes into the first."""
    _, noise, rate = setting
    if noise == "instance":
        return X, y, make_instance_dependent_noise(X, y, rate, random_state=seed)[0]
    class_map = [dict.fromkeys(range(1, y.max() + 1), 0)] if noise == "asym" else []
    return X, y, MAKERS[noise](y, rate, *class_map, random_state=seed)[0]


def _loaded(load, standardise=False):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X) if standardise else X
    return lambda seed: (X, y)


def _digits_pca(seed):
    X, y = load_digits(return_X_y=True)
    return PCA(16, random_state=0).fit_transform(X), y


def _classification(n_features, n_informative, n_classes, separation, **options):
    def make(seed):
        return make_classification(
            5000,
            n_features,
            n_informative=n_informative,
            n_redundant=n_features // 5,
            n_classes=n_classes,
            class_sep=separation,
            flip_y=0,
            random_state=seed,
            **{"n_clusters_per_class": 1, **options},
        )

    return make


def _blobs(n_features, centers, deviation, **options):
    def make(seed):
        size = {"n_samples": 3000, "n_features": n_features, "centers": centers}
        return make_blobs(**size, cluster_std=deviation, random_state=seed, **options)

    return make


def _unlike_units(seed):
    X, y = _classification(15, 6, 3, 1.5)(seed)
    return X * 10 ** np.random.default_rng(seed).uniform(-3, 3, X.shape[1]), y


def _log_normal(seed):
    X, y = _classification(12, 6, 3, 1.5)(seed)
    return np.exp(X), y


def _heavy_tails(seed):
    rng = np.random.default_rng(seed)
    y, centres = rng.integers(0, 4, 2000), 2 * rng.normal(size=(4, 12))
    return centres[y] + rng.standard_t(1.8, (2000, 12)), y


def _variances(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 2000)
    return np.array([1.0, 2.2])[y, None] * rng.normal(size=(2000, 8)), y


def _thresholds(seed):
    X = np.random.default_rng(seed).uniform(size=(2000, 8))
    return X, (X[:, 0] > 0.5) + 2 * (X[:, 1] > 0.6)


def _mixed_table(seed):
    """Four numbers and three categories of five values, one-hot."""
    rng = np.random.default_rng(seed)
    numbers, values = rng.normal(size=(2000, 4)), rng.integers(0, 5, (2000, 3))
    effect = 1.2 * rng.normal(size=(3, 5, 3))
    logits = 1.5 * numbers @ rng.normal(size=(4, 3))
    logits += sum(effect[j, values[:, j]] for j in range(3))
    columns = [np.eye(5)[values[:, j]] for j in range(3)]
    return np.hstack([numbers, *columns]), logits.argmax(axis=1)


def _text(seed):
    """Counts of 2,000 words in six topics that share three quarters of their words."""
    rng = np.random.default_rng(seed)
    common = 0.75 * rng.dirichlet(np.full(2000, 0.05))
    topics = [common + 0.25 * rng.dirichlet(np.full(2000, 0.01)) for _ in range(6)]
    y = rng.integers(0, 6, 2000)
    counts = np.stack([rng.multinomial(rng.integers(20, 80), topics[k]) for k in y])
    X = TfidfTransformer().fit_transform(counts)
    return TruncatedSVD(80, random_state=0).fit_transform(X), y


def _quantiles(seed):
    return make_gaussian_quantiles(n_samples=2000, n_features=4, n_classes=3, random_state=seed)


#: Name -> features and labels by a seed, and how many rows are drawn of them.
SETS = {
    "iris": (_loaded(load_iris), 100),
    "wine": (_loaded(load_wine), 120),
    "breast cancer": (_loaded(load_breast_cancer), 400),
    "breast cancer, standardised": (_loaded(load_breast_cancer, standardise=True), 400),
    "digits": (_loaded(load_digits), 1200),
    "digits, 16 components": (_digits_pca, 1200),
    "one mode a class": (_classification(20, 6, 3, 2.5), 800),
    "three modes a class": (_classification(20, 8, 4, 1.5, n_clusters_per_class=3), 1000),
    "overlap": (_classification(20, 6, 3, 0.6, n_clusters_per_class=2), 1000),
    "two classes": (_classification(15, 5, 2, 1.0, n_clusters_per_class=2), 800),
    "two classes, few rows": (_classification(20, 6, 2, 1.2), 200),
    "three classes, 60 rows": (_blobs(6, 3, 2.5, center_box=(-4, 4)), 60),
    "twenty classes": (_classification(40, 15, 20, 1.2), 1600),
    "twenty blobs": (_blobs(10, 20, 3.0), 1200),
    "fifty blobs": (_blobs(12, 50, 2.5), 2000),
    "one class in a hundred": (_classification(12, 6, 2, 1.6, weights=[0.99]), 2500),
    "unbalanced classes": (_classification(16, 8, 4, 1.6, weights=[0.7, 0.2, 0.07, 0.03]), 1500),
    "moons": (lambda seed: make_moons(1400, noise=0.25, random_state=seed), 700),
    "quantiles": (_quantiles, 1000),
    "ten squares": (lambda seed: make_hastie_10_2(2000, random_state=seed), 1200),
    "two variances": (_variances, 800),
    "thresholds": (_thresholds, 1000),
    "unlike units": (_unlike_units, 800),
    "log-normal": (_log_normal, 800),
    "heavy tails": (_heavy_tails, 900),
    "mixed table": (_mixed_table, 1000),
    "text": (_text, 1200),
}
