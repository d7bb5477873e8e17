"""The parameters of NeuralRetrainer."""

from numbers import Integral, Real

from skclean._validation import HasMethods, Interval, StrOptions
from skclean.embeddings._settings import OPERATIONAL, InstanceSettings

#: Classes of the objectives, each in a module of its name.
OBJECTIVES = {
    "fixmatch": "FixMatch",
    "ieg": "IEG",
    "mixmatch": "MixMatch",
    "pi_model": "PiModel",
    "remixmatch": "ReMixMatch",
    "supervised": "Supervised",
    "temporal_ensembling": "TemporalEnsembling",
}


class RetrainerSettings(InstanceSettings):
    """What `NeuralRetrainer` is set up with, and what each parameter may be."""

    _parameter_constraints: dict = {
        "objective": [StrOptions(set(OBJECTIVES)), HasMethods(["start", "terms"])],
        "backbone": [str, HasMethods(["forward", "state_dict"])],
        "weights": [str, HasMethods(["__fspath__"]), HasMethods(["fit"]), None],
        "hidden_units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "use": [StrOptions({"labels", "soft"})],
        "graph": ["boolean", HasMethods(["terms"])],
        "class_balanced": ["boolean"],
        "n_networks": [Interval(Integral, 1, 2, closed="both")],
        "cleaner": [HasMethods(["assess"]), None],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "loss_window": [Interval(Integral, 1, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "confidence_penalty": [Interval(Real, 0, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "unlabelled_ratio": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "schedule": [StrOptions({"cosine", "step", "constant"}), callable],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "ema_decay": [Interval(Real, 0, 1, closed="left")],
        "augmentation": [callable, None],
        "strong_augmentation": [callable, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="left"), StrOptions({"trusted"})],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "callbacks": ["array-like", None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "image_shape": ["array-like", None],
        "precision": [StrOptions({"auto", "32-true", "16-mixed", "bf16-mixed"})],
        **OPERATIONAL,
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
        loss_window=1,
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
        self.loss_window = loss_window
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
