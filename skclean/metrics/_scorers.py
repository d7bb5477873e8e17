"""Scorers for cross-validation on noisy labels: on trusted rows, or corrected for the noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils.metadata_routing import MetadataRequest

from skclean._fields import check_trusted
from skclean._labels import is_missing, label_array
from skclean._validation import take_any_rows
from skclean.metrics._corrected import noise_corrected_accuracy
from skclean.samples import LabelledSamples


def trusted_accuracy(y: Any, y_pred: Any, trusted: Any) -> float:
    """Accuracy over the trusted rows alone.

    Parameters
    ----------
    y : array-like of shape (n,)
        Given labels, right in the trusted rows.
    y_pred : array-like of shape (n,)
        Predicted labels.
    trusted : array-like of bool of shape (n,)
        Rows that count.

    Returns
    -------
    accuracy : float in [0, 1]

    Raises
    ------
    ValueError
        If lengths differ, `trusted` is no boolean mask with one value a row, or has no True.
    """
    check_consistent_length(y, y_pred)
    rows = _trusted_rows(trusted, len(y), "trusted_accuracy")
    y, y_pred = (_labels_of(labels, rows, "trusted_accuracy") for labels in (y, y_pred))
    return float(accuracy_score(y, y_pred))


class TrustedScorer:
    """Scorer that predicts and scores the trusted rows alone.

    It is called as ``scorer(estimator, X, y, trusted=mask)``. In `GridSearchCV` and
    `cross_validate` the mask comes through scikit-learn's metadata routing, which is to be
    switched on first: ``sklearn.set_config(enable_metadata_routing=True)``, then
    ``GridSearchCV(pipe, grid, scoring=trusted_accuracy_scorer).fit(X, y, trusted=mask)``. Where
    X is a `LabelledSamples` with trusted rows, its own mask is used if none is passed. Without a
    mask it raises, which a search reports as a warning for each fit, and goes on, unless
    ``error_score="raise"``.

    Parameters
    ----------
    score_func : callable, default=sklearn.metrics.accuracy_score
        ``score_func(y_true, y_pred)``, greater being better.
    """

    def __init__(self, score_func: Callable = accuracy_score) -> None:
        self.score_func = score_func

    def __call__(self, estimator: Any, X: Any, y: Any = None, *, trusted: Any = None) -> float:
        """Score of the predictions for the trusted rows.

        Parameters
        ----------
        estimator : object
            Fitted, with `predict`.
        X : array-like of shape (n, d) or LabelledSamples
            Rows to score.
        y : array-like of shape (n,) or None, default=None
            Given labels. None takes those of the container.
        trusted : array-like of bool of shape (n,) or None, default=None
            Rows that count. None takes those of the container.

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If there is no mask, it is no boolean mask of n rows, no row is trusted, or lengths
            differ.
        """
        if trusted is None and isinstance(X, LabelledSamples):
            trusted = X.trusted
        y = _given_labels(X, y, "TrustedScorer")
        check_consistent_length(X, y)
        rows = _trusted_rows(trusted, len(y), "TrustedScorer")
        predicted = estimator.predict(take_any_rows(X, rows))
        return float(self.score_func(_labels_of(y, rows, "TrustedScorer"), predicted))

    def get_metadata_routing(self) -> MetadataRequest:
        """The request of `trusted` for scikit-learn's metadata routing.

        Returns
        -------
        request : sklearn.utils.metadata_routing.MetadataRequest
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="trusted", alias=True)
        return request

    def __repr__(self):
        return f"TrustedScorer({getattr(self.score_func, '__name__', self.score_func)})"


#: Accuracy over the trusted rows; a `TrustedScorer`.
trusted_accuracy_scorer = TrustedScorer()


def noise_corrected_scorer(transition: Any = None, *, classes: Any = None) -> Callable:
    """Make a scorer that estimates the accuracy on the true labels from the noisy ones.

    The score is `noise_corrected_accuracy` of the predictions.

    Parameters
    ----------
    transition : array-like of shape (C, C) or None, default=None
        P(given = column | true = row). None takes `transition_matrix_` of the fitted estimator:
        of a Pipeline the last step that has one. Pass one matrix where the candidates of a
        search estimate different ones: a candidate that believes in more noise would be
        corrected more, and win by it.
    classes : array-like of shape (C,) or None, default=None
        The sorted classes of `transition`. None takes `classes_` of the estimator, which lack a
        class that a fold has no row of: name them beside a matrix of your own.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` with y the noisy labels; for the `scoring` parameter of
        `GridSearchCV` and `cross_validate`. It raises ValueError where no transition matrix is
        found.
    """
    return _NoiseCorrectedScorer(transition, classes)


class _NoiseCorrectedScorer:
    """What `noise_corrected_scorer` returns; a class, so that it can be pickled and cloned."""

    def __init__(self, transition, classes):
        self.transition = transition
        self.classes = classes

    def __call__(self, estimator, X, y=None):
        transition, classes = self.transition, self.classes
        if transition is None:
            cleaner = _find_cleaner(estimator)
            if cleaner is None:
                raise ValueError(
                    f"noise_corrected_scorer: expected an estimator with transition_matrix_, got "
                    f"{type(estimator).__name__} without; do pass transition."
                )
            transition = cleaner.transition_matrix_
            classes = cleaner.classes_ if classes is None else classes
        elif classes is None:
            classes = estimator.classes_
        y = _given_labels(X, y, "noise_corrected_scorer")
        return noise_corrected_accuracy(y, estimator.predict(X), transition, classes=classes)

    def __repr__(self):
        return f"noise_corrected_scorer({'' if self.transition is None else '...'})"


def _find_cleaner(estimator):
    """The last fitted part of an estimator that has a transition matrix, or None."""
    if hasattr(estimator, "transition_matrix_"):
        return estimator
    for part in [part for _, part in getattr(estimator, "steps", [])][::-1] + [
        getattr(estimator, name, None) for name in ("best_estimator_", "estimator_")
    ]:
        if part is not None and (found := _find_cleaner(part)) is not None:
            return found
    return None


def _given_labels(X, y, name):
    """y, or the given labels that a container carries."""
    if y is not None:
        return y
    if not isinstance(X, LabelledSamples) or X.given is None:
        raise ValueError(f"{name}: expected y, got None; do pass the given labels.")
    return X.given_labels()


def _labels_of(y, rows, name):
    """Labels of rows in their own dtype, which among missing ones is that of objects."""
    taken = take_any_rows(y, rows)
    labels = label_array(taken)
    if labels.dtype != object:
        return taken
    missing = is_missing(labels)
    if missing.any():
        raise ValueError(
            f"{name}: expected a label in every trusted row, got none in {missing.sum()} of them, "
            f"the first {rows[np.argmax(missing)]}; do leave those rows out of trusted."
        )
    return np.asarray(labels.tolist())


def _trusted_rows(trusted, n, name):
    """Positions of the trusted rows, at least one, or an error of `name`."""
    if trusted is None:
        raise ValueError(
            f"{name}: expected a mask of trusted rows, got none; do fit the search to "
            "LabelledSamples(X, y, trusted=mask), or call "
            "sklearn.set_config(enable_metadata_routing=True) and fit(X, y, trusted=mask). With "
            "error_score='raise' a search stops at the first such error."
        )
    rows = np.flatnonzero(check_trusted(trusted, np.zeros(n, dtype=np.int64), n, name))
    if not len(rows):
        raise ValueError(
            f"{name}: expected at least one trusted row among the {n} to score, got none; "
            "do use fewer folds, or a splitter that is stratified over the mask."
        )
    return rows
