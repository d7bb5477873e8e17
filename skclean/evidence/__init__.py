"""Features and given labels in, scores out."""

from skclean.evidence.fit import Evidence, fit_evidence
from skclean.evidence.leave_one_out import LeaveOneOutRidge

__all__ = ["Evidence", "LeaveOneOutRidge", "fit_evidence"]
