"""Datasets of Hugging Face to containers, and purified labels into datasets."""

from typing import Any

import numpy as np

from skclean._blocks import own_column
from skclean._fields import VALUES
from skclean._frame import check_in_memory
from skclean._labels import is_missing, short, shown
from skclean._optional import import_optional
from skclean.embeddings.images import ImageItems
from skclean.samples import LabelledSamples


def from_huggingface(
    dataset: Any,
    features: Any = None,
    *,
    label: str | None = None,
    inputs: str | None = None,
    trusted: str | None = None,
    missing_label: Any = "auto",
) -> LabelledSamples:
    """A container out of columns of a Hugging Face dataset.

    Parameters
    ----------
    dataset : datasets.Dataset
        One split.
    features : str, list of str or None, default=None
        A column of numbers, lists of numbers, arrays or images: (n,) becomes (n, 1), images uint8
        arrays of one size, and the others stay as they are. A list of columns makes one row
        of them (n, d). None: there are no features yet (n, 0), for a featurizer of `inputs`.
    label : str or None, default=None
        Column of the given labels. Of a ClassLabel, classes are all its names, and -1 is missing.
    inputs : str or None, default=None
        Column of what the features come from. Images are decoded as they are needed.
    trusted : str or None, default=None
        Column of booleans; missing ones are False.
    missing_label : "auto", None or a label, default="auto"
        As in `LabelledSamples`.

    Raises
    ------
    ImportError
        If datasets is not installed: ``pip install skclean[interop]``.
    ValueError
        If it is not one split, a column is not there, or its rows are not of one shape.
    """
    name = "from_huggingface"
    _check_split(dataset, name)
    if features is None and inputs is None:
        raise ValueError(
            f"{name}: expected a column of features or of inputs, got neither; do name one of "
            f"{short(dataset.column_names)}."
        )
    for column in (features, label, inputs, trusted):
        _check_columns(dataset, column, name)
    fields: dict[str, Any] = {"missing_label": missing_label}
    if label is not None:
        fields["y"], fields["classes"] = _labels(dataset, label)
        if fields["classes"] is not None:
            fields["missing_label"] = None
    if inputs is not None:
        fields["inputs"] = _inputs(dataset, inputs)
    if trusted is not None:
        mask = np.array(dataset[trusted][:], dtype=object)
        mask[is_missing(mask)] = False
        if not all(isinstance(v, bool | np.bool_) for v in mask):
            raise ValueError(
                f"{name}: expected booleans in column {trusted!r} as trusted, got "
                f"{dataset.features[trusted]}; do cast the column."
            )
        fields["trusted"] = mask.astype(bool)
    return LabelledSamples(_features(dataset, features, name), **fields)


def to_huggingface(
    dataset: Any, samples: LabelledSamples, *, prefix: str = "purified_", soft: bool = False
) -> Any:
    """The dataset with the label fields of a container as further columns.

    Parameters
    ----------
    dataset : datasets.Dataset of n rows
    samples : LabelledSamples of n rows
        Of the same rows in the same order.
    prefix : str
        What the names of the new columns begin with, ``"purified_"`` by default.
    soft : bool, default=False
        Whether `proba` comes along, as lists of C numbers.

    Returns
    -------
    datasets.Dataset
        With columns label, status, label_proba, clean_proba, right_proba, in_distribution_proba,
        weight, trusted and proba, each behind `prefix`: those that the container has. The label is
        a ClassLabel if the classes are names: that of the first column of the dataset which has
        all of them, so that codes agree, and -1 where there is no label or the status is unknown.
        Other classes stay as they are, None where missing.

    Raises
    ------
    ImportError
        If datasets is not installed: ``pip install skclean[interop]``.
    ValueError
        If the number of rows differs, or a column of such a name is there already.
    """
    name = "to_huggingface"
    datasets = import_optional("datasets", "interop")
    _check_split(dataset, name)
    if len(dataset) != len(samples):
        raise ValueError(
            f"{name}: expected a container of {len(dataset)} rows, as many as the dataset, got "
            f"{len(samples)}; do pass the samples of this dataset."
        )
    columns: dict[str, Any] = {}
    columns["label"], kind = _label_column(dataset, samples, datasets)
    if samples.status is not None:
        columns["status"] = samples.status.tolist()
    if samples.purified and samples.proba is not None:
        columns["label_proba"] = own_column(samples.proba, samples.label_codes)
    for field in VALUES:
        if getattr(samples, field) is not None:
            columns[field] = getattr(samples, field)
    if soft:
        if samples.proba is None:
            raise ValueError(
                f"{name}: expected proba in the container for soft=True, got none; do purify the "
                "labels first."
            )
        check_in_memory(samples.proba, name, "proba", "soft=False")
        columns["proba"] = list(samples.proba)
    taken = [prefix + c for c in columns if prefix + c in dataset.column_names]
    if taken:
        raise ValueError(
            f"{name}: expected no columns {short(taken)} in the dataset, got them; do remove them: "
            "dataset.remove_columns, or pass another prefix."
        )
    added = datasets.Dataset.from_dict({prefix + c: v for c, v in columns.items()})
    if kind is not None:
        added = added.cast_column(f"{prefix}label", kind)
    return datasets.concatenate_datasets([dataset, added], axis=1)


def _check_split(dataset, name):
    datasets = import_optional("datasets", "interop")
    if not isinstance(dataset, datasets.Dataset):
        raise ValueError(
            f"{name}: expected a datasets.Dataset, got {type(dataset).__name__}; do take one split "
            "of a DatasetDict, and load without streaming."
        )


def _check_columns(dataset, columns, name):
    for column in [columns] if isinstance(columns, str) else columns or ():
        if column not in dataset.column_names:
            raise ValueError(
                f"{name}: expected a column of the dataset, got {shown(column)}; do choose from "
                f"{short(dataset.column_names)}."
            )


def _features(dataset, columns, name):
    if columns is None:
        return np.empty((len(dataset), 0), dtype=np.float32)
    if isinstance(columns, str):
        values = _values(dataset, columns, name)
        return values[:, None] if values.ndim == 1 else values
    rows = [_values(dataset, column, name).reshape(len(dataset), -1) for column in columns]
    return np.hstack(rows)


def _values(dataset, column, name):
    """A column as an array (n, ...) in its own dtype."""
    kind = dataset.features[column]
    options = {"dtype": np.float64} if "float64" in str(kind) else {}
    values = dataset.select_columns([column]).with_format("numpy", **options)[column][:]
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{name}: expected numbers of one shape in every row of column {column!r}, got {kind}; "
            "do bring them to one size, or pass images as inputs."
        )
    return values


def _labels(dataset, column):
    """Labels, and the class list where the column has one."""
    values, kind = dataset.with_format(None)[column][:], dataset.features[column]
    if not _is_class_label(kind):
        return values, None
    names = kind.names
    return [None if v is None or v < 0 else names[v] for v in values], np.unique(names)


def _inputs(dataset, column):
    if type(dataset.features[column]).__name__ == "Image":
        return ImageItems(_Column(dataset.select_columns([column]).with_format(None), column))
    values = np.empty(len(dataset), dtype=object)
    values[:] = dataset.with_format(None)[column][:]
    return values


class _Column:
    """The rows of one column, each read when it is asked for."""

    def __init__(self, dataset, column):
        self.dataset = dataset
        self.column = column

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, row):
        return self.dataset[row][self.column]


def _is_class_label(kind):
    return type(kind).__name__ == "ClassLabel"


def _label_column(dataset, samples, datasets):
    """The purified labels as a column, and the ClassLabel that it is to be, or None."""
    codes, classes = samples._known_codes(), samples.classes
    if classes.dtype.kind != "U":
        return [None if c < 0 else classes[c].item() for c in codes], None
    for kind in dataset.features.values():
        if _is_class_label(kind) and set(classes) <= set(kind.names):
            break
    else:
        kind = datasets.ClassLabel(names=classes.tolist())
    places = np.array([kind.str2int(str(c)) for c in classes])
    return np.where(codes < 0, -1, places[codes]), kind
