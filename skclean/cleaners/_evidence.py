"""What cleaners share whose evidence comes from a classifier."""

from numbers import Integral, Real

from sklearn.utils._param_validation import HasMethods, Interval

from skclean.base import BaseCleaner
from skclean.evidence.fit import fit_evidence


class EvidenceCleaner(BaseCleaner):
    """A cleaner with the parameters `threshold`, `estimator`, `cv`, `random_state` and `n_jobs`."""

    _parameter_constraints: dict = {
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "estimator": [HasMethods(["fit"]), None],
        "cv": ["cv_object"],
        "missing_label": "no_validation",
        "random_state": [Interval(Integral, 0, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    def _fit_evidence(self, samples, groups):
        """Score the rows of the fit; sets `evidence_`."""
        self.evidence_ = fit_evidence(
            samples,
            self.estimator,
            self.cv,
            groups,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            name=type(self).__name__,
        )
