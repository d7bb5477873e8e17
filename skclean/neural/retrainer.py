"""NeuralRetrainer: networks trained on purified labels, and on rows without any."""

from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclean._labels import encode_labels
from skclean._optional import import_optional
from skclean._validation import (
    HasMethods,
    Interval,
    StrOptions,
    attach_trusted,
    check_given_matches,
    open_features,
    open_samples,
    unchanged_if_failed,
)
from skclean.embeddings.featurizer import check_values
from skclean.embeddings.images import open_images
from skclean.samples import LabelledSamples

_OBJECTIVES = (
    "fixmatch",
    "ieg",
    "mixmatch",
    "pi_model",
    "remixmatch",
    "supervised",
    "temporal_ensembling",
)


class NeuralRetrainer(ClassifierMixin, BaseEstimator):
    """Train a network on purified labels, and on the rows that have none.

    The last stage of REED [1]_: rows of known status are the labelled set, all rows are candidates
    for the unlabelled one. With `cleaner` and two networks it is the training of DivideMix [2]_.
    Rows that could not be read take no part.

    Parameters
    ----------
    objective : str or object, default="mixmatch"
        What is minimised: "supervised", "mixmatch", "fixmatch", "remixmatch", "pi_model",
        "temporal_ensembling", "ieg" (which needs trusted rows), or one of
        `skclean.neural.objectives` with settings of its own, ``MixMatch(lambda_u=25)``, so that
        ``objective__lambda_u`` can be searched. Any object with `parts`, `start` and `terms` will
        do: see `skclean.neural.loop.train`.
    backbone : str or torch.nn.Module, default="auto"
        "mlp" is trained on the features, with the layers of `hidden_units`. It divides all by one
        number: put a scaler before it where they have several units. Others are for images:
        "conv_net", three convolutions, and all that `SSLFeaturizer` takes. "auto" is "mlp" where
        there are no images, else "conv_net" below 16 pixels, else "preact_resnet18".
    weights : None, "DEFAULT", path-like or fitted SSLFeaturizer, default=None
        Where a backbone for images starts; see `SSLFeaturizer`. The featurizer's `backbone_` is
        copied; wrap it in `sklearn.frozen.FrozenEstimator` where this estimator is cloned.
    hidden_units : int or sequence of int, default=256
        Of "mlp"; an empty sequence makes the classifier linear.
    dropout : float in [0, 1), default=0.0
        Of "mlp".
    use : {"labels", "soft"}, default="labels"
        Whether targets are the hard labels of a container, or its `proba`.
    graph : bool or GraphRegularizer, default=False
        Whether predictions of rows with like embeddings are drawn together.
    class_balanced : bool, default=True
        Whether labelled rows are drawn so that all classes come equally often.
    n_networks : {1, 2}, default=1
        Networks trained side by side; their logits are summed.
    cleaner : object with `assess` or None, default=None
        Each epoch after the warm-up it divides the rows into labelled and unlabelled ones, for one
        network by the outputs of the other (by its own if there is one). It is cloned.
    threshold : float in [0, 1], default=0.5
        Labels to which the cleaner gives a greater probability count as labelled.
    warmup_epochs : int, default=10
        Epochs of cross-entropy on all labels before `cleaner` divides them.
    confidence_penalty : float, default=0.0
        Weight of the negative entropy in the warm-up; 1 for asymmetric noise [2]_.
    epochs : int, default=30
        With those of the warm-up. An epoch sees as many labelled rows as there are rows in all.
    batch_size : int, default=128
        Labelled rows of a step, over all processes; fewer where an epoch would have less than ten
        steps.
    unlabelled_ratio : float, default=1.0
        Unlabelled rows for each labelled one.
    optimizer : {"sgd", "adam", "adamw"}, default="adamw"
    learning_rate : float or None, default=None
        At the start. None is 0.02 for "sgd", 0.002 for the others.
    weight_decay : float, default=5e-4
        Not applied to norms and biases.
    schedule : {"cosine", "step", "constant"}, default="cosine"
        The learning rate falls to zero along a cosine, or to a tenth after half of the epochs.
    clip_norm : float or None, default=None
        Greatest norm of the gradient.
    ema_decay : float in [0, 1), default=0.999
        Of the moving average of the weights, which predicts. It starts lower, so that short
        trainings are not held back.
    augmentation, strong_augmentation : callable or None, default=None
        Random views: from a batch and a torch.Generator to a batch. For images None is padded
        crops and, in colour, mirroring; the strong one also changes colours. For features it is
        noise: `skclean.neural.views.FeatureNoise`.
    validation_fraction : float in [0, 1) or "trusted", default=0.0
        Share of the labelled rows, or the trusted rows, held out to measure accuracy each epoch.
        The weights of the best epoch are kept.
    n_iter_no_change : int or None, default=None
        Epochs without better validation accuracy that end the training.
    callbacks : sequence of objects or None, default=None
        Each has ``on_epoch_end(retrainer, epoch, record)``; returning True ends the training. The
        retrainer can predict there where one process trains.
    image_size, image_shape
        As in `SSLFeaturizer`.
    device, devices, num_nodes, precision, compile, n_workers, on_error
        As in `SSLFeaturizer`.
    checkpoint_dir, checkpoint_every, resume
        As in `SSLFeaturizer`. A cleaner that trains on from epoch to epoch, as `PrototypeCleaner`
        does, starts anew where a training is resumed.
    random_state : int, RandomState instance or None, default=0
        Seeds the initial weights, the order of the rows, and the views, apart from each other.
    verbose : bool, default=False
        Whether progress is shown.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        All classes of the container, or those of y.
    networks_ : list of torch.nn.Module
        Averages of the trained networks, x to logits, on the host.
    objective_ : object
        The objective that was minimised.
    history_ : dict of ndarray
        An entry an epoch: each loss term, NaN in epochs without it; learning_rate; seconds;
        images_per_second, labelled ones; labelled_share, of the rows, by the cleaner; validation.
    n_iter_ : int
        Epochs done.
    image_shape_, value_range_
        As in `SSLFeaturizer`, where images are trained on.
    n_features_in_ : int
        Number of features, or of values of an image.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, only if they all were strings.

    References
    ----------
    .. [1] Zhang and Yao, "Decoupling Representation and Classifier for Noisy Label Learning",
       2020, section 4.3.
    .. [2] Li, Socher and Hoi, "DivideMix", ICLR 2020, algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skclean.datasets import make_symmetric_noise
    >>> from skclean.neural import NeuralRetrainer
    >>> X, y = make_blobs(200, centers=3, random_state=0)
    >>> y_noisy, _ = make_symmetric_noise(y, 0.3, random_state=0)
    >>> retrainer = NeuralRetrainer("supervised", epochs=5).fit(X, y_noisy)
    >>> retrainer.predict_proba(X).shape
    (200, 3)
    """

    _parameter_constraints: dict = {
        "objective": [StrOptions(set(_OBJECTIVES)), HasMethods(["start", "terms"])],
        "backbone": [str, HasMethods(["forward", "state_dict"])],
        "weights": [str, Path, HasMethods(["fit"]), None],
        "hidden_units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "use": [StrOptions({"labels", "soft"})],
        "graph": ["boolean", HasMethods(["terms"])],
        "class_balanced": ["boolean"],
        "n_networks": [Interval(Integral, 1, 2, closed="both")],
        "cleaner": [HasMethods(["assess"]), None],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "confidence_penalty": [Interval(Real, 0, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "unlabelled_ratio": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [StrOptions({"cosine", "step", "constant"})],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "ema_decay": [Interval(Real, 0, 1, closed="left")],
        "augmentation": [callable, None],
        "strong_augmentation": [callable, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="left"), StrOptions({"trusted"})],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "callbacks": ["array-like", None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "image_shape": ["array-like", None],
        "device": [str, None],
        "devices": [Interval(Integral, 1, None, closed="left")],
        "num_nodes": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"auto", "32-true", "16-mixed", "bf16-mixed"})],
        "compile": ["boolean"],
        "n_workers": [Interval(Integral, 0, None, closed="left"), None],
        "on_error": [StrOptions({"raise", "skip"})],
        "checkpoint_dir": [str, Path, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
        "resume": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["boolean"],
    }

    def __init__(
        self,
        objective="mixmatch",
        backbone="auto",
        *,
        weights=None,
        hidden_units=256,
        dropout=0.0,
        use="labels",
        graph=False,
        class_balanced=True,
        n_networks=1,
        cleaner=None,
        threshold=0.5,
        warmup_epochs=10,
        confidence_penalty=0.0,
        epochs=30,
        batch_size=128,
        unlabelled_ratio=1.0,
        optimizer="adamw",
        learning_rate=None,
        weight_decay=5e-4,
        schedule="cosine",
        clip_norm=None,
        ema_decay=0.999,
        augmentation=None,
        strong_augmentation=None,
        validation_fraction=0.0,
        n_iter_no_change=None,
        callbacks=None,
        image_size=None,
        image_shape=None,
        device=None,
        devices=1,
        num_nodes=1,
        precision="auto",
        compile=False,
        n_workers=None,
        on_error="raise",
        checkpoint_dir=None,
        checkpoint_every=10,
        resume=False,
        random_state=0,
        verbose=False,
    ):
        self.objective = objective
        self.backbone = backbone
        self.weights = weights
        self.hidden_units = hidden_units
        self.dropout = dropout
        self.use = use
        self.graph = graph
        self.class_balanced = class_balanced
        self.n_networks = n_networks
        self.cleaner = cleaner
        self.threshold = threshold
        self.warmup_epochs = warmup_epochs
        self.confidence_penalty = confidence_penalty
        self.epochs = epochs
        self.batch_size = batch_size
        self.unlabelled_ratio = unlabelled_ratio
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.ema_decay = ema_decay
        self.augmentation = augmentation
        self.strong_augmentation = strong_augmentation
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.image_size = image_size
        self.image_shape = image_shape
        self.device = device
        self.devices = devices
        self.num_nodes = num_nodes
        self.precision = precision
        self.compile = compile
        self.n_workers = n_workers
        self.on_error = on_error
        self.checkpoint_dir = checkpoint_dir
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, trusted: Any = None) -> Self:
        """Train the networks.

        Parameters
        ----------
        X : LabelledSamples, array-like or Dataset of n rows
            A container, with images as `inputs` or embeddings as `features`; a matrix of features
            (n, d); or images, as in `SSLFeaturizer`. Flat rows are images where `backbone` is one
            for images.
        y : array-like of shape (n,) or None
            Labels, with missing values where rows are unlabelled. With a container that carries
            labels: None, or its given labels. A container without labels takes y only where there
            is a `cleaner`.
        trusted : array-like of bool of shape (n,) or None
            Rows whose given label is known to be right, if the container does not say so.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are no labels of two classes to train on, or X, y or parameters are not as
            they must be; the message says what to do.
        FloatingPointError
            If a loss term or a weight is not finite.
        """
        with unchanged_if_failed(self):
            return self._fit(X, y, trusted)

    def _fit(self, X, y, trusted):
        self._validate_params()
        for attribute in [k for k in vars(self) if k.endswith("_") and not k.startswith("_")]:
            delattr(self, attribute)
        self._on_features = self._takes_features(X)
        if self._on_features:
            samples, source = self._open_features(X, y, trusted), None
        else:
            samples, source = self._open_images(X, y, trusted)
        self.classes_ = samples.classes
        # Only what needs torch imports it.
        import_optional("torch", "neural")
        from skclean.neural.training import fit_networks

        rng = check_random_state(self.random_state)
        self.networks_, self.history_ = fit_networks(self, samples, source, rng)
        self.n_iter_ = len(self.history_["seconds"])
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities.

        Parameters
        ----------
        X : as in `fit`, of m rows
            No row of a container is judged by its labels.

        Returns
        -------
        ndarray of shape (m, C), float64
            Columns as `classes_`; rows sum to 1. Rows that could not be read are uniform.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is not as in the fit.
        """
        check_is_fitted(self, "networks_")
        from skclean.neural.training import predict_logits

        if self._on_features:
            inputs: Any = open_features(X, estimator=self, reset=False)
            readable = X.readable if isinstance(X, LabelledSamples) else None
        else:
            inputs = self._source(X, like=self.image_shape_)
            inputs.check(quick=True)
            check_values(inputs, self.value_range_, type(self).__name__)
            readable = inputs.readable
        proba = softmax(predict_logits(self, inputs), axis=1)
        if readable is not None:
            proba[~readable] = 1 / len(self.classes_)
        return proba

    def predict(self, X: Any) -> np.ndarray:
        """Classes of shape (m,) of greatest probability; see `predict_proba`."""
        check_is_fitted(self, "networks_")
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _takes_features(self, X):
        if not isinstance(self.backbone, str) or self.backbone not in ("auto", "mlp"):
            return False
        if isinstance(X, LabelledSamples):
            return self.backbone == "mlp" or X.inputs is None
        return self.backbone == "mlp" or (_is_matrix(X) and self.image_shape is None)

    def _open_features(self, X, y, trusted):
        contained = isinstance(X, LabelledSamples)
        if contained:
            self._check_labelled(X, y)
        return open_samples(
            X, y, estimator=self, trusted=trusted, reset=True, require_labels=not contained
        )

    def _open_images(self, X, y, trusted):
        name = type(self).__name__
        if isinstance(X, LabelledSamples):
            self._check_labelled(X, y)
        elif y is None:
            raise ValueError(
                f"{name}: expected labels, got none; do pass y or a LabelledSamples that carries "
                f"them. This {name} estimator requires y to be passed, but the target y is None"
            )
        source = self._source(X, like=None)
        source.check()
        samples = X
        if not isinstance(X, LabelledSamples):
            samples = LabelledSamples(np.empty((source.n, 0)))
        if samples.given is None and not samples.purified:
            given, classes = encode_labels(y, classes=samples.classes, name=name)
            if len(given) != len(samples):
                raise ValueError(
                    f"{name}: expected y of {len(samples)} rows, as many as X, got {len(given)}; "
                    "do pass the labels of the same rows. Found input variables with inconsistent "
                    f"numbers of samples: {[len(samples), len(given)]}"
                )
            samples = samples._replace(given=given, classes=classes)
        samples = attach_trusted(samples, trusted, name)
        self.image_shape_ = source.shape
        self.n_features_in_ = int(np.prod(source.shape))
        self.__dict__.pop("feature_names_in_", None)
        return samples, source

    def _check_labelled(self, samples, y):
        """Only where labels are judged here are they taken for a container that has none."""
        bare = samples.given is None and not samples.purified
        if self.cleaner is None or y is None or not bare:
            check_given_matches(samples, y, self)

    def _source(self, X, like):
        return open_images(
            X,
            name=type(self).__name__,
            image_size=self.image_size,
            image_shape=self.image_shape,
            like=like,
            on_error=self.on_error,
            n_workers=self.n_workers,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


def _is_matrix(X):
    """Whether X is rows of numbers: an array, DataFrame or list of two dimensions, or fewer."""
    if hasattr(X, "shape"):
        if len(X.shape) == 2 and X.shape[1] == 1 and np.asarray(X).dtype.kind in "OSUT":
            return False
        return len(X.shape) == 2 or (len(X.shape) == 1 and np.asarray(X).dtype.kind in "biufc")
    if hasattr(X, "__array__"):
        return np.asarray(X).ndim <= 2
    if not isinstance(X, list | tuple) or not len(X):
        return False
    try:
        first = np.asarray(X[0])
    except ValueError:
        return False
    return first.ndim <= 1 and first.dtype.kind in "biufc"
