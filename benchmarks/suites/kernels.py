"""Time and memory of the kernels over n, d and C."""

import tempfile
from pathlib import Path

import numpy as np

from skclean.decision.loss_mixture import cross_entropy, fit_loss_mixture
from skclean.decision.transition import fit_transition
from skclean.embeddings import ConvKMeans, SSLFeaturizer
from skclean.evidence import LeaveOneOutRidge
from skclean.linalg.feature_map import linear_map
from skclean.linalg.least_squares import fit_ridge
from skclean.linalg.mixture import fit_two_gaussians
from skclean.linalg.rows import RowIndex

from .problems import cases, gaussian_classes


class Suite:
    """A call over all sizes; subclasses define `prepare` and `time_call`."""

    params = [cases()]
    param_names = ["n, d, C"]
    timeout = 600

    def setup(self, case):
        """Make the problem of a size (n, d, C)."""
        self.X, self.y, self.given = gaussian_classes(*case)
        self.case = case
        self.prepare()

    def prepare(self):
        """What is not timed."""


class GramProduct(Suite):
    """The bare product of the features with themselves."""

    def time_call(self, case):
        self.X.T @ self.X


class FitRidge(Suite):
    """Gram matrix, cross-products and one eigendecomposition."""

    def prepare(self):
        self.features = linear_map(self.X)

    def time_call(self, case):
        fit_ridge(self.features, self.X, self.given, case[2])

    peakmem_call = time_call


class LeaveOneOut(FitRidge):
    """Scores of all rows by the fit without them."""

    def prepare(self):
        super().prepare()
        self.ridge = fit_ridge(self.features, self.X, self.given, self.case[2])

    def time_call(self, case):
        self.ridge.leave_one_out(self.X, self.given)

    peakmem_call = time_call


class EvidenceLinear(Suite):
    """Leave-one-out least squares on the features."""

    kernel = "linear"

    def time_call(self, case):
        LeaveOneOutRidge(kernel=self.kernel).fit(self.X, self.given)

    peakmem_call = time_call


class EvidenceRBF(EvidenceLinear):
    """Leave-one-out least squares on the features of a kernel."""

    kernel = "rbf"


class MappedEvidence(EvidenceLinear):
    """Leave-one-out least squares on features that are mapped from disk."""

    def prepare(self):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "X.npy"
        np.save(path, self.X)
        self.X = np.load(path, mmap_mode="r")

    def teardown(self, case):
        self.folder.cleanup()


class Mixture(Suite):
    """Two Gaussians on n values."""

    def prepare(self):
        rng = np.random.default_rng(0)
        wrong = rng.random(len(self.y)) < 0.4
        self.loss = np.where(wrong, rng.beta(5, 3, len(wrong)), rng.beta(1, 12, len(wrong)))

    def time_call(self, case):
        fit_two_gaussians(self.loss).smaller_proba(self.loss)

    peakmem_call = time_call


class WithEvidence(Suite):
    """Decisions on leave-one-out scores that are there already."""

    def prepare(self):
        model = LeaveOneOutRidge(kernel="linear").fit(self.X, self.given)
        self.scores, self.proba = model.loo_scores_, model.loo_proba()


class LossMixture(WithEvidence):
    """Mixtures on the cross-entropy of the labels, one for each class."""

    def time_call(self, case):
        loss = cross_entropy(self.proba, self.given)
        fit_loss_mixture(loss, self.given, class_aware=True).clean_proba(loss, self.given)

    peakmem_call = time_call


class Transition(WithEvidence):
    """Noise-transition matrix, calibration and posteriors."""

    def time_call(self, case):
        fit_transition(self.scores, self.given)

    peakmem_call = time_call


class RowMatching(Suite):
    """Recognition of rows that were seen before."""

    def time_call(self, case):
        RowIndex(self.X).match(self.X)

    peakmem_call = time_call


class KMeansFeatures(Suite):
    """Embedding of images by fitted k-means features; d is the side of the image squared."""

    params = [[(n, d, 10) for n, d in ((64, 256), (128, 256), (256, 256), (128, 64), (128, 1024))]]

    def prepare(self):
        n, d, _ = self.case
        side = int(d**0.5)
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
        method = ConvKMeans(n_filters=64, n_components=32, n_patches=2000, n_jobs=1)
        self.featurizer = SSLFeaturizer(method).fit(self.images)
        # Other images than those of the fit.
        self.images = self.images[:, ::-1].copy()

    def time_call(self, case):
        self.featurizer.transform(self.images)

    peakmem_call = time_call
