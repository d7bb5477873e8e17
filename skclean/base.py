"""BaseCleaner: the template of every cleaner."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.utils.validation import check_is_fitted

from skclean._array import is_dask, take_rows
from skclean._blocks import held, joined_rows
from skclean._device import to_device
from skclean._fields import KEPT, RESULTS, STATUSES, TRUSTED, UNKNOWN
from skclean._output import TransformsSamples
from skclean._validation import (
    check_groups,
    check_names,
    check_two_classes,
    open_samples,
    unchanged_if_failed,
)
from skclean.decision.summary import LabelAudit, audit_labels
from skclean.linalg.rows import RowIndex
from skclean.samples import LabelledSamples

#: What a row holds in a field that its part of a batch does not have.
_ABSENT = {
    "given": -1,
    "clean_proba": np.nan,
    "right_proba": np.nan,
    "in_distribution_proba": np.nan,
    "weight": 1,
    "trusted": False,
}


class BaseCleaner(OneToOneFeatureMixin, TransformsSamples, BaseEstimator):
    """Turn (X, y_noisy) into purified labels: the part that all cleaners share.

    A subclass says what it learns and how it judges, by two methods that take and return a
    `LabelledSamples`; features and given labels must come back as they were.

    - ``_fit_samples(samples, groups)``: learn, and return the purified rows of the fit. `samples`
      has given labels of at least two classes, -1 where missing, and maybe `trusted`, `proba` and
      the purified labels of an earlier step; `groups` are int64 codes or None. The result needs
      `proba` and `status`.
    - ``_transform_samples(samples)``: judge rows that were not in the fit. Where `given` is -1
      (or None) the label is predicted, status predicted; elsewhere it is purified with the fitted
      state. `classes` are those of the fit.

    Where the labels of `fit` may have missing values of their own kind, the subclass has a
    parameter ``missing_label``; where the user may choose a device, a parameter ``device``.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The user's classes, sorted.
    n_features_in_ : int
        Number of features in the fit.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.
    label_distributions_ : ndarray of shape (n, C)
        Purified soft labels of the rows of the fit.
    transduction_ : ndarray of shape (n,)
        Purified hard labels of the rows of the fit, in the user's classes.
    clean_proba_ : ndarray of shape (n,)
        Probability that the given label is right, if the cleaner tells.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged, if the cleaner tells.
    right_proba_ : ndarray of shape (n,)
        Probability that the predicted label is right, if the cleaner tells.
    """

    _parameter_constraints: dict = {}
    #: Whether clean_proba are probabilities, so that their sum is a number of labels.
    _tells_how_many = True
    #: What to do where the probabilities that a user put in the container are not used.
    _proba_advice = ""
    #: Whether all is done in passes over the rows, so that dask arrays are understood.
    _in_passes = True

    def fit(self, X: Any, y: Any = None, *, trusted: Any = None, groups: Any = None) -> Self:
        """Learn which labels are wrong; a fit that fails or is interrupted changes nothing.

        Parameters
        ----------
        X : LabelledSamples, array or DataFrame of shape (n, d)
            Features, or a container of features and given labels. Of a dask array, chunked by rows,
            every pass is run by the scheduler that is current, and never are all rows in one place:
            the result has dask arrays as `features` and `proba`. Features on a GPU stay there;
            labels and `proba` come to the host.
        y : array-like of shape (n,) or None, default=None
            The given labels. With a container that carries labels they must agree with those.
        trusted : array-like of bool of shape (n,) or None, default=None
            Rows whose given label is known to be right.
        groups : array-like of shape (n,) or None, default=None
            Rows of one group never judge each other.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If features, labels or masks are not as they must be; the message says what to do.
        """
        self._fit(X, y, trusted, groups)
        return self

    def fit_transform(
        self, X: Any, y: Any = None, *, trusted: Any = None, groups: Any = None
    ) -> LabelledSamples:
        """Purify the labels of the rows: what ``fit(X, y).transform(X)`` gives.

        Parameters and errors are those of `fit`.

        Returns
        -------
        LabelledSamples of n rows
        """
        return self._fit(X, y, trusted, groups)

    def transform(self, X: Any) -> LabelledSamples:
        """Purified labels of rows of the fit, and predicted or purified ones of other rows.

        Rows of the fit are recognised by their content, also shuffled, sliced, and changed in
        their last bits; they get what the fit found. Other rows, and rows that come with another
        given label than in the fit or are trusted now and were not then (or the reverse), are
        judged with the fitted state: purified where they carry a given label, predicted from
        their features elsewhere. Weights that come with the rows are kept, unless the cleaner
        sets its own.

        Parameters
        ----------
        X : LabelledSamples, array or DataFrame of shape (m, d)

        Returns
        -------
        LabelledSamples of m rows

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the features are not as in the fit, or a given label is not in `classes_`.
        """
        check_is_fitted(self)
        samples = open_samples(X, estimator=self, reset=False, require_labels=False)
        samples = samples._with_classes(self.classes_, type(self).__name__)
        if self._is_batch_of_fit(samples):
            return samples._replace(**self._results(samples, np.arange(len(samples))))
        return _judge_readable(samples, self._transform_readable)

    def _is_batch_of_fit(self, samples):
        """Whether these are all rows of the fit in order, some of which could not be read."""
        read = _readable_rows(samples)
        if read is None or not np.array_equal(read, self._read):
            return False
        given, fitted = samples.given, self._purified.given
        same = len(samples) == len(fitted) and (given is None or np.array_equal(given, fitted))
        if not same or self._trust_changed(samples, np.arange(len(fitted))).any():
            return False
        return np.array_equal(self._match(samples[read]), read)

    def _match(self, samples):
        """Rows of the fit that these rows, which could be read, are; -1 for others."""
        seen = self._rows.match(samples.features, samples.given)
        return seen if self._read is None else np.where(seen < 0, -1, self._read[seen])

    def _transform_readable(self, samples):
        seen = self._match(samples)
        seen[self._trust_changed(samples, seen)] = -1
        new = np.flatnonzero(seen < 0)
        if not len(new):
            return samples._replace(**self._results(samples, seen))
        rows = samples if len(new) == len(seen) else samples[new]
        judged = self._transform_samples(self._on_device(rows))
        if len(new) == len(seen):
            return judged._replace(features=samples.features)
        old = np.flatnonzero(seen >= 0)
        parts = [(old, self._results(samples[old], seen[old])), (new, judged._as_dict())]
        return samples._replace(**_merge(parts, len(seen)))

    def audit(self) -> LabelAudit:
        """Whether cleaning is worth it: how many labels of the fit are wrong, and in which classes.

        Returns
        -------
        LabelAudit
            Printed, it says so in a sentence.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the cleaner does not tell how likely the given labels are right.
        """
        check_is_fitted(self)
        rows = self._purified
        if rows.clean_proba is None or not self._tells_how_many:
            found = "none" if rows.clean_proba is None else "a ranking"
            raise ValueError(
                f"{type(self).__name__}: expected a cleaner whose clean_proba are probabilities, "
                f"got {found} from this fit; do use another cleaner, e.g. TransitionCleaner."
            )
        flagged = ~np.isin(rows.status_codes, (KEPT, TRUSTED))
        informative = getattr(self, "informative_", True)
        doubted = getattr(self, "_doubted_share", 0.0)
        return audit_labels(
            self.clean_proba_, flagged, rows.given, self.classes_, informative, doubted
        )

    def _fit(self, X, y, trusted, groups):
        with unchanged_if_failed(self):
            return self._fit_all(X, y, trusted, groups)

    def _fit_all(self, X, y, trusted, groups):
        self._validate_params()
        samples = open_samples(
            X,
            y,
            estimator=self,
            trusted=trusted,
            missing_label=getattr(self, "missing_label", "auto"),
            reset=True,
            require_labels=True,
        )
        groups = check_groups(groups, len(samples), self)
        self._check_dask(samples, groups)
        host, samples = samples.features, self._on_device(samples)
        purified = self._learn(samples, groups)
        self._read = _readable_rows(samples)
        features, read = samples.features, purified
        if self._read is not None:
            features, read = take_rows(features, self._read), purified[self._read]
        known = X._known_rows if isinstance(X, LabelledSamples) else None
        if known is not None and known.is_of(features, read.given):
            self._rows = known.with_outcome(_outcomes(read))
        else:
            self._rows = RowIndex(features, _outcomes(read), read.given)
        self._share_index()
        return purified._replace(features=host)._with_known_rows(self._rows)

    def _fit_inside(self, samples, groups):
        """`fit_transform` of rows that a cleaner around this one has opened, and will index."""
        self._validate_params()
        check_two_classes(samples, type(self).__name__)
        self._check_dask(samples, groups)
        check_names(self, samples.feature_names, reset=True)
        self.n_features_in_ = samples.n_features
        self._rows = self._read = None
        return self._learn(self._on_device(samples), groups)._replace(features=samples.features)

    def _transform_inside(self, samples):
        """`transform` of rows that a cleaner around this one has opened, and not found again."""
        judged = self._transform_samples(self._on_device(samples))
        return judged._replace(features=samples.features)

    def _cleaners_inside(self):
        """The fitted cleaners, fitted by `_fit_inside` to the rows of the fit."""
        return []

    def _share_index(self):
        for cleaner in self._cleaners_inside():
            # Rows that could not be read never come so far.
            cleaner._rows, cleaner._read = self._rows, None
            cleaner._share_index()

    def _learn(self, samples, groups):
        """Fit, and keep what is known about the rows but for their index."""
        purified = _judge_readable(samples, self._fit_samples, groups)
        self.classes_ = purified.classes
        self.label_distributions_ = purified.proba
        self.transduction_ = purified.labels
        learned = {"clean_proba_": purified.clean_proba, "right_proba_": purified.right_proba}
        if purified.clean_proba is not None:
            learned["noise_rate_"] = float(1 - np.nanmean(purified.clean_proba))
        for attribute in ("clean_proba_", "right_proba_", "noise_rate_"):
            if learned.get(attribute) is not None:
                setattr(self, attribute, learned[attribute])
            elif hasattr(self, attribute):
                delattr(self, attribute)
        # The features of the fit are not kept: the index knows its rows by their projections.
        self._purified = purified._replace(features=np.empty((len(purified), 0)), inputs=None)
        self._sets_weight = not np.array_equal(purified.weight, samples.weight)
        return purified

    def _on_device(self, samples):
        name, device = type(self).__name__, getattr(self, "device", None)
        return samples._replace(features=to_device(samples.features, device, name))

    def _check_dask(self, samples, groups):
        name, unread = type(self).__name__, samples.readable is not None
        if not (is_dask(samples.features) or is_dask(samples.proba)):
            return
        if not self._in_passes:
            raise ValueError(
                f"{name}: expected an array in memory, as rows are drawn at random, got a dask "
                "array; do X.compute() where it fits, or use TransitionCleaner."
            )
        if groups is not None or unread:
            raise ValueError(
                f"{name}: expected no {'readable mask' if unread else 'groups'} beside a dask "
                "array, got one; do leave those rows out, or X.compute() where it fits."
            )

    def _trust_changed(self, samples, seen):
        """Mask of the rows that are trusted now and were not in the fit, or the reverse."""
        if samples.trusted is None:
            return np.zeros(len(seen), dtype=bool)
        before = self._purified.trusted
        before = np.zeros(len(self._purified), dtype=bool) if before is None else before
        return (seen >= 0) & (samples.trusted != before[seen])

    def _results(self, samples, rows):
        """What the fit found for its `rows`, which come again as `samples`."""
        fitted = self._purified
        if not np.array_equal(rows, np.arange(len(fitted))):
            fitted = fitted[rows]
        fields = fitted._as_dict()
        if not is_dask(samples.features):
            fields["proba"] = held(fields["proba"])
        if samples.weight is not None and not self._sets_weight:
            fields["weight"] = samples.weight
        return {field: fields[field] for field in RESULTS}

    def _fit_samples(self, samples: LabelledSamples, groups: np.ndarray | None) -> LabelledSamples:
        raise NotImplementedError(f"{type(self).__name__} must define _fit_samples")

    def _transform_samples(self, samples: LabelledSamples) -> LabelledSamples:
        raise NotImplementedError(f"{type(self).__name__} must define _transform_samples")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _readable_rows(samples):
    """Positions of the rows that could be read; None where all could."""
    if samples.readable is None or samples.readable.all():
        return None
    return np.flatnonzero(samples.readable)


def _judge_readable(samples, judge, *rowwise):
    """The rows that could be read, judged by themselves, among those that could not."""
    rows = _readable_rows(samples)
    if rows is None:
        return judge(samples, *rowwise)
    blank = np.flatnonzero(~samples.readable)
    judged = judge(samples[rows], *(None if v is None else v[rows] for v in rowwise))
    n_classes = len(judged.classes)
    nothing = {
        "given": samples._given_codes()[blank],
        "label_codes": np.zeros(len(blank), dtype=np.int64),
        "status_codes": np.full(len(blank), UNKNOWN, dtype=np.int8),
        "proba": np.full((len(blank), n_classes), 1 / n_classes, dtype=judged.proba.dtype),
        "trusted": None if samples.trusted is None else samples.trusted[blank],
        "weight": np.zeros(len(blank)) if samples.weight is None else samples.weight[blank],
    }
    if judged.weight is None:
        nothing["weight"] = None
    parts = [(rows, judged._as_dict()), (blank, dict.fromkeys(RESULTS) | nothing)]
    return samples._replace(**_merge(parts, len(samples)))


def _outcomes(purified):
    """Rows of the same outcome may stand for each other: given label, verdict and label agree."""
    n_classes = len(purified.classes)
    trusted = 0 if purified.trusted is None else purified.trusted
    outcome = (purified.given + 1) * (n_classes + 1) + purified.label_codes + 1
    return (outcome * len(STATUSES) + purified.status_codes) * 2 + trusted


def _merge(parts, n):
    """Fields of n rows out of parts, each of some rows: [(rows, fields), ...]."""
    merged = {}
    for field in RESULTS:
        values = [fields[field] for _, fields in parts]
        present = [v for v in values if v is not None]
        if not present:
            merged[field] = None
            continue
        if any(is_dask(v) for v in present):
            merged[field] = joined_rows(
                [(rows, v) for (rows, _), v in zip(parts, values, strict=True)]
            )
            continue
        out = np.empty((n, *present[0].shape[1:]), dtype=np.result_type(*present))
        for (rows, _), value in zip(parts, values, strict=True):
            out[rows] = _ABSENT[field] if value is None else value
        merged[field] = out
    return merged
