"""To look at labels: displays, and a report for the browser."""

from typing import TYPE_CHECKING

from skclean._optional import lazy_names

# Not on first use: the module of the same name would stand in its place.
from skclean.inspection.verdicts import verdicts

if TYPE_CHECKING:
    from skclean.inspection.class_balance_display import ClassBalanceDisplay
    from skclean.inspection.credibility_display import CredibilityDisplay
    from skclean.inspection.embedding_display import EmbeddingDisplay
    from skclean.inspection.label_flow_display import LabelFlowDisplay
    from skclean.inspection.loss_mixture_display import LossMixtureDisplay
    from skclean.inspection.report import write_report
    from skclean.inspection.retraining_curve_display import RetrainingCurveDisplay

__all__ = [
    "ClassBalanceDisplay",
    "CredibilityDisplay",
    "EmbeddingDisplay",
    "LabelFlowDisplay",
    "LossMixtureDisplay",
    "RetrainingCurveDisplay",
    "verdicts",
    "write_report",
]

_HOMES = {
    "ClassBalanceDisplay": "skclean.inspection.class_balance_display",
    "CredibilityDisplay": "skclean.inspection.credibility_display",
    "EmbeddingDisplay": "skclean.inspection.embedding_display",
    "LabelFlowDisplay": "skclean.inspection.label_flow_display",
    "LossMixtureDisplay": "skclean.inspection.loss_mixture_display",
    "RetrainingCurveDisplay": "skclean.inspection.retraining_curve_display",
    "write_report": "skclean.inspection.report",
}

__getattr__ = lazy_names(__name__, _HOMES)
