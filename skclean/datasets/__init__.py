"""Makers of label noise, and data sets whose labels are noisy."""

from skclean.datasets._base import get_data_home, load_noisy_digits
from skclean.datasets._cifar10n import fetch_cifar10n
from skclean.datasets._noise import (
    ASYMMETRIC_MAPS,
    make_asymmetric_noise,
    make_instance_dependent_noise,
    make_openset_noise,
    make_pair_noise,
    make_symmetric_noise,
)

__all__ = [
    "ASYMMETRIC_MAPS",
    "fetch_cifar10n",
    "get_data_home",
    "load_noisy_digits",
    "make_asymmetric_noise",
    "make_instance_dependent_noise",
    "make_openset_noise",
    "make_pair_noise",
    "make_symmetric_noise",
]
