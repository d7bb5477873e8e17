"""Cleaners: which of the given labels are wrong."""

from skclean.cleaners.gmm import GMMCleaner
from skclean.cleaners.transition import TransitionCleaner

__all__ = ["GMMCleaner", "TransitionCleaner"]
