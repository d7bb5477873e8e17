"""How good the labels are: against known truth, on trusted rows, or by the noise's own matrix."""

from skclean.metrics._corrected import noise_corrected_accuracy
from skclean.metrics._detection import DetectionScores, calibration_error, detection_scores
from skclean.metrics._quality import ClassBalance, class_balance, label_accuracy, label_coverage
from skclean.metrics._scorers import (
    TrustedScorer,
    noise_corrected_scorer,
    trusted_accuracy,
    trusted_accuracy_scorer,
)

__all__ = [
    "ClassBalance",
    "DetectionScores",
    "TrustedScorer",
    "calibration_error",
    "class_balance",
    "detection_scores",
    "label_accuracy",
    "label_coverage",
    "noise_corrected_accuracy",
    "noise_corrected_scorer",
    "trusted_accuracy",
    "trusted_accuracy_scorer",
]
