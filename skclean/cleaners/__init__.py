"""Cleaners: which of the given labels are wrong."""

from skclean.cleaners.gmm import GMMCleaner
from skclean.cleaners.meta_reweighter import MetaReweighter
from skclean.cleaners.open_set import OpenSetFilter
from skclean.cleaners.prototype import PrototypeCleaner
from skclean.cleaners.ranking import RankingCleaner
from skclean.cleaners.transition import TransitionCleaner

__all__ = [
    "GMMCleaner",
    "MetaReweighter",
    "OpenSetFilter",
    "PrototypeCleaner",
    "RankingCleaner",
    "TransitionCleaner",
]
