"""What others would run in place of skclean: each says which labels it takes for wrong."""

import contextlib
import io
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

#: LabelSpreading takes so many rows at most, SelfTraining so many iterations.
SPREAD_ROWS, SELF_TRAINING_ROUNDS = 20_000, 5


class Found(NamedTuple):
    """What a method says about some rows: codes of the labels, and which of them to use."""

    labels: Any
    known: Any = None
    clean: Any = None


def logistic():
    """A logistic regression of 100 steps at most."""
    return LogisticRegression(max_iter=100)


def clean_learning(X, given, trusted=None, n_classes=None):
    """cleanlab's own: labels judged wrong are withheld."""
    from cleanlab.classification import CleanLearning

    one_process = {"n_jobs": 1}
    model = CleanLearning(logistic(), find_label_issues_kwargs=one_process, verbose=False)
    issues = model.find_label_issues(X, given)
    wrong = issues["is_label_issue"].to_numpy()
    labels = np.where(wrong, issues["predicted_label"].to_numpy(), given)
    return Found(labels, ~wrong, issues["label_quality"].to_numpy())


def datalab(X, given):
    """cleanlab's Datalab on the features alone, its check of the labels."""
    from cleanlab import Datalab

    quiet = io.StringIO()
    with (
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        warnings.catch_warnings(),
    ):
        # A warning that is an error would be taken for a check that failed.
        warnings.simplefilter("ignore")
        lab = Datalab({"label": given.tolist()}, label_name="label", task="classification")
        lab.find_issues(features=np.ascontiguousarray(X), issue_types={"label": {}})
    issues = lab.get_issues("label")
    wrong = issues["is_label_issue"].to_numpy()
    labels = np.where(wrong, issues["predicted_label"].to_numpy(), given)
    return Found(labels, ~wrong, issues["label_score"].to_numpy())


def cross_validated(X, given, model=None, seed=0):
    """Out-of-fold probabilities of a logistic regression."""
    splitter = StratifiedKFold(5, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return cross_val_predict(
            logistic() if model is None else model, X, given, cv=splitter, method="predict_proba"
        )


def cleanlab_filter(X, given):
    """cleanlab's default filter on cross-validated probabilities."""
    from cleanlab.filter import find_label_issues

    proba = cross_validated(X, given)
    wrong = find_label_issues(given, proba, n_jobs=1)
    return _by_proba(proba, given, wrong)


def disagreement(X, given, model=None):
    """Labels that a cross-validated logistic regression does not predict."""
    proba = cross_validated(X, given, model)
    return _by_proba(proba, given, proba.argmax(axis=1) != given)


def smaller_proba(values):
    """Probability of the component of smaller mean, by the mixture that the papers fit."""
    values = values[:, None].astype(np.float64)
    model = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(values)
    return model.predict_proba(values)[:, model.means_.argmin()]


def gaussian_mixture(X, given):
    """scikit-learn's mixture on the loss of a cross-validated logistic regression."""
    proba = cross_validated(X, given)
    loss = -np.log(np.clip(proba[np.arange(len(given)), given], 1e-12, None))
    clean = smaller_proba((loss - loss.min()) / max(np.ptp(loss), 1e-12))
    return _by_proba(proba, given, clean <= 0.5)._replace(clean=clean)


def label_spreading(X, given):
    """All labels given, and free to change: those that do are wrong."""
    if len(X) > SPREAD_ROWS:
        return None
    model = LabelSpreading(kernel="knn", n_neighbors=20, alpha=0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = model.fit(X, given).transduction_
    return Found(labels, labels == given)


def self_training(X, given):
    """Labels that a cross-validated model contradicts are withheld and learnt anew."""
    known = cross_validated(X, given).argmax(axis=1) == given
    if len(np.unique(given[known])) < 2:
        return Found(given, np.ones(len(given), bool))
    model = SelfTrainingClassifier(logistic(), max_iter=SELF_TRAINING_ROUNDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = model.fit(X, np.where(known, given, -1)).predict(X)
    return Found(labels, labels == given)


def cuml_disagreement(X, given):
    """`disagreement` by cuML's logistic regression on a GPU; None where there is no cuML."""
    if find_spec("cuml") is None:
        return None
    from cuml.linear_model import LogisticRegression as CumlLogisticRegression

    return disagreement(X, given, CumlLogisticRegression(max_iter=100, output_type="numpy"))


def published(name):
    """A loop of `benchmarks._published`; None where there is no torch."""

    def call(X, given, trusted=None, n_classes=None):
        if find_spec("torch") is None:
            return None
        loop = getattr(import_module("benchmarks._published"), name)
        return loop(X, given) if trusted is None else loop(X, given, trusted, n_classes)

    return call


def _by_proba(proba, given, wrong):
    clean = proba[np.arange(len(given)), given]
    return Found(np.where(wrong, proba.argmax(axis=1), given), ~wrong, clean)


PEERS = {
    "cleanlab CleanLearning": clean_learning,
    "cleanlab Datalab": datalab,
    "cleanlab filter": cleanlab_filter,
    "LogisticRegression, cv=5": disagreement,
    "cuML LogisticRegression, cv=5": cuml_disagreement,
    "GaussianMixture": gaussian_mixture,
    "LabelSpreading": label_spreading,
    "SelfTrainingClassifier": self_training,
    "REED's loop": published("reed"),
    "two-stage loop": published("two_stage"),
    "CPC's loop": published("cpc"),
}
