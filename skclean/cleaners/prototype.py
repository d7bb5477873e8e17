"""PrototypeCleaner: the class prototypes of CPC."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skclean._array import (
    array_namespace,
    beside,
    detached,
    take_rows,
)
from skclean._blocks import all_finite, map_rows
from skclean._threads import python_threads
from skclean._validation import Interval, StrOptions
from skclean.cleaners._evidence import EvidenceCleaner
from skclean.decision.loss_mixture import (
    LEAST,
    LossMixture,
    effective_threshold,
    fit_loss_mixture,
)
from skclean.evidence.prototype import calibrate, fit_embedding, init_prototypes
from skclean.evidence.prototype_training import (
    MAX_WEIGHT,
    class_prior,
    confident_rows,
    loss_of_given,
    pair_weights,
    train_prototypes,
)


class PrototypeCleaner(EvidenceCleaner):
    """Keep the labels whose row lies at the prototype of its given class.

    CPC (4.2): a mixture of two Gaussians on the loss divides the rows into a clean set and a noisy
    one; a projector v and a prototype c_k of each class are trained to draw clean rows to the
    prototype of their label and noisy ones away from it. A label is clean with
    q = sigmoid(v c_given). Labels judged wrong are withheld (status unknown) and get the class
    probabilities of evidence and prototypes together; `CredibilityRelabeler` behind this step
    gives them new labels.

    The projector sees the features and, as a network's last layer would, what the evidence makes
    of them: classes of several modes have one prototype. The default objective is the soft form
    of the loss (equation 14) with classes of equal weight and all negative pairs in full, and q is
    brought to the scale of the mixture's posteriors; no row weighs more than ten times the average.
    `objective="paper"` is the loss of equations 2-5 to the letter, on the features alone and with
    none of this. In both, long gradients are shortened, without which a hidden layer can diverge.

    Parameters
    ----------
    threshold : float in [0, 1], default=0.5
        Labels with a greater `clean_proba` are kept; tau of CPC.
    estimator : classifier with predict_proba, or None, default=None
        Whose losses supervise. None takes the probabilities of the container where it has some,
        else `LeaveOneOutRidge`.
    cv : int, splitter or None, default=None
        Folds in which `estimator` is fitted; None judges rows by an estimator that saw them
        (`LeaveOneOutRidge` excepted).
    objective : {"balanced", "paper"}, default="balanced"
    class_aware : bool, default=False
        Whether every given class has a loss mixture of its own. A class that one Gaussian explains
        as well is judged by that of all rows.
    class_prior : {"auto", "uniform", "given"}, default="auto"
        "uniform" takes the true classes as equally frequent: the losses are those of the evidence
        divided by its mean over the rows. "given" leaves them as they are. "auto" is "uniform"
        where the perplexity of the given labels is at least 0.8 C: asymmetric noise makes classes
        a little larger and smaller, a long tail is one of the truth. The paper's objective does
        not use it.
    alpha : float, default=0.0
        Weight of the noisy rows that are sure of another class (equation 4); 0 or 1 in the paper.
    lambda_neg : float or None, default=None
        Weight of the pairs of a clean row with another class. None is 1, and 1 / C in the paper's
        objective.
    n_components : int, default=64
        Dimension of the projection.
    hidden_units : int or None, default=None
        Width of a hidden layer of the projector; None is a linear one.
    max_iter : int, default=10
        Passes over the rows; 2,000 batches are the most.
    batch_size : int, default=256
    learning_rate : float, default=0.02
    weight_decay : float, default=0.005
    missing_label : "auto", None or a label, default="auto"
        What marks a missing label in `y`, as in `LabelledSamples`.
    random_state : int, RandomState instance or None, default=0
        Starts projector and prototypes, orders the rows, shuffles the folds of `cv`.
    n_jobs : int or None, default=None
        Processes for the folds of `cv`.
    device : {"cpu", "cuda"} or None, default=None
        Where the work is done. None: where the features are. "cuda" takes NumPy features to the
        current GPU by CuPy, in their own precision; the results are NumPy arrays all the same.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.
    clean_proba_ : ndarray of shape (n,)
        Score of the given label; NaN in rows without one.
    label_distributions_ : ndarray of shape (n, C)
        Class probabilities: the normalised geometric mean of evidence and prototypes.
    transduction_ : ndarray of shape (n,)
        The given label where it was kept, else the class of greatest probability.
    noise_rate_ : float
        Mean of ``1 - clean_proba_`` over the rows judged.
    model_ : Prototypes
        Projector and prototypes.
    mixture_ : LossMixture
    evidence_ : Evidence
    n_iter_ : int
        Batches trained on.
    informative_ : bool
        Whether the evidence predicts the given labels better than their frequencies do.

    Warns
    -----
    NothingToSeparateWarning
        If one Gaussian explains the losses as well as two: every label is kept then.

    References
    ----------
    Huang et al., "Class Prototype-based Cleaner for Label Noise Learning" (CPC), 2022, equations
    2-5 and 14.

    Examples
    --------
    >>> from skclean import PrototypeCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.4, random_state=0)
    >>> samples = PrototypeCleaner(max_iter=5).fit_transform(digits.data, digits.target_noisy)
    >>> bool((samples.labels == digits.target)[samples.known].mean() > 0.97)
    True
    """

    _parameter_constraints: dict = {
        **EvidenceCleaner._parameter_constraints,
        "objective": [StrOptions({"balanced", "paper"})],
        "class_aware": ["boolean"],
        "class_prior": [StrOptions({"auto", "uniform", "given"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "lambda_neg": [Interval(Real, 0, None, closed="left"), None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "hidden_units": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        threshold=0.5,
        estimator=None,
        cv=None,
        *,
        objective="balanced",
        class_aware=False,
        class_prior="auto",
        alpha=0.0,
        lambda_neg=None,
        n_components=64,
        hidden_units=None,
        max_iter=10,
        batch_size=256,
        learning_rate=0.02,
        weight_decay=5e-3,
        missing_label="auto",
        random_state=0,
        n_jobs=None,
        device=None,
    ):
        self.threshold = threshold
        self.estimator = estimator
        self.cv = cv
        self.objective = objective
        self.class_aware = class_aware
        self.class_prior = class_prior
        self.alpha = alpha
        self.lambda_neg = lambda_neg
        self.n_components = n_components
        self.hidden_units = hidden_units
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.missing_label = missing_label
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def assess(self, given: np.ndarray, proba: Any, features: Any = None) -> np.ndarray:
        """Scores of the given labels by prototypes that are trained on, from call to call.

        The loss mixture is fitted to `proba` anew; projector and prototypes start where the last
        call left them, at first where `fit` did, and from scratch without either. What `fit`
        learned stays as it is. Two networks need a clone of the cleaner each.

        Parameters
        ----------
        given : ndarray of shape (n,), int
            Labels in 0 to C - 1, -1 where missing.
        proba : array of shape (n, C)
            NumPy, CuPy or torch.
        features : array of shape (n, d)
            Embeddings of the rows, of the same d in every call.

        Returns
        -------
        ndarray of shape (n,)
            NaN where the label is missing.

        Raises
        ------
        ValueError
            If there are no features, a parameter, a label or a probability is out of range, or
            shapes do not match.
        """
        given, name = self._check_assessed(given, proba), type(self).__name__
        if features is None:
            raise ValueError(
                f"{name}: expected features of shape (n, d) beside proba, got None; do pass the "
                "embeddings of the rows, or use GMMCleaner, which needs none."
            )
        features, proba = detached(features), detached(proba)
        if features.ndim != 2 or features.shape[0] != len(given):
            raise ValueError(
                f"{name}: expected features of shape ({len(given)}, d), got "
                f"{tuple(features.shape)}; do pass one row for each given label."
            )
        if not all_finite(features):
            raise ValueError(
                f"{name}: expected finite features, got NaN or infinity; do check the network."
            )
        if not (given >= 0).any():
            return np.full(len(given), np.nan)
        start = getattr(self, "_assessed", getattr(self, "model_", None))
        if start is not None:
            expected = (start.embedding.center.shape[0], start.prototypes.shape[0])
            if expected != (features.shape[1], proba.shape[1]):
                raise ValueError(
                    f"{name}: expected features of {expected[0]} columns and {expected[1]} classes "
                    f"as in the last call, got {features.shape[1]} and {proba.shape[1]}; do clone "
                    "the cleaner to start anew."
                )
        proba = beside(proba, features)
        self._assessed = self._train(start, features, proba, given)[0]
        return self._assessed.clean_proba(features, proba, given)

    @python_threads()
    def _train(self, start, features, proba, given, trusted=None):
        """Prototypes, loss mixture and number of batches, by all rows with a given label."""
        rows = np.flatnonzero(given >= 0)
        codes, n_classes = given[rows], proba.shape[1]
        known = proba if len(rows) == len(given) else take_rows(proba, rows)
        share = np.bincount(codes, minlength=n_classes) / len(codes)
        paper = self.objective == "paper"
        prior = class_prior(known, share, "given" if paper else self.class_prior)
        mixture, clean = self._divide(loss_of_given(known, codes, prior), codes)
        if trusted is not None:
            clean[trusted[rows]] = 1
        inside = clean > effective_threshold(self.threshold, clean)
        confident, predicted = confident_rows(known, codes, inside)
        # Ten times the average weight is the most of a row of a rare class.
        importance = np.ones(len(codes)) if paper else 1 / np.maximum(share[codes], 0.1 / n_classes)
        weights = pair_weights(
            inside.astype(np.float64) if paper else clean,
            confident,
            importance,
            self.alpha,
            np.inf if paper else MAX_WEIGHT,
        )
        lambda_neg = self.lambda_neg
        if lambda_neg is None:
            lambda_neg = 1 / n_classes if paper else 1.0
        rng = check_random_state(self.random_state)
        embedding = fit_embedding(features, None if paper else proba)
        # All scores start at 1 / C, so that many classes do not make large steps.
        offset = 0.0 if paper else -float(np.log(n_classes))
        model = init_prototypes(
            embedding, n_classes, self.n_components, self.hidden_units, offset, rng, start
        )
        model, n_steps = train_prototypes(
            model,
            features,
            proba,
            rows,
            codes,
            predicted,
            weights,
            lambda_neg=float(lambda_neg),
            n_epochs=self.max_iter,
            batch_size=self.batch_size,
            learning_rate=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            rng=rng,
        )
        if not mixture.separated:
            model = replace(model, slope=0.0, intercept=40.0)
        elif not paper:
            scores = model.given_scores(features, proba, given)[rows]
            slope, intercept = calibrate(scores, clean)
            model = replace(model, slope=slope, intercept=intercept)
        return model, mixture, n_steps

    def _divide(self, loss, given) -> tuple[LossMixture, np.ndarray]:
        """The loss mixture and its posteriors of the small losses."""
        mixture = fit_loss_mixture(loss, given, self.class_aware)
        if not mixture.separated:
            self._warn_inseparable()
        return mixture, mixture.clean_proba(loss, given)

    _in_passes = False

    def _fit_samples(self, samples, groups):
        self._fit_evidence(samples, groups, floor=LEAST)
        proba = self._evidence_proba(self.evidence_.scores)
        inside = beside(proba, samples.features)
        self.model_, self.mixture_, self.n_iter_ = self._train(
            None, samples.features, inside, samples.given, samples.trusted
        )
        self.__dict__.pop("_assessed", None)
        return self._purify(samples, inside)

    def _transform_samples(self, samples):
        scores = self.evidence_.predict(samples, type(self).__name__)
        like = self.model_.embedding.center
        return self._purify(samples, beside(self._evidence_proba(scores), like))

    def _evidence_proba(self, scores):
        """Class probabilities of the evidence, float32, where its scores are."""

        def proba(scores):
            xp = array_namespace(scores)
            return xp.astype(self.evidence_.proba(scores), xp.float32)

        return map_rows(proba, scores)

    def _purify(self, samples, proba):
        """Verdicts by the trained prototypes."""
        features = beside(samples.features, proba)
        clean = self.model_.clean_proba(features, proba, samples._given_codes())
        together = self.model_.class_proba(features, proba)
        return self._withhold(samples, together, clean, self.threshold)
