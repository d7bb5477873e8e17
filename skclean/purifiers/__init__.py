"""Purifiers: new labels for rows whose label is wrong."""

from skclean.purifiers.credibility import CredibilityRelabeler

__all__ = ["CredibilityRelabeler"]
