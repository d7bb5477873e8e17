"""NeuralRetrainer: networks trained on purified labels, and on rows without any."""

from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skclean._optional import import_optional
from skclean._validation import (
    open_features,
    unchanged_if_failed,
)
from skclean.embeddings.featurizer import check_values
from skclean.embeddings.images import open_source
from skclean.neural._settings import RetrainerSettings
from skclean.neural.opening import all_classes, open_rows, takes_features
from skclean.samples import LabelledSamples


class NeuralRetrainer(ClassifierMixin, RetrainerSettings):
    """Train a network on purified labels, and on the rows that have none.

    The last stage of REED [1]_: rows of known status are the labelled set, all rows are candidates
    for the unlabelled one. With `cleaner` and two networks it is the training of DivideMix [2]_.
    Rows that could not be read take no part.

    Parameters
    ----------
    objective : str or object, default="mixmatch"
        What is minimised: "supervised", "mixmatch", "fixmatch", "remixmatch", "pi_model",
        "temporal_ensembling", "ieg" (which needs trusted rows of all classes), or one of
        `skclean.neural.objectives` with settings of its own, ``MixMatch(lambda_u=25)``, so that
        ``objective__lambda_u`` can be searched. Any object with `parts`, `start` and `terms` will
        do: see `skclean.neural.loop.train`.
    backbone : str or torch.nn.Module, default="auto"
        "mlp" is trained on the features in float32, with the layers of `hidden_units`. It divides
        all by one number: put a scaler before it where they have several units. Others are for
        images: "conv_net", three convolutions, and all that `SSLFeaturizer` takes. "auto" is "mlp"
        where there are no images, else "conv_net" below 16 pixels, else "preact_resnet18".
    weights : None, "DEFAULT", path-like or fitted SSLFeaturizer, default=None
        Where a backbone for images starts; see `SSLFeaturizer`. The featurizer's `backbone_` is
        copied, beside `backbone` "auto" or the featurizer's own; wrap it in
        `sklearn.frozen.FrozenEstimator` where this estimator is cloned.
    hidden_units : int or sequence of int, default=256
        Of "mlp"; an empty sequence makes the classifier linear.
    dropout : float in [0, 1), default=0.0
        Of "mlp".
    use : {"labels", "soft"}, default="labels"
        Whether targets are the hard labels of a container, or its `proba`. "ieg", which
        takes given labels, has no "soft" where the container is purified.
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
    loss_window : int, default=1
        Epochs over which the losses are averaged by which `cleaner` divides the rows, each brought
        to one range; 5 in DivideMix at a noise of 90 %.
    warmup_epochs : int, default=10
        Epochs of cross-entropy on all labels before `cleaner` divides them.
    confidence_penalty : float, default=0.0
        Weight of the negative entropy in the warm-up; 1 for asymmetric noise [2]_.
    epochs : int, default=30
        With those of the warm-up. An epoch sees as many labelled rows as there are rows in all, or
        labelled ones where neither objective nor graph takes unlabelled rows.
    batch_size : int, default=128
        Labelled rows of a step, over all processes; fewer where an epoch would have less than ten
        steps, though not below 16 by this.
    unlabelled_ratio : float, default=1.0
        Unlabelled rows for each labelled one.
    optimizer : {"sgd", "adam", "adamw"}, default="adamw"
    learning_rate : float or None, default=None
        At the start. None is 0.02 for "sgd", 0.002 for the others.
    weight_decay : float, default=5e-4
        Not applied to norms and biases.
    schedule : {"cosine", "step", "constant"} or callable, default="cosine"
        The learning rate falls to zero along a cosine, or to a tenth after half of the epochs; or
        `Cosine` with a floor and a rise, `Restarts` or `Ramps` of `skclean.neural`, or any function
        from the epochs done and all epochs to a share of the learning rate.
    clip_norm : float or None, default=None
        Greatest norm of the gradient.
    ema_decay : float in [0, 1), default=0.999
        Of the moving average of the weights, which predicts. It starts lower, so that short
        trainings are not held back.
    augmentation, strong_augmentation : callable or None, default=None
        Random views: from a batch and a torch.Generator to a batch. For images None is padded
        crops and, in colour, mirroring; the strong one also changes colours. Images are gray where
        they have one channel, or three alike, as those of gray files. For features it is noise:
        `skclean.neural.views.FeatureNoise`.
    validation_fraction : float in [0, 1) or "trusted", default=0.0
        Share of the labelled rows, or the trusted rows, held out to measure accuracy each epoch.
        The weights of the best epoch are kept.
    n_iter_no_change : int or None, default=None
        Epochs without better validation accuracy that end the training.
    callbacks : sequence of objects or None, default=None
        Each has ``on_epoch_end(retrainer, epoch, record)``; returning True ends the training. The
        retrainer can predict there where one process trains.
    image_size : int or None, default=None
        Side in pixels to which images are brought; see `SSLFeaturizer`.
    image_shape : tuple of int or None, default=None
        Of images that come as flat rows; see `SSLFeaturizer`.
    device : None, "cpu", "cuda" or "mps", default=None
        None takes a GPU if there is one.
    devices : int, default=1
        Processes of a machine that train together; see `SSLFeaturizer`. Batch norms see the images
        of their own.
    num_nodes : int, default=1
        Machines that train together, when started by torchrun.
    precision : {"auto", "32-true", "16-mixed", "bf16-mixed"}, default="auto"
        Of the training; "auto" is mixed on CUDA.
    compile : bool, default=False
        Whether the networks are trained through `torch.compile`.
    n_workers : int or None, default=None
        Threads that decode files, or processes that read a torch Dataset; see `SSLFeaturizer`.
    on_error : {"raise", "skip"}, default="raise"
        What is done about images that cannot be read; see `SSLFeaturizer`.
    checkpoint_dir : path-like or None, default=None
        Folder in which the state of the training is kept, that of `cleaner` too.
    checkpoint_every : int, default=10
        Epochs between checkpoints; in long epochs one is also written every ten minutes.
    resume : bool, default=False
        Whether to go on from the checkpoint in `checkpoint_dir`, if there is one. Give an integer
        `random_state` then.
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

    def fit(self, X: Any, y: Any = None, *, trusted: Any = None) -> Self:
        """Train the networks.

        Parameters
        ----------
        X : LabelledSamples, array-like or Dataset of n rows
            A container, with images as `inputs` or embeddings as `features`, and maybe weights of
            the labels, of which those of weight 0 teach nothing; a matrix of features (n, d); or
            images, as in `SSLFeaturizer`. Flat rows are images where `backbone` is one for images.
        y : array-like of shape (n,) or None, default=None
            Labels, with missing values where rows are unlabelled. Beside two classes -1 is read as
            missing; where it is a class, pass ``LabelledSamples(X, y, missing_label=None)``. With a
            container that carries labels: None, or its given labels. A container without labels
            takes y only where there is a `cleaner`.
        trusted : array-like of bool of shape (n,) or None, default=None
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

        Warns
        -----
        UserWarning
            If the objective learns from trusted rows, and there are classes of which none is; or
            float32 hardly tells the features of the rows apart.
        """
        with unchanged_if_failed(self):
            self._validate_params()
            for name in [k for k in vars(self) if k.endswith("_") and not k.startswith("_")]:
                delattr(self, name)
            self.__dict__.pop("_kept", None)
            self._on_features = takes_features(X, self.backbone, self.image_shape)
            return self._train(*open_rows(self, X, y, trusted))

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, *, trusted: Any = None
    ) -> Self:
        """Train for one more epoch, on these rows and from the weights of the moment.

        Behind `fit` it goes on from `networks_`. The state of the optimizer, of the cleaner and of
        the objective stays from call to call, so that `optimizer`, `cleaner` and `objective` must
        stay too, as must all that the networks are made with; `weights` may be None later.
        No row is known from call to call: `loss_window` has no effect, and "temporal_ensembling"
        and ``Supervised("elr")`` are errors. The learning rate is constant, as no end is known;
        ramps and the warm-up count the epochs of all calls. No row is held out, and no checkpoint
        is written.

        Parameters
        ----------
        X, y, trusted
            As in `fit`, of this batch of rows. One class will do.
        classes : array-like of shape (C,) or None, default=None
            All classes, in the first call; later it may be left out. A container's own will do.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, if the first call names no classes, a label is of none of them, a setting is
            not as in the first call, the objective follows single rows, or processes would be
            started.
        FloatingPointError
            As `fit`.

        Warns
        -----
        UserWarning
            As `fit`, in the first call alone.
        """
        with unchanged_if_failed(self):
            self._validate_params()
            first = not hasattr(self, "networks_")
            fitted = None if first else self.classes_
            classes = all_classes(classes, X, fitted, type(self).__name__)
            if first:
                self._on_features = takes_features(X, self.backbone, self.image_shape)
            like = getattr(self, "image_shape_", None)
            samples, source = open_rows(
                self, X, y, trusted, classes=classes, like=like, reset=first
            )
            if source is not None and not first:
                check_values(source, self.value_range_, type(self).__name__)
            return self._train(samples, source, further=True)

    def _train(self, samples, source, further=False):
        self.classes_ = samples.classes
        # Only what needs torch imports it.
        import_optional("torch", "neural")
        from skclean.neural.training import fit_networks

        rng = check_random_state(self.random_state)
        self.networks_, self.history_ = fit_networks(self, samples, source, rng, further)
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
            inputs = open_source(self, X, like=self.image_shape_)
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags
