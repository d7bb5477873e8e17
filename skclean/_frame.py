"""A container as a pandas DataFrame."""

from typing import Any

import numpy as np

from skclean._array import to_numpy
from skclean._fields import UNKNOWN
from skclean._optional import import_optional


def samples_to_frame(samples: Any, features: bool) -> Any:
    """The work of `LabelledSamples.to_frame`, apart because pandas is optional."""
    pd = import_optional("pandas", "report")
    columns: dict[str, Any] = {}
    if features:
        names = samples.feature_names
        names = [f"x{j}" for j in range(samples.n_features)] if names is None else names
        columns.update(zip(names, to_numpy(samples.features).T, strict=True))
    if samples.given is not None:
        columns["given"] = pd.Categorical.from_codes(samples.given, samples.classes)
    if samples.purified:
        codes, status = samples.label_codes, samples.status_codes
        known = codes if status is None else np.where(status == UNKNOWN, -1, codes)
        columns["label"] = pd.Categorical.from_codes(known, samples.classes)
        if status is not None:
            columns["status"] = samples.status
        if samples.proba is not None:
            columns["label_proba"] = samples.proba[np.arange(len(codes)), codes]
    probabilities = ("clean_proba", "right_proba", "in_distribution_proba")
    for field in (*probabilities, "weight", "trusted"):
        if getattr(samples, field) is not None:
            columns[field] = getattr(samples, field)
    return pd.DataFrame(columns, index=samples.index)
