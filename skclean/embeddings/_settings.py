"""The parameters of SSLFeaturizer."""

from numbers import Integral, Real

from sklearn.base import BaseEstimator

from skclean._validation import HasMethods, Interval, StrOptions

_METHODS = ("auto", "kmeans", "moco", "none", "simclr")
#: Parameters that say how a training runs, and not what comes out of it.
OPERATIONAL: dict = {
    "device": [str, None],
    "devices": [Interval(Integral, 1, None, closed="left")],
    "num_nodes": [Interval(Integral, 1, None, closed="left")],
    "compile": ["boolean"],
    "n_workers": [Interval(Integral, 0, None, closed="left"), None],
    "on_error": [StrOptions({"raise", "skip"})],
    "checkpoint_dir": [str, HasMethods(["__fspath__"]), None],
    "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
    "resume": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["boolean"],
}


class InstanceSettings(BaseEstimator):
    """An estimator none of whose parameters may be a class."""

    def _validate_params(self):
        super()._validate_params()
        for key, value in self.get_params(deep=False).items():
            if isinstance(value, type):
                raise ValueError(
                    f"{type(self).__name__}: expected an instance as {key}, got the class "
                    f"{value.__name__}; do pass {value.__name__}()."
                )


class FeaturizerSettings(InstanceSettings):
    """What `SSLFeaturizer` is set up with, and what each parameter may be."""

    _parameter_constraints: dict = {
        "method": [
            StrOptions(set(_METHODS)),
            HasMethods(["fit_images", "embed_images"]),
            HasMethods(["make"]),
        ],
        "backbone": [str, HasMethods(["forward", "state_dict"])],
        "weights": [str, HasMethods(["__fspath__"]), None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "image_shape": ["array-like", None],
        "augmentation": [callable, None],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "optimizer": [StrOptions({"sgd", "lars"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left"), None],
        "precision": [StrOptions({"auto", "32-true", "16-mixed", "bf16-mixed"})],
        "probe_every": [Interval(Integral, 1, None, closed="left")],
        **OPERATIONAL,
    }

    def __init__(
        self,
        method="auto",
        backbone="resnet18",
        *,
        weights=None,
        image_size=None,
        image_shape=None,
        augmentation=None,
        epochs=200,
        batch_size=512,
        optimizer="sgd",
        learning_rate=None,
        weight_decay=1e-4,
        warmup_epochs=None,
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
        probe_every=10,
        random_state=0,
        verbose=False,
    ):
        self.method = method
        self.backbone = backbone
        self.weights = weights
        self.image_size = image_size
        self.image_shape = image_shape
        self.augmentation = augmentation
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
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
        self.probe_every = probe_every
        self.random_state = random_state
        self.verbose = verbose
