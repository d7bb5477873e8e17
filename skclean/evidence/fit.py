"""Scores of rows that have not seen their own label: what every cleaner starts from."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, check_cv

from skclean._array import array_namespace, from_numpy, is_dask, take_rows, to_numpy
from skclean._blocks import map_rows
from skclean.evidence.leave_one_out import (
    LeaveOneOutRidge,
    best_temperature,
    log_likelihood,
    surely_likelier,
    tempered_softmax,
)
from skclean.samples import LabelledSamples

#: Probabilities count as at least this before their logarithm is taken.
FLOOR = 1e-6


@dataclass
class Evidence:
    """Scores of the rows of a fit, and a model that scores others.

    Attributes
    ----------
    scores : array of shape (n, C)
        Rows with a given label are scored without it (unless the user asked for in-sample).
    temperature : float
        softmax(temperature * scores) are the class probabilities.
    model : fitted classifier or None
        None where the user brought probabilities.
    source : str
        Where the scores come from, in words.
    raw : bool
        Whether they are the regression's own scores, else logarithms of probabilities.
    in_sample : bool
        Whether rows were scored by a classifier that was fitted to their labels.
    floor : float
        Least probability of which the logarithm is taken.
    """

    scores: Any
    temperature: float
    model: Any
    source: str
    raw: bool = False
    in_sample: bool = False
    floor: float = FLOOR

    def proba(self, scores: Any | None = None) -> Any:
        """Class probabilities (n, C) of scores, by default those of the fit, in their dtype."""
        return tempered_softmax(self.scores if scores is None else scores, self.temperature)

    def informative(self, given: np.ndarray) -> bool:
        """Whether the scores predict the given labels better than the labels' frequencies do.

        By more than chance (`surely_likelier`). At the best temperature: what is sure of the true
        class is too sure of a noisy label.
        """
        gain = log_likelihood(self.scores, given, self.fitted_temperature(given))
        labelled = np.flatnonzero(given >= 0)
        share = np.bincount(given[labelled]) / len(labelled)
        return surely_likelier(gain[labelled] - np.log(share[given[labelled]]))

    def fitted_temperature(self, given: np.ndarray) -> float:
        """Factor of the scores that makes the given labels likeliest."""
        if self.raw:
            return self.temperature
        return best_temperature(self.scores, given, np.flatnonzero(given >= 0))

    def predict(self, samples: LabelledSamples, name: str) -> Any:
        """Scores (n, C) of rows that were not in the fit.

        Raises
        ------
        ValueError
            If the fit used the user's probabilities and these rows have none.
        """
        if self.model is None:
            if samples.proba is None or samples.purified:
                raise ValueError(
                    f"{name}: expected probabilities for rows that were not in the fit, as the fit "
                    "used those of its container, got none; do pass LabelledSamples(..., proba=...)"
                    " or set estimator."
                )
            return log_proba(samples.proba, self.floor)
        return _score(self.model, samples.features, samples.classes, self.floor, self.raw)


def fit_evidence(
    samples: LabelledSamples,
    estimator: Any = None,
    cv: Any = None,
    groups: np.ndarray | None = None,
    *,
    weight: np.ndarray | None = None,
    soft: Any = None,
    floor: float = FLOOR,
    random_state: Any = 0,
    n_jobs: int | None = None,
    name: str,
) -> Evidence:
    """Score the rows of a container.

    Parameters
    ----------
    samples : LabelledSamples
        Given labels of at least two classes; rows without one are scored by the fitted model.
    estimator : classifier or None
        None takes the probabilities that the user put in the container, and `LeaveOneOutRidge`
        where there are none. The purified soft labels of an earlier step are no evidence: they
        have seen the given ones.
    cv : int, splitter or None
        Folds in which the classifier is fitted; None judges rows by a classifier that saw them,
        except for `LeaveOneOutRidge`, which leaves each out by itself.
    groups : ndarray of shape (n,), int64, or None
        Rows that never judge each other.
    weight : ndarray of shape (n,) or None
        Weights of the rows in `LeaveOneOutRidge`.
    soft : array of shape (n, C) or None
        Soft labels that `LeaveOneOutRidge` is fitted to in place of the given ones.
    floor : float
        Least probability of which the logarithm is taken.
    random_state : int
        Shuffles the folds.
    n_jobs : int or None
        Processes for the folds.
    name : str
        Who speaks in errors.

    Raises
    ------
    ValueError
        If the classifier has no `predict_proba`, or `groups` come without folds.
    """
    if estimator is None and samples.proba is not None and not samples.purified:
        scores = log_proba(samples.proba, floor)
        return Evidence(scores, 1.0, None, "probabilities of the container", floor=floor)
    estimator = LeaveOneOutRidge() if estimator is None else estimator
    missing = np.flatnonzero(samples.given < 0)
    if isinstance(estimator, LeaveOneOutRidge) and cv is None:
        model = clone(estimator)
        model._validate_params()
        if len(missing):
            weight = np.where(samples.given < 0, 0.0, 1.0 if weight is None else weight)
        codes = np.maximum(samples.given, 0)
        n_classes = len(samples.classes)
        model._fit_codes(samples.features, codes, n_classes, groups, weight, soft)
        scores = model.loo_scores_
        # They are kept once, in the evidence.
        del model.loo_scores_
        return Evidence(scores, model.temperature_, model, "leave-one-out least squares", True)
    if is_dask(samples.features):
        raise ValueError(
            f"{name}: expected LeaveOneOutRidge or the container's probabilities as evidence of a "
            f"dask array, got a {type(estimator).__name__}; do leave estimator and cv out, pass "
            "LabelledSamples(X, y, proba=...), or X.compute() where it fits."
        )
    labelled = np.flatnonzero(samples.given >= 0)
    features = take_rows(samples.features, labelled) if len(missing) else samples.features
    codes, groups = samples.given[labelled], None if groups is None else groups[labelled]
    folds = None if cv is None else _folds(cv, codes, groups, random_state)
    _check_classifier(estimator, folds, groups, name)
    labels = samples.classes[codes]
    model = clone(estimator).fit(features, labels)
    if folds is None:
        scores = _score(model, features, samples.classes, floor)
    else:
        try:
            parts = Parallel(n_jobs=n_jobs)(
                delayed(_fit_and_score)(
                    estimator, features, labels, train, test, samples.classes, floor
                )
                for train, test in folds.split(codes, codes, groups)
            )
        except ValueError as error:
            raise ValueError(
                f"{name}: expected folds to which a {type(estimator).__name__} can be fitted, got "
                f"an error in one of them ({error}); do lower cv, or pass a splitter that leaves "
                "rows of two classes to learn from."
            ) from error
        scores = _scatter(parts, len(codes), name)
    if len(missing):
        others = _score(model, take_rows(samples.features, missing), samples.classes, floor)
        scores = _scatter([(labelled, scores), (missing, others)], len(samples), name)
    how = "in-sample" if folds is None else "cross-fitted"
    source = f"{how} {type(estimator).__name__}"
    return Evidence(scores, 1.0, model, source, in_sample=folds is None, floor=floor)


def log_proba(proba: Any, floor: float = FLOOR) -> Any:
    """Logarithm of probabilities, none below `floor`."""

    def log(proba):
        xp = array_namespace(proba)
        return xp.log(xp.clip(proba, floor, None))

    return map_rows(log, proba)


def _check_classifier(estimator, folds, groups, name):
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"{name}: expected an estimator with predict_proba, got {type(estimator).__name__}; do "
            "wrap it in CalibratedClassifierCV, or use another."
        )
    if groups is not None and folds is None:
        raise ValueError(
            f"{name}: expected cv beside groups for a {type(estimator).__name__}, got None; do set "
            "cv, or leave estimator out."
        )


def _score(model, features, classes, floor, raw=False):
    if raw:
        return model._ridge.predict(features)
    found = model.predict_proba(features)
    xp = array_namespace(found)
    held = to_numpy(found)
    proba = np.zeros((len(held), len(classes)), dtype=held.dtype)
    proba[:, np.searchsorted(classes, to_numpy(model.classes_))] = held
    return xp.astype(from_numpy(log_proba(proba, floor), found), found.dtype)


def _fit_and_score(estimator, features, labels, train, test, classes, floor):
    model = clone(estimator).fit(take_rows(features, train), labels[train])
    return test, _score(model, take_rows(features, test), classes, floor)


def _folds(cv, codes, groups, random_state):
    if not isinstance(cv, Integral):
        return check_cv(cv)
    if groups is not None:
        return GroupKFold(cv)
    counts = np.bincount(codes)
    kind = StratifiedKFold if counts[counts > 0].min() >= cv else KFold
    return kind(cv, shuffle=True, random_state=random_state)


def _scatter(parts, n, name):
    """Rows of parts [(rows, values), ...] in their places; every row must be in one part."""
    rows = np.concatenate([rows for rows, _ in parts])
    values = array_namespace(parts[0][1]).concat([values for _, values in parts])
    if len(rows) != n or len(np.unique(rows)) != n:
        raise ValueError(
            f"{name}: expected cv to put each of {n} rows in one test fold, got {len(rows)} rows, "
            f"{len(np.unique(rows))} of them different; do use a partition such as KFold."
        )
    back = np.empty(n, dtype=np.int64)
    back[rows] = np.arange(n)
    return take_rows(values, back)
