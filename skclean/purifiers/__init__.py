"""Purifiers: new labels for rows whose label is wrong."""

from skclean.purifiers.auto import AutoPurifier
from skclean.purifiers.credibility import CredibilityRelabeler
from skclean.purifiers.least_squares import LeastSquaresMetaPurifier

__all__ = ["AutoPurifier", "CredibilityRelabeler", "LeastSquaresMetaPurifier"]
