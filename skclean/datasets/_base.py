"""The folder that downloads go to, and the digits of scikit-learn under noisy labels."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from skclean._labels import shown
from skclean.datasets._noise import (
    make_asymmetric_noise,
    make_instance_dependent_noise,
    make_pair_noise,
    make_symmetric_noise,
)

_DIGITS_DESCR = """Noisy digits
------------
The 1797 digits of 8 x 8 pixels that come with scikit-learn (`sklearn.datasets.load_digits`),
under {noise} label noise of rate {noise_rate:g}: {n_wrong} of {n} labels are wrong.

- data: (1797, 64) float64, pixels in [0, 16]
- target: (1797,) int64, the true digits
- target_noisy: (1797,) int64, the digits after the noise
- transition: (10, 10) float64, P(given = column | true = row)
"""


def get_data_home(data_home: Any = None) -> Path:
    """Folder that downloaded data sets are kept in, made where it does not exist.

    Parameters
    ----------
    data_home : path-like or None, default=None
        The folder. None takes the environment variable ``SKCLEAN_DATA``, and where that is not
        set, ``~/skclean_data``.

    Returns
    -------
    folder : pathlib.Path
        The folder, with ``~`` expanded.
    """
    if data_home is None:
        data_home = os.environ.get("SKCLEAN_DATA") or Path("~") / "skclean_data"
    folder = Path(data_home).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_noisy_digits(
    noise: str = "symmetric",
    noise_rate: float = 0.4,
    *,
    random_state: Any = 0,
    return_X_y: bool = False,
) -> Any:
    """Load the digits of scikit-learn with noisy labels. Nothing is downloaded.

    Parameters
    ----------
    noise : {"symmetric", "pair", "asymmetric", "instance"}, default="symmetric"
        Which maker of `skclean.datasets` the noise comes from. ``"symmetric"`` draws from all
        classes, the true one included; ``"asymmetric"`` mistakes 7 for 1, 2 for 7, 5 for 6 and
        3 for 8, and leaves the other digits alone.
    noise_rate : float in [0, 1], default=0.4
        Rate as the maker defines it.
    random_state : int, RandomState instance or None, default=0
        Source of the draws.
    return_X_y : bool, default=False
        True returns ``(data, target_noisy)`` instead of the Bunch.

    Returns
    -------
    digits : sklearn.utils.Bunch
        With the fields

        - data : ndarray of shape (1797, 64), float64 in [0, 16]
        - target : ndarray of shape (1797,), int64, the true digits
        - target_noisy : ndarray of shape (1797,), int64, the given labels
        - transition : ndarray of shape (10, 10), P(given = column | true = row)
        - target_names : ndarray of shape (10,), int64
        - images : ndarray of shape (1797, 8, 8), float64
        - frame : None
        - DESCR : str
    (X, y_noisy) : tuple of ndarray
        If `return_X_y` is True.

    Raises
    ------
    ValueError
        If `noise` is unknown or `noise_rate` is outside [0, 1].

    Examples
    --------
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4)
    >>> digits.data.shape
    (1797, 64)
    >>> float((digits.target == digits.target_noisy).mean().round(2))
    0.64
    """
    makers = {
        "symmetric": lambda X, y, **kwargs: make_symmetric_noise(y, noise_rate, **kwargs),
        "pair": lambda X, y, **kwargs: make_pair_noise(y, noise_rate, **kwargs),
        "asymmetric": lambda X, y, **kwargs: make_asymmetric_noise(
            y, noise_rate, {7: 1, 2: 7, 5: 6, 3: 8}, **kwargs
        ),
        "instance": lambda X, y, **kwargs: make_instance_dependent_noise(
            X, y, noise_rate, **kwargs
        ),
    }
    if noise not in makers:
        raise ValueError(
            f"load_noisy_digits: expected noise to be one of {sorted(makers)}, got {shown(noise)}; "
            f"do call one of the make_*_noise functions for any other."
        )
    digits = load_digits()
    target = digits.target.astype(np.int64)
    target_noisy, transition = makers[noise](digits.data, target, random_state=random_state)
    if return_X_y:
        return digits.data, target_noisy
    return Bunch(
        data=digits.data,
        target=target,
        target_noisy=target_noisy,
        transition=transition,
        target_names=digits.target_names,
        images=digits.images,
        frame=None,
        DESCR=_DIGITS_DESCR.format(
            noise=noise,
            noise_rate=noise_rate,
            n_wrong=int((target != target_noisy).sum()),
            n=len(target),
        ),
    )
