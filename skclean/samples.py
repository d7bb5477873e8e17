"""LabelledSamples: the features and everything known about their labels, in one container."""

from typing import Any

import numpy as np

from skclean import _fields, _labels
from skclean._array import take_rows
from skclean._blocks import best_class
from skclean._features import held_features, open_features
from skclean._fields import STATUSES
from skclean._frame import Frames
from skclean._html import samples_html, samples_text
from skclean._warnings import warn
from skclean.exceptions import LabelsDroppedWarning

_NAME = "LabelledSamples"
_KEEP = object()


class LabelledSamples(Frames):
    """What travels between the steps of a pipeline: features, given and purified labels.

    A duck array for scikit-learn: `shape`, indexing by rows and `numpy.asarray` are those of the
    features. It is immutable: its arrays are read-only views of the caller's, and `with_features`,
    `with_labels` and indexing return a new container. Fields of labels are NumPy arrays on the
    host; `features` and `inputs` stay where they are.

    Parameters
    ----------
    features : array or DataFrame of shape (n, d)
        NumPy, CuPy, torch or dask (chunked by rows, with `proba` of dask too). Lists and DataFrames
        become NumPy arrays; the index and the column names of a DataFrame are kept.
    y : array-like of shape (n,) or None, default=None
        The given labels, in the user's classes, with missing values.
    classes : array-like of shape (C,) or None, default=None
        Sorted class list. None takes the classes in `y`; where only `proba` tells, the names of
        its columns, or 0 to C - 1.
    inputs : array of shape (n, ...) or None, default=None
        What the features were computed from, e.g. images. `skclean.interop.from_torch` takes a
        torch Dataset.
    proba : array of shape (n, C) or None, default=None
        Probability of each class, in the order of `classes`, rows summing to 1; rows that do not
        because of rounding to two, three or four digits are divided by their sums. The columns of a
        DataFrame named after the classes may be in any order, and make the classes where nothing
        else tells; those named 0 to C - 1 are taken by position. Without `labels` and `status` it
        is evidence that the user brings; with them it is the purified soft labels.
    labels : array-like of shape (n,) or None, default=None
        The purified labels, in the user's classes. None takes the given label in rows kept or
        trusted, and elsewhere the class of the greatest `proba`.
    status : array-like of shape (n,) or None, default=None
        One of "kept", "corrected", "unknown", "trusted", "predicted" a row.
    clean_proba, right_proba : array-like of shape (n,) or None, default=None
        Probability in [0, 1] that the given label is right, and that the predicted one is; NaN in
        rows that were not judged.
    in_distribution_proba : array-like of shape (n,) or None, default=None
        Probability in [0, 1] that the row belongs to any of the classes; NaN where not judged.
    weight : array-like of shape (n,) or None, default=None
        Weight of the row in training, at least 0.
    trusted : array-like of bool of shape (n,) or None, default=None
        Rows whose given label is known to be right.
    readable : array-like of bool of shape (n,) or None, default=None
        False in rows whose input could not be read, so that their features mean nothing: no step
        judges such a row or learns from it, and its status is unknown. None: all could be read.
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`. None, NaN and pandas.NA always do. "auto" reads -1 as
        missing too, with a warning, if at least two other classes remain and `classes` does not
        list it. None adds nothing; any other value is missing too, silently.

    Attributes
    ----------
    given : ndarray of shape (n,), int64, or None
        Position of the given label in `classes`, -1 where it is missing.
    label_codes : ndarray of shape (n,), int64, or None
        Position of the purified label, None before purification. In rows of status unknown it is
        the class of greatest `proba`, -1 without `proba`.
    status_codes : ndarray of shape (n,), int8, or None
        Position of the status in `skclean.samples.STATUSES`.
    index, feature_names : pandas.Index and ndarray of str, or None
        From a DataFrame of features.

    Raises
    ------
    ValueError
        If a field has not n rows, or values outside its range; the message names the first row.

    Examples
    --------
    >>> from skclean.samples import LabelledSamples
    >>> LabelledSamples([[0.0], [1.0], [2.0]], ["cat", "dog", None])
    LabelledSamples(3 rows, 1 features, float64; 2 classes; given: 2, missing: 1)
    """

    #: `_known_rows`: the RowIndex of the cleaner that was fitted to these rows, for the next one.
    __slots__ = (*_fields.FIELDS, "_known_rows")

    features: Any
    inputs: Any
    given: Any
    label_codes: Any
    status_codes: Any
    proba: Any
    clean_proba: Any
    right_proba: Any
    in_distribution_proba: Any
    weight: Any
    trusted: Any
    readable: Any
    index: Any
    classes: Any
    feature_names: Any
    _known_rows: Any

    def __init__(
        self,
        features: Any,
        y: Any = None,
        *,
        classes: Any = None,
        inputs: Any = None,
        proba: Any = None,
        labels: Any = None,
        status: Any = None,
        clean_proba: Any = None,
        right_proba: Any = None,
        in_distribution_proba: Any = None,
        weight: Any = None,
        trusted: Any = None,
        readable: Any = None,
        missing_label: Any = "auto",
    ) -> None:
        fields = open_features(features)
        fields.update(_fields.open_labels(y, classes, proba, labels, missing_label))
        fields.update(inputs=inputs, trusted=trusted, readable=readable, status_codes=status)
        fields.update(proba=proba, clean_proba=clean_proba, right_proba=right_proba, weight=weight)
        fields.update(in_distribution_proba=in_distribution_proba)
        self._set(_fields.checked(fields))

    def _set(self, fields):
        for field in _fields.FIELDS:
            object.__setattr__(self, field, _fields.frozen(fields.get(field)))
        object.__setattr__(self, "_known_rows", None)

    @classmethod
    def _new(cls, fields):
        """A container of fields that are known to be right."""
        new = cls.__new__(cls)
        new._set(fields)
        return new

    def _as_dict(self):
        return {field: getattr(self, field) for field in _fields.FIELDS}

    def _replace(self, **changes):
        """The container with other fields, which are known to be right."""
        return self._new(self._as_dict() | changes)

    def _with_known_rows(self, index):
        object.__setattr__(self, "_known_rows", index)
        return self

    def __setattr__(self, field, value):
        raise AttributeError(
            f"{_NAME}: expected no assignment to {field}, a container is immutable; do call "
            "with_features or with_labels, which return a new one."
        )

    def __delattr__(self, field):
        self.__setattr__(field, None)

    __getstate__ = _as_dict
    __setstate__ = _set

    # What the labels are

    @property
    def purified(self) -> bool:
        """Whether a cleaner has set labels or statuses."""
        return self.label_codes is not None

    @property
    def labels(self) -> np.ndarray:
        """Hard labels of shape (n,), in the user's classes: purified, else the given ones.

        In rows of status unknown, and in rows without a given label before purification, this is
        the class of greatest `proba`: leave those rows out of training by `known`.

        Raises
        ------
        ValueError
            If a row has neither a label nor probabilities: see `labels_or_missing`.
        """
        codes = self._codes()
        if (codes < 0).any():
            raise ValueError(
                f"{_NAME}: expected a label or probabilities in every row, got neither in "
                f"{(codes < 0).sum()} rows, the first {int(np.argmax(codes < 0))}; do read "
                ".labels_or_missing(), or purify the labels first."
            )
        return self.classes[codes]

    @property
    def status(self) -> np.ndarray | None:
        """Status name of each row, shape (n,).

        Before purification it is None, or kept and unknown where rows could not be read.
        """
        codes = self._status_codes()
        return None if codes is None else np.asarray(STATUSES)[codes]

    @property
    def known(self) -> np.ndarray:
        """Mask of shape (n,) of the rows whose label may be trained on: status not unknown."""
        return self._known_codes() >= 0

    def labels_or_missing(self) -> np.ndarray:
        """Hard labels of shape (n,), -1 in rows of status unknown or without a label.

        That is scikit-learn's convention for semi-supervised learning: numeric classes give a
        numeric array, strings and booleans an object array with the integer -1.

        Raises
        ------
        ValueError
            If -1 is a class and a label is missing.
        """
        return _labels.decode_labels(self._known_codes(), self.classes)

    def given_labels(self) -> np.ndarray | None:
        """The given labels as `labels_or_missing` has them, but None where -1 is a class."""
        if self.given is None:
            return None
        missing = None if _labels.has_minus_one(self.classes) else -1
        return _labels.decode_labels(self.given, self.classes, missing)

    def _known_codes(self):
        codes = self.label_codes if self.purified else self._require(self.given)
        status = self._status_codes()
        return codes if status is None else np.where(status == _fields.UNKNOWN, -1, codes)

    def _status_codes(self):
        if self.status_codes is None and self.readable is not None:
            return np.where(self.readable, _fields.KEPT, _fields.UNKNOWN)
        return self.status_codes

    def _codes(self):
        if self.purified:
            return self.label_codes
        if self.proba is None:
            return self._require(self.given)
        best = best_class(self.proba)
        return best if self.given is None else np.where(self.given < 0, best, self.given)

    def _given_codes(self):
        """The given labels as positions, -1 in every row where the container carries none."""
        return np.full(len(self), -1) if self.given is None else self.given

    def _require(self, codes):
        if codes is None:
            raise ValueError(
                f"{_NAME}: expected a container with labels, got one of features alone; do pass y."
            )
        return codes

    # New containers

    def with_features(self, features: Any, inputs: Any = _KEEP) -> "LabelledSamples":
        """The same labels on other features of the same rows (and other `inputs`, if named).

        Raises
        ------
        ValueError
            If the number of rows differs.
        """
        fields = self._as_dict() | {"feature_names": None}
        opened = open_features(features)
        fields.update({k: v for k, v in opened.items() if v is not None})
        if inputs is not _KEEP:
            fields["inputs"] = _fields.open_inputs(inputs)
        for field in ("features", "inputs"):
            _fields.check_length(fields[field], len(self), field)
        return self._new(fields)

    def with_labels(
        self,
        *,
        proba: Any = None,
        label_codes: Any = None,
        status: Any = None,
        clean_proba: Any = _KEEP,
        right_proba: Any = _KEEP,
        in_distribution_proba: Any = _KEEP,
        weight: Any = _KEEP,
        trusted: Any = _KEEP,
    ) -> "LabelledSamples":
        """The same features and given labels with other purified labels.

        `proba`, `label_codes` and `status` are replaced together, so that they cannot contradict
        each other: what is not named is None, and without arguments the purification is undone.
        The other fields stay unless they are named.

        Parameters
        ----------
        label_codes : array of int of shape (n,) or None
            Positions in `classes`; None as for `labels` in the constructor.
        proba, status, clean_proba, right_proba, in_distribution_proba, weight, trusted
            As in the constructor; `status` may be int8 positions in `STATUSES`.

        Raises
        ------
        ValueError
            As the constructor.
        """
        fields = self._as_dict()
        fields.update(proba=proba, label_codes=label_codes, status_codes=status)
        named = {
            "clean_proba": clean_proba,
            "right_proba": right_proba,
            "in_distribution_proba": in_distribution_proba,
            "weight": weight,
            "trusted": trusted,
        }
        fields.update({k: v for k, v in named.items() if v is not _KEEP})
        return self._new(_fields.checked(fields))

    def with_classes(self, classes: Any) -> "LabelledSamples":
        """The same labels counted in a class list that contains the container's own.

        Raises
        ------
        ValueError
            If a class of the container is not in `classes`.
        """
        return self._with_classes(classes, _NAME)

    def _with_classes(self, classes, name):
        """The work of `with_classes`; `name` says who speaks in errors."""
        if self.classes is None:
            return self._replace(classes=_labels.check_classes(classes, name))
        if np.array_equal(self.classes, classes):
            return self
        return self._new(_fields.in_classes(self._as_dict(), classes, name))

    # What scikit-learn asks of an array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features."""
        return tuple(self.features.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the features."""
        return len(self.features.shape)

    @property
    def dtype(self) -> Any:
        """Dtype of the features."""
        return self.features.dtype

    @property
    def n_features(self) -> int:
        """Number of columns of the features."""
        return self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> "LabelledSamples":
        rows = _fields.open_rows(key, len(self))
        fields = self._as_dict()
        for field in _fields.ROW_FIELDS:
            if fields[field] is not None:
                fields[field] = take_rows(fields[field], rows)
        return self._new(fields)

    def __array__(self, dtype=None, copy=None):
        held = held_features(self.features)
        if self.given is not None or self.status is not None or self.purified:
            warn(
                f"{_NAME}: a bare array is made of the features, the labels are lost; read "
                ".features where that is meant, or wrap the transformer in OnFeatures.",
                LabelsDroppedWarning,
            )
        array = np.asarray(held, dtype=dtype)
        if copy is False and array is not held:
            raise ValueError(
                f"{_NAME}: expected the dtype of the features, {held.dtype}, for an array without "
                f"a copy, got {array.dtype}; do leave copy=False out."
            )
        # NumPy 1 has no copy=None in numpy.array.
        return array.copy() if copy else array

    # To look at

    def __repr__(self) -> str:
        return samples_text(self)

    def _repr_html_(self) -> str:
        return samples_html(self)
