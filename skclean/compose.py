"""OnFeatures and PurifiedClassifier: scikit-learn's estimators inside a pipeline of containers."""

from copy import copy
from inspect import signature
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skclean._array import is_dask, take_rows
from skclean._blocks import few_rows, lazy_rows
from skclean._features import is_arrow
from skclean._optional import import_optional
from skclean._output import TransformsSamples
from skclean._training_data import (
    check_classifier,
    check_trainable,
    copy_feature_attributes,
    hard_training_data,
    labelled_rows,
    labels_to_score,
    learns_from_labels,
    named_columns,
    soft_training_data,
)
from skclean._validation import (
    HasMethods,
    StrOptions,
    check_given_matches,
    check_names,
    open_features,
    open_samples,
    take_any_rows,
)
from skclean.samples import LabelledSamples


class OnFeatures(TransformsSamples, MetaEstimatorMixin, BaseEstimator):
    """Apply a transformer to the features inside a container; the labels travel along.

    On bare arrays it behaves as the transformer itself, on a table of Arrow as on the DataFrame of
    pandas that holds the same.

    Parameters
    ----------
    transformer : estimator with fit and transform, or None, default=None
        It is cloned. None leaves the features as they are. A transformer that cannot be fitted
        without y learns from the purified labels of the container, rows of status unknown left out.
        It gets an array, or a DataFrame where a ColumnTransformer in it names columns, which takes
        a container made of a DataFrame.

    Attributes
    ----------
    transformer_ : estimator
        The fitted transformer.
    n_features_in_ : int
        Number of features in the fit.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings. Those of the transformed features,
        if the transformer tells them, travel with the container.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skclean.compose import OnFeatures
    >>> from skclean.samples import LabelledSamples
    >>> samples = LabelledSamples([[0.0], [2.0]], ["cat", "dog"])
    >>> OnFeatures(StandardScaler()).fit_transform(samples).features.ravel()
    array([-1.,  1.])
    """

    _parameter_constraints = {"transformer": [HasMethods(["fit", "transform"]), None]}

    def __init__(self, transformer: Any = None) -> None:
        self.transformer = transformer

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformer on the features.

        Parameters
        ----------
        X : LabelledSamples, array or DataFrame of shape (n, d)
        y : array-like of shape (n,) or None, default=None
            Handed to the transformer with a bare array. With a container that carries labels it
            must agree with those given.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `y` differs from the container's given labels, and as the transformer raises.
        """
        self._start()
        X = _of_pandas(X)
        if isinstance(X, LabelledSamples):
            self._fit_container(X, y)
            return self._finish(X)
        self.transformer_.fit(X, y)
        return self._finish()

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit the transformer on the features and transform them; see `fit` and `transform`."""
        if isinstance(X, LabelledSamples):
            return self.fit(X, y).transform(X)
        self._start()
        X = _of_pandas(X)
        if hasattr(self.transformer_, "fit_transform"):
            features = self.transformer_.fit_transform(X, y)
        else:
            features = self.transformer_.fit(X, y).transform(X)
        self._finish()
        return features

    def transform(self, X: Any) -> Any:
        """The container with transformed features, or the transformed array.

        Features on dask stay there, and are transformed chunk by chunk whenever they are read.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If a container has other feature names than in the fit, and as the transformer raises.
        """
        check_is_fitted(self)
        X = _of_pandas(X)
        if not isinstance(X, LabelledSamples):
            if not self._of_names:
                return self.transformer_.transform(X)
            if not _is_frame(X):
                names = self.feature_names_in_
                return self.transformer_.transform(named_columns(X, self.transformer_, names, self))
            # The transformer has seen no names; the next step has, and is to see them again.
            found = self.transform(LabelledSamples(X))
            if found.feature_names is None:
                return found.features
            if hasattr(X, "iloc"):
                return type(X)(found.features, columns=found.feature_names, index=found.index)
            return type(X)(found.features, schema=found.feature_names.tolist())
        check_names(self, X.feature_names, reset=False)
        if is_dask(X.features):
            made = LabelledSamples(self._transformed(few_rows(X.features, slice(1))))
            # Chunks are transformed as now, even if this is fitted anew before they are read.
            features = lazy_rows(copy(self)._transformed_chunk, X.features, made.features)
            samples = X.with_features(features)
        else:
            samples = made = X.with_features(self._transformed(X.features))
        named = hasattr(self, "feature_names_in_")
        names = self._names_out(samples.features.shape[1]) if named else None
        names = made.feature_names if names is None else names
        return samples._replace(index=X.index, feature_names=names)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features that the transformer puts out."""
        check_is_fitted(self)
        names_out = self.transformer_.get_feature_names_out
        if input_features is None and self._of_names:
            input_features = self.feature_names_in_
        return names_out(input_features) if signature(names_out).parameters else names_out()

    def _transformed(self, features):
        names = getattr(self, "feature_names_in_", None)
        return self.transformer_.transform(named_columns(features, self.transformer_, names, self))

    def _transformed_chunk(self, features):
        # Of a copy: others read the chunk, too, and transformers may write to what they are given.
        return LabelledSamples(self._transformed(features.copy())).features

    def _names_out(self, n_features):
        """Names of so many features, None where the transformer, or a step of it, does not tell."""
        try:
            names = self.get_feature_names_out()
        except (AttributeError, NotImplementedError, ValueError):
            # ValueError: a step made names of its own of the bare features.
            return None
        return names if len(names) == n_features else None

    def _start(self):
        self._validate_params()
        self.transformer_ = clone(self._wrapped())

    def _finish(self, container=None):
        copy_feature_attributes(self.transformer_, self)
        self._of_names = container is not None and container.feature_names is not None
        if self._of_names:
            self.feature_names_in_ = container.feature_names
        return self

    def _fit_container(self, samples, y):
        labelled = samples.given is not None or samples.purified
        if labelled:
            check_given_matches(samples, y, self)
            y = None
        if labelled and learns_from_labels(self.transformer_):
            rows = np.flatnonzero(samples.known)
            y = samples.classes[samples._codes()[rows]]
        else:
            rows = slice(None) if samples.readable is None else np.flatnonzero(samples.readable)
            y = None if y is None else take_any_rows(y, rows)
        features, names = take_rows(samples.features, rows), samples.feature_names
        self.transformer_.fit(named_columns(features, self.transformer_, names, self), y)

    def _wrapped(self):
        # Validation makes the identity check its input as any other transformer does.
        identity = FunctionTransformer(validate=True, feature_names_out="one-to-one")
        return identity if self.transformer is None else self.transformer

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._wrapped())
        tags.input_tags = inner.input_tags
        tags.target_tags = inner.target_tags
        tags.transformer_tags = inner.transformer_tags
        return tags


def _of_pandas(X):
    """X, but a table of Arrow, of which scikit-learn takes no columns, as a DataFrame of pandas."""
    if not is_arrow(X):
        return X
    import_optional("pandas", "report")
    return X.to_pandas(ignore_metadata=True)


def _is_frame(X):
    """Whether X is a DataFrame of pandas or polars."""
    return hasattr(X, "iloc") or any(isinstance(c, str) for c in getattr(X, "columns", ()))


def _inner_has(method):
    def check(self):
        fitted = hasattr(self, "estimator_")
        getattr(self.estimator_ if fitted else self._wrapped(), method)
        return True

    return check


class PurifiedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Train a classifier on the purified labels that a container carries.

    Rows of status unknown and rows without any label stay out of the training. On bare arrays it
    is the classifier itself, trained on the rows that have a label in `y`.

    Parameters
    ----------
    estimator : classifier or None, default=None
        It is cloned. None is ``LogisticRegression(max_iter=1000)``. Of a container it gets an
        array, or a DataFrame as the transformer of `OnFeatures` does.
    use : {"labels", "soft", "weights"}, default="labels"
        "labels" trains on the hard labels. "soft" trains on `proba`: a row is repeated for each
        class of probability of at least 0.01 (for the most probable one always), with that
        probability, rescaled to sum to 1, times the container's `weight` as sample weight.
        "weights" trains on the hard labels with `weight` as sample weight; where the container
        has none, with the probability that the label is right: `clean_proba` where it is the
        given label, else `right_proba` or the label's `proba`, and 1 in trusted rows.
    missing_label : None, "auto" or a label, default=None
        What marks a missing label in a `y` beside a bare array, as in `LabelledSamples`: None and
        NaN always do; "auto" reads -1 as missing, too, which is a class, or the mark of a
        semi-supervised estimator, otherwise.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.
    classes_ : ndarray of shape (C,)
        All classes of the container. One that has no row left in training has probability 0.
    n_features_in_ : int
        Number of features in the fit.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.

    Examples
    --------
    >>> from skclean.compose import PurifiedClassifier
    >>> from skclean.samples import LabelledSamples
    >>> samples = LabelledSamples([[0.0], [1.0], [5.0], [6.0]], ["cat", "cat", "dog", "dog"])
    >>> PurifiedClassifier().fit(samples).predict([[0.5], [5.5]])
    array(['cat', 'dog'], dtype='<U3')
    """

    _parameter_constraints = {
        # Before its fit, StackingClassifier has no predict.
        "estimator": [HasMethods("fit"), None],
        "use": [StrOptions({"labels", "soft", "weights"})],
        "missing_label": "no_validation",
    }

    def __init__(
        self, estimator: Any = None, use: str = "labels", *, missing_label: Any = None
    ) -> None:
        self.estimator = estimator
        self.use = use
        self.missing_label = missing_label

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the classifier.

        Parameters
        ----------
        X : LabelledSamples, array or DataFrame of shape (n, d)
        y : array-like of shape (n,) or None, default=None
            With a container: None, or its given labels. With a bare array: what is trained on,
            without the rows whose label is missing; of several columns all, as they are.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `estimator` is no classifier; if a container has no labels, not those of `y`, or
            none of two classes to train on; if it lacks what `use` needs; if the classifier takes
            no sample_weight where `use` needs it.
        """
        self._validate_params()
        self.estimator_ = clone(self._wrapped())
        check_classifier(self.estimator_)
        self._on_container = isinstance(X, LabelledSamples)
        if self._on_container:
            self._fit_container(X, y)
            return self
        self.estimator_.fit(*labelled_rows(X, y, self.missing_label))
        self.classes_ = self.estimator_.classes_
        copy_feature_attributes(self.estimator_, self)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Classes of shape (m,) for the features of a container or array."""
        return self._call("predict", X)

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (m, C), columns as `classes_`; 0 for classes not trained on."""
        return self._spread(self._call("predict_proba", X), 0.0)

    @available_if(_inner_has("predict_proba"))
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithm of `predict_proba`, of shape (m, C); -inf where that is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of shape (m, C), or (m,) for two classes.

        Classes that were not trained on have the least float, as in scikit-learn's
        cross-validation.
        """
        scores = self._call("decision_function", X)
        if scores.ndim == 1 and len(self.classes_) > 2:
            scores = np.column_stack([-scores, scores])
        return self._spread(scores, np.finfo(scores.dtype).min)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy on the rows that have a label.

        Parameters
        ----------
        X : LabelledSamples, array or DataFrame of shape (m, d)
        y : array-like of shape (m,) or None, default=None
            Missing are None, NaN, `missing_label`, and -1 where it is no class. None takes the
            given labels of a container.
        sample_weight : array-like of shape (m,) or None, default=None

        Raises
        ------
        ValueError
            If no row has a label, or `y` has other rows than `X`.
        """
        rows, labels = labels_to_score(X, y, self.classes_, self.missing_label)
        weight = None if sample_weight is None else take_any_rows(sample_weight, rows)
        found = take_any_rows(self.predict(X), rows)
        return float(accuracy_score(labels, found, sample_weight=weight))

    def _fit_container(self, samples, y):
        check_given_matches(samples, y, self)
        samples = open_samples(samples, estimator=self, reset=True, require_labels=False)
        if self.use == "soft":
            features, codes, weight = soft_training_data(samples)
        else:
            features, codes, weight = hard_training_data(samples, self.use == "weights")
        check_trainable(codes, weight, samples.classes)
        features = named_columns(features, self.estimator_, samples.feature_names, self)
        self.classes_ = samples.classes
        if weight is None:
            self.estimator_.fit(features, samples.classes[codes])
        elif has_fit_parameter(self.estimator_, "sample_weight"):
            self.estimator_.fit(features, samples.classes[codes], sample_weight=weight)
        else:
            raise ValueError(
                "PurifiedClassifier: expected an estimator whose fit takes sample_weight for "
                f"use={self.use!r}, got {type(self.estimator_).__name__}; do set use='labels' or "
                "another estimator, and put transformers before it in OnFeatures, as a step before."
            )

    def _call(self, method, X):
        check_is_fitted(self)
        if self._on_container or isinstance(X, LabelledSamples):
            X = open_features(X, estimator=self, reset=False)
            names = getattr(self, "feature_names_in_", None)
            X = named_columns(X, self.estimator_, names, self)
        return getattr(self.estimator_, method)(X)

    def _spread(self, scores, absent):
        """Columns of the classes trained on among those of all classes."""
        trained = self.estimator_.classes_
        if len(trained) == len(self.classes_):
            return scores
        spread = np.full((len(scores), len(self.classes_)), absent, dtype=scores.dtype)
        spread[:, np.searchsorted(self.classes_, trained)] = scores
        return spread

    def _wrapped(self):
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._wrapped())
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        return tags
