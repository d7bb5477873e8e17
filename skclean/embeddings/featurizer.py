"""SSLFeaturizer: images to embeddings, without labels."""

import importlib.util
import os
from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skclean._fields import with_unreadable
from skclean._files import array_output
from skclean._optional import import_optional
from skclean._output import TransformsSamples
from skclean._validation import unchanged_if_failed
from skclean.embeddings._settings import FeaturizerSettings
from skclean.embeddings.images import ArrayImages, open_source
from skclean.embeddings.kmeans import ConvKMeans
from skclean.samples import LabelledSamples

#: Images looked at together for the range of their values.
VALUE_BATCH = 512


class SSLFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformsSamples, FeaturizerSettings):
    """Embed images by features that are learned from the images alone.

    The first stage of REED [1]_ and DMLP [2]_: a representation that no wrong label has touched.
    `transform` gives a `LabelledSamples` whose `features` are the embeddings and whose `inputs` are
    the images, so that a network can be trained on them later.

    Parameters
    ----------
    method : {"auto", "simclr", "moco", "kmeans", "none"} or object, default="auto"
        How the features are learned.

        - "simclr" [3]_ and "moco" [4]_ train `backbone`; a GPU is wanted.
        - "kmeans" [5]_ needs neither GPU nor torch.
        - "none" takes `backbone` as it is: a module, or a name with pretrained `weights`.
        - "auto" is "none" where `backbone` is a module or `weights` are given, else "simclr" where
          torch finds a CUDA device, else "kmeans".

        With settings of its own: ``ConvKMeans(n_filters=800)``, ``SimCLR(temperature=0.2)``,
        ``MoCo(queue_size=65536)`` of `skclean.embeddings`, so that ``method__temperature`` can be
        searched.
    backbone : str or torch.nn.Module, default="resnet18"
        "resnet18", "resnet34", "resnet50", "preact_resnet18", any classifier of torchvision by
        name, or a module that maps images (b, 3, H, W) with values in [0, 1] to (b, d) or
        (b, d, h, w); a module is copied. Below 64 pixels ResNets get the stem of CIFAR. A
        Pipeline with `memory` recognises a named backbone, but no module, from call to call; paths
        of images it takes for the same as long as their names are.
    weights : None, "DEFAULT" or path-like, default=None
        Where the backbone starts: seeded at random, torchvision's pretrained weights, or a file,
        safetensors or a torch file of tensors alone.
    image_size : int or None, default=None
        Side in pixels. Images of another size are scaled by their shorter side and cut to the
        middle square. None takes all images as they are; they must have one size.
    image_shape : tuple of int or None, default=None
        ``(H, W)``, ``(H, W, channels)`` or ``(channels, H, W)`` of images that come as flat rows
        (n, d). None finds it where a row is a square image, the channel its last axis, and takes
        other rows as one line of pixels.
    augmentation : Augmentation, callable or None, default=None
        Random views for "simclr" and "moco": called with images (b, 3, H, W) in [0, 1] on the
        device and a torch.Generator there. None is SimCLR's, for small images below 64 pixels.
    epochs : int, default=200
        Passes over the images.
    batch_size : int, default=512
        Images a step, over all processes; also images embedded at a time.
    optimizer : {"sgd", "lars"}, default="sgd"
        LARS is for batches of several thousand images.
    learning_rate : float or None, default=None
        Peak, for the whole batch. None takes that of the method and the optimizer, proportional
        to `batch_size`.
    weight_decay : float, default=1e-4
        Not applied to norms and biases.
    warmup_epochs : int or None, default=None
        Epochs in which the learning rate rises; it then falls along a cosine. None is a tenth of
        `epochs`, at most 10.
    device : None, "cpu", "cuda" or "mps", default=None
        Where the backbone runs. None takes a GPU if there is one.
    devices : int, default=1
        Processes that train together, on a device each. Batch norms see the images of all of them
        for "simclr", for "moco" those of their own. A script needs ``if __name__ == "__main__":``
        then.
    num_nodes : int, default=1
        Machines that train together, when started by torchrun.
    precision : {"auto", "32-true", "16-mixed", "bf16-mixed"}, default="auto"
        Of the training; "auto" is mixed on CUDA. Embeddings are computed in float32.
    compile : bool, default=False
        Whether the backbone is trained through `torch.compile`.
    n_workers : int or None, default=None
        Threads that decode files, or processes that read a torch Dataset and stay for the time of
        a training. None: one for each core for files, none for a Dataset.
    on_error : {"raise", "skip"}, default="raise"
        What is done about images that cannot be read: an error that names them, or a warning and
        rows of status unknown, left out of the training. Where a file breaks while it lasts, others
        of its batch are taken for it.
    checkpoint_dir : path-like or None, default=None
        Folder in which "simclr" and "moco" keep the state of the training.
    checkpoint_every : int, default=10
        Epochs between checkpoints; in long epochs one is also written every ten minutes.
    resume : bool, default=False
        Whether to go on from the checkpoint in `checkpoint_dir`, if there is one. Give an integer
        `random_state` then.
    probe_every : int, default=10
        Epochs between k-NN probes, where `fit` is given `probe_y`.
    random_state : int, RandomState instance or None, default=0
        Seeds the initial weights, the order of the images, the views, and the patches of k-means.
    verbose : bool, default=False
        Whether the progress of "simclr" and "moco" is shown.

    Attributes
    ----------
    method_ : object
        The fitted `ConvKMeans`, the `SimCLR` or `MoCo` that trained, or "none".
    backbone_ : torch.nn.Module
        The trained backbone, on the host, unless the method is k-means.
    image_shape_ : tuple of int
        ``(channels, H, W)``, channels 1 or 3.
    value_range_ : tuple of float
        Values of black and white: 0 and 255 for uint8; for others 0 and 1, moved out to the least
        and the greatest value of the fit.
    history_ : dict of ndarray
        Of "simclr" and "moco", an entry an epoch: loss, learning_rate, seconds,
        images_per_second, and probe, the accuracy of the k-NN probe, NaN where there was none.
    n_features_in_ : int
        Number of values of an image.

    Raises
    ------
    ImageReadError
        In `fit` and `transform`, if images cannot be read or differ in size and `on_error` is
        "raise": the message names them. It is a ValueError.

    References
    ----------
    .. [1] Zhang and Yao, "Decoupling Representation and Classifier for Noisy Label Learning",
       2020, section 3.1.
    .. [2] Tu et al., "Learning from Noisy Labels with Decoupled Meta Label Purifier", CVPR 2023.
    .. [3] Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations",
       ICML 2020, equation 1.
    .. [4] He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR
       2020, equations 1 and 2.
    .. [5] Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature
       Learning", AISTATS 2011.

    Examples
    --------
    >>> from sklearn.pipeline import Pipeline
    >>> from skclean import GMMCleaner, SSLFeaturizer
    >>> from skclean.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise_rate=0.3)
    >>> images, y_noisy = digits.images, digits.target_noisy
    >>> pipe = Pipeline([("features", SSLFeaturizer("kmeans")), ("clean", GMMCleaner())])
    >>> samples = pipe.fit(images, y_noisy).transform(images)
    >>> samples.inputs.shape
    (1797, 8, 8)
    >>> bool((samples.labels == digits.target)[samples.known].mean() > 0.97)
    True
    """

    def fit(self, X: Any, y: Any = None, *, probe_y: Any = None) -> Self:
        """Learn features from images.

        Parameters
        ----------
        X : array-like, LabelledSamples or torch Dataset of n images
            - integers (n, H, W, 3) or (n, H, W), floats (n, 3, H, W) or (n, H, W); one channel is
              gray, three are red, green and blue;
            - flat rows (n, d), see `image_shape`;
            - paths of image files (n,), which are decoded as they are needed;
            - a map-style Dataset whose items are images, or tuples that begin with one;
            - a container, whose `inputs` are taken.
        y : None, default=None
            Ignored: wrong labels must not touch the features.
        probe_y : array-like of shape (n,) or None, default=None
            Labels for the k-NN probe, which watches the training of "simclr" and "moco" and
            changes nothing; None and NaN are missing, -1 beside two classes or alone.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the images or parameters are not as they must be; the message says what to do.
        FloatingPointError
            If the loss of the training is not finite.
        """
        self._fit(X, probe_y)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, probe_y: Any = None) -> LabelledSamples:
        """What ``fit(X, probe_y=probe_y).transform(X)`` gives; files are checked once."""
        return self._contain(X, self._fit(X, probe_y), out=None)

    def transform(self, X: Any, *, out: Any = None) -> LabelledSamples:
        """Embed images.

        Parameters
        ----------
        X : array-like, LabelledSamples or torch Dataset of m images
            As in `fit`, of the same size and number of channels. The labels of a container travel
            along.
        out : path-like, ndarray of shape (m, d) or None, default=None
            Where the embeddings are written: a .npy file, which is there once it is complete, and
            which the result maps into memory; or an array, such as a numpy.memmap, of which an
            error can leave a part written.

        Returns
        -------
        LabelledSamples of m rows
            `features` (m, d), float64 for images in float64, else float32; `inputs`, the images as
            they came. Where images could not be read and `on_error` is "skip",
            `readable` is False, the features are zero and the status is unknown.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As `fit`, and if the images or `out` are not of the shape of the fit, or the images
            have other values: uint8 in place of floats or of 16 bits, or the reverse. Of files the
            heads are looked at before, the rest as they are embedded.
        """
        check_is_fitted(self)
        source = self._open(X, reset=False)
        source.check(quick=True)
        check_values(source, self.value_range_, type(self).__name__)
        return self._contain(X, source, out)

    def _open(self, X, *, reset):
        source = open_source(self, X, like=None if reset else self.image_shape_)
        images = X
        if isinstance(X, LabelledSamples):
            images = X.features if X.inputs is None else X.inputs
        flat = len(getattr(images, "shape", ())) == 2 and isinstance(source, ArrayImages)
        if flat:
            validate_data(self, images, reset=reset, skip_check_array=True)
        if reset:
            self.image_shape_ = source.shape
            if not flat:
                self.n_features_in_ = int(np.prod(source.shape))
                self.__dict__.pop("feature_names_in_", None)
        return source

    def _fit(self, X, probe_y):
        with unchanged_if_failed(self):
            self._validate_params()
            source = self._open(X, reset=True)
            source.check()
            self.method_ = self._chosen_method()
            _check_number(source, self.method_, type(self).__name__)
            rng = check_random_state(self.random_state)
            self.value_range_ = value_range(source)
            if hasattr(self.method_, "fit_images"):
                self.method_.fit_images(source, rng)
                for attribute in ("backbone_", "history_"):
                    self.__dict__.pop(attribute, None)
            else:
                # Only what needs torch imports it.
                import_optional("torch", "neural")
                from skclean.embeddings.network import fit_backbone

                self.backbone_, self.history_ = fit_backbone(self, source, rng, probe_y)
            return source

    def _chosen_method(self):
        name = self.method
        if name == "auto":
            given = self.weights is not None or not isinstance(self.backbone, str)
            name = "none" if given else "simclr" if _has_gpu() else "kmeans"
        if self.weights is not None and (name == "kmeans" or hasattr(name, "fit_images")):
            raise ValueError(
                f"{type(self).__name__}: expected weights=None for method={name!r}, which trains "
                f"no backbone, got {self.weights!r}; do set method='none'."
            )
        if name == "kmeans":
            return ConvKMeans()
        if name == "none":
            return "none"
        if isinstance(name, str):
            import skclean.embeddings as home

            return {"simclr": home.SimCLR, "moco": home.MoCo}[name]()
        return clone(self.method)

    def _contain(self, X, source, out):
        """The embeddings of opened images, in a container."""
        dtype = "float64" if source.dtype == np.float64 else "float32"
        shape = source.n, self._n_features_out
        with array_output(out, shape, dtype, type(self).__name__) as features:
            for rows, embedded in self._embed(source):
                features[rows] = embedded
            features[~source.readable] = 0
        if isinstance(out, str | os.PathLike):
            features = np.load(out, mmap_mode="r")
        readable = None if source.readable.all() else source.readable
        if isinstance(X, LabelledSamples):
            samples = X.with_features(features, inputs=source.inputs)
            return samples._new(with_unreadable(samples._as_dict() | {"readable": readable}))
        samples = LabelledSamples(features, inputs=source.inputs, readable=readable)
        return samples._replace(index=X.index) if hasattr(X, "iloc") else samples

    def _embed(self, source):
        """Pairs of rows and their embeddings, a batch at a time."""
        if not hasattr(self.method_, "embed_images"):
            from skclean.embeddings.network import embed

            return embed(self.backbone_, source, self.value_range_, self.device, self.batch_size)
        batches = source.batches(np.arange(source.n), self.batch_size)
        return ((rows, self.method_.embed_images(images)) for rows, images in batches)

    @property
    def _n_features_out(self):
        if hasattr(self, "backbone_"):
            return self.backbone_.n_features
        return self.method_.n_features_out_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _has_gpu():
    """Whether torch is installed and finds a CUDA device."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _check_number(source, method, name):
    """A network is trained on two images at least, as batch norms and contrasts need them."""
    n, least = int(source.readable.sum()), 2 if hasattr(method, "make") else 1
    if n < least:
        raise ValueError(
            f"{name}: expected at least {least} images to learn from, got {n} sample(s) that can "
            f"be read out of {source.n}; do pass more, or check the paths."
        )


def value_range(source: Any) -> tuple[float, float]:
    """What stands for black and for white in the images of a fit: see `value_range_`."""
    if source.dtype == np.uint8:
        return 0.0, 255.0
    low, high = 0.0, 1.0
    for _, images in source.batches(np.flatnonzero(source.readable), VALUE_BATCH):
        low, high = min(low, float(images.min())), max(high, float(images.max()))
    return low, high


def check_values(source: Any, black_white: tuple[float, float], name: str) -> None:
    """Raise ValueError unless images have values like those of a fit with such a `value_range_`.

    Some of the images are read.
    """
    rows, (low, high) = np.flatnonzero(source.readable), black_white
    # Bytes are never outside of their own range, and files need not be read for that.
    if not len(rows) or (source.dtype == np.uint8 and black_white == (0, 255)):
        return
    images = source.read(rows[:: -(-len(rows) // VALUE_BATCH)])
    found, spread = (float(images.min()), float(images.max())), high - low
    # Floats up to 1 in place of integers, or bytes in place of 16 bits, are dark images.
    bytewise = source.dtype == np.uint8
    faint = high > 2 * 255 if bytewise else high >= 255 and 0 < found[1] <= 1
    if faint or found[0] < low - spread or found[1] > high + spread:
        raise ValueError(
            f"{name}: expected images with values from {low:g} to {high:g} as in the fit, got "
            f"{found[0]:g} to {found[1]:g}; do scale them alike."
        )
