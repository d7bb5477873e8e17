"""What the benchmarks of purifiers run: chains of the library's estimators, by name."""

from importlib import import_module

CHAINS = {
    "TransitionCleaner": [("skclean.TransitionCleaner", {})],
    "GMMCleaner + CredibilityRelabeler": [
        ("skclean.GMMCleaner", {}),
        ("skclean.CredibilityRelabeler", {}),
    ],
    "LeastSquaresMetaPurifier": [("skclean.LeastSquaresMetaPurifier", {})],
    "LeastSquaresMetaPurifier(solver='paper')": [
        ("skclean.LeastSquaresMetaPurifier", {"solver": "paper"})
    ],
    "PrototypeCleaner": [("skclean.PrototypeCleaner", {})],
    "PrototypeCleaner + CredibilityRelabeler": [
        ("skclean.PrototypeCleaner", {}),
        ("skclean.CredibilityRelabeler", {}),
    ],
    "RankingCleaner": [("skclean.RankingCleaner", {})],
    "RankingCleaner + CredibilityRelabeler": [
        ("skclean.RankingCleaner", {}),
        ("skclean.CredibilityRelabeler", {}),
    ],
    "MetaReweighter": [("skclean.MetaReweighter", {})],
    "OpenSetFilter": [("skclean.OpenSetFilter", {})],
    "AutoPurifier": [("skclean.AutoPurifier", {})],
}


def chain(name):
    """The unfitted estimators of a chain, None where the library has not all of them."""
    steps = []
    for path, parameters in CHAINS[name]:
        module, _, kind = path.rpartition(".")
        kind = getattr(import_module(module), kind, None)
        if kind is None:
            return None
        steps.append(kind(**parameters))
    return steps


def purify(steps, samples):
    """What the last of the steps makes of the samples.

    The steps stay fitted, so that their memory is that of a Pipeline.
    """
    for step in steps:
        samples = step.fit_transform(samples)
    return samples
