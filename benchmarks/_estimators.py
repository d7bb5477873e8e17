"""What the benchmarks of purifiers run: chains of the library's estimators, by name."""

from sklearn.base import clone

from skclean import (
    AutoPurifier,
    CredibilityRelabeler,
    GMMCleaner,
    LeastSquaresMetaPurifier,
    MetaReweighter,
    OpenSetFilter,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)

CHAINS = {
    "TransitionCleaner": [TransitionCleaner()],
    "GMMCleaner + CredibilityRelabeler": [GMMCleaner(), CredibilityRelabeler()],
    "LeastSquaresMetaPurifier": [LeastSquaresMetaPurifier()],
    "LeastSquaresMetaPurifier(solver='paper')": [LeastSquaresMetaPurifier("paper")],
    "PrototypeCleaner": [PrototypeCleaner()],
    "PrototypeCleaner + CredibilityRelabeler": [PrototypeCleaner(), CredibilityRelabeler()],
    "RankingCleaner": [RankingCleaner()],
    "RankingCleaner + CredibilityRelabeler": [RankingCleaner(), CredibilityRelabeler()],
    "MetaReweighter": [MetaReweighter()],
    "OpenSetFilter": [OpenSetFilter()],
    "AutoPurifier": [AutoPurifier()],
}


def chain(name):
    """The unfitted estimators of a chain."""
    return [clone(step) for step in CHAINS[name]]


def purify(steps, samples):
    """What the last of the steps makes of the samples.

    The steps stay fitted, so that their memory is that of a Pipeline.
    """
    for step in steps:
        samples = step.fit_transform(samples)
    return samples
