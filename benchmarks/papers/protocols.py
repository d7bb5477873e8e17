"""The papers' methods as rows: what is trained, how long, and with which settings.

A method is a function from a column of the table to a `Method`. Settings are those of
`SSLFeaturizer` and `NeuralRetrainer`; a `Part` stands for an object that is made when it is needed,
so that reading this needs no torch. Epochs are those of the papers. What a paper leaves open, or
the library does in another way, stands in `notes` and is written beside the figures.
"""

import importlib
from typing import Any, NamedTuple

from skclean import (
    CredibilityRelabeler,
    GMMCleaner,
    LeastSquaresMetaPurifier,
    PrototypeCleaner,
    RankingCleaner,
    TransitionCleaner,
)


class Part(NamedTuple):
    """An object by its dotted name and parameters."""

    path: str
    parameters: dict = {}

    def make(self):
        """The object."""
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)(**self.parameters)


class Train(NamedTuple):
    """A network trained on what the container holds; later steps see its probabilities."""

    settings: dict


class Purify(NamedTuple):
    """Estimators of the library, one after the other."""

    chain: tuple


class Adopt(NamedTuple):
    """The purified labels become the given ones, for a cleaner to divide them anew."""


class Method(NamedTuple):
    """How a row of a table comes about.

    Attributes
    ----------
    steps : tuple of Train, Purify or Adopt
        The last Train is what is tested.
    features : dict, "pixels" or None
        Settings of SSLFeaturizer; pixels, laid flat; none where networks see images alone.
    trusted : int or "verified"
        Rows of a class whose label is known to be right, or all that were checked by the makers.
    report : {"best", "last", "fitted"}
        What a paper's single figure is compared with: the best epoch by test accuracy, the mean of
        the last ten, or the network that `fit` leaves, the best by its validation rows.
    notes : tuple of str
    epoch_rows : int or None
        Rows of an epoch of the paper; none is all of the published training set.
    """

    steps: tuple
    features: Any = None
    trusted: Any = 0
    report: str = "last"
    notes: tuple = ()
    epoch_rows: int | None = None


#: Rows of the published training sets.
PUBLISHED_ROWS = {
    "cifar10": 50_000,
    "cifar100": 50_000,
    "mnist": 60_000,
    "clothing1m": 1_000_000,
    "webvision": 65_944,
    "food101n": 310_009,
}
PREACT = "preact_resnet18"
PLAIN = {"class_balanced": False, "ema_decay": 0.0}
SIMCLR_50 = {"method": "simclr", "backbone": "resnet50", "epochs": 500, "batch_size": 512}
SIMCLR_NOTE = "epochs of SimCLR are not published: 500"
#: Weight of the unlabelled rows in DivideMix, by data and rate of symmetric noise in %.
LAMBDA_U = {
    "cifar10": {20: 0, 50: 25, 80: 25, 90: 50},
    "cifar100": {20: 25, 50: 150, 80: 150, 90: 150},
}
#: What CPC's appendix A.2 changes in DivideMix on CIFAR, and on images of the web.
CPC_SMALL = {"epochs": 450, "batch_size": 128, "warmup_epochs": 10}
CPC_LARGE = {"batch_size": 32, "warmup_epochs": 1, "weight_decay": 1e-3}
#: 1,000 batches of 32.
CPC_EPOCH_ROWS = 32_000
CPC_NOTE = "batches of 128 labelled rows; whether the paper's 128 are labelled ones is not said"
#: CIFAR-100's trusted rows are as many in all as CIFAR-10's.
DMLP_TRUSTED = {"cifar10": 100, "cifar100": 10}


def _rate(column):
    return round(100 * column.rate)


def supervised(backbone=PREACT, *, report="last", **changes):
    """Cross-entropy on the given labels."""
    settings = {
        "objective": Part("skclean.neural.Supervised"),
        "backbone": backbone,
        "epochs": 300,
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "schedule": "step",
        **PLAIN,
        **changes,
    }
    return lambda column: Method((Train(settings),), report=report)


def co_divided(column, cleaner, **changes):
    """Settings of DivideMix's training."""
    human = {"aggre": 0, "random1": 0, "random2": 0, "random3": 0, "worse": 25, "fine": 150}
    rate, asymmetric = _rate(column), column.noise == "asym"
    lambda_u = human.get(column.noise, LAMBDA_U.get(column.data, {}).get(rate, 0))
    mixmatch = {"alpha": 4.0, "prior_weight": 1.0, "lambda_u": 0.0 if asymmetric else lambda_u}
    mixmatch |= changes.pop("mixmatch", {})
    return {
        "objective": Part("skclean.neural.MixMatch", mixmatch),
        "backbone": PREACT,
        "n_networks": 2,
        "cleaner": cleaner,
        "threshold": 0.6 if rate == 90 else 0.5,
        "warmup_epochs": 30 if column.data == "cifar100" else 10,
        "confidence_penalty": 1.0 if asymmetric else 0.0,
        "epochs": 300,
        "batch_size": 64,
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "schedule": "step",
        **PLAIN,
        **changes,
    }


def divide_mix(column):
    """DivideMix."""
    return Method((Train(co_divided(column, GMMCleaner())),), report="best")


def _linear(column):
    """REED's stage 2: a classifier on frozen features."""
    few = column.data == "cifar100"
    return Train(
        {
            "objective": Part("skclean.neural.Supervised"),
            "backbone": "mlp",
            "hidden_units": (),
            "augmentation": Part("skclean.neural.views.FeatureNoise", {"noise": 0.0}),
            "epochs": 100 if few else 200,
            "batch_size": 128,
            "optimizer": "sgd",
            "learning_rate": 0.005 if few else 0.001,
            "schedule": "constant",
            **PLAIN,
        }
    )


def reed(*, stage_3=True, class_balanced=True, graph=True):
    """REED, or its first two stages."""
    weights = {"lambda_lu": 0.01, "lambda_uu": 0.005, "threshold": 0.5}

    def method(column):
        retrain = {
            "objective": Part(
                "skclean.neural.MixMatch",
                {"temperature": 0.5, "alpha": 0.75, "lambda_u": 150 if _many(column) else 50},
            ),
            "backbone": PREACT,
            "class_balanced": class_balanced,
            "graph": Part("skclean.neural.GraphRegularizer", weights) if graph else False,
            "epochs": 500,
            "batch_size": 128,
            "optimizer": "adam",
            "learning_rate": 0.001,
        }
        steps: tuple = (_linear(column),)
        if stage_3:
            purify = Purify((GMMCleaner(), CredibilityRelabeler()))
            steps += (purify, Train(retrain))
        return Method(
            steps,
            features=SIMCLR_50,
            report="best",
            notes=(
                SIMCLR_NOTE,
                "the classifier of stage 2 is linear",
                "T, alpha, lambda_u and the learning rate are one choice out of the grids",
                "the cosine ends at 0 in place of 2e-4",
            ),
        )

    return method


def reed_clothing(column):
    """REED on Clothing1M: MoCo, a short classifier, and the same network fine-tuned."""
    classify = _linear(column).settings
    classify |= {"epochs": 5, "batch_size": 512, "learning_rate": 5.0, "schedule": "step"}
    retrain = {
        "backbone": "resnet50",
        "weights": "features",
        "epochs": 10,
        "optimizer": "sgd",
        "learning_rate": 0.005,
        "image_size": 224,
    }
    return Method(
        (Train(classify), Purify((GMMCleaner(), CredibilityRelabeler())), Train(retrain)),
        features={"method": "moco", "backbone": "resnet50", "epochs": 200, "image_size": 224},
        notes=("epochs of stages 1 and 3 are not published: 200 and 10", "one learning rate"),
    )


def dmlp(*, divide):
    """DMLP-Naive, or DMLP-DivideMix."""

    def method(column):
        steps: tuple = (Purify((LeastSquaresMetaPurifier("paper"),)),)
        if divide:
            steps += (Adopt(), Train(co_divided(column, GMMCleaner())))
        else:
            steps += supervised()(column).steps
        return Method(
            steps,
            features=SIMCLR_50,
            trusted=DMLP_TRUSTED[column.data],
            report="best",
            notes=(SIMCLR_NOTE, "1,000 validation rows: their number is not in the slides"),
        )

    return method


def aug_dmix(column):
    """AugDMix, CPC's base: DivideMix with strong views."""
    settings = co_divided(column, GMMCleaner(), mixmatch={"mixed_views": "strong"}, **CPC_SMALL)
    notes = "AugDMix with the settings of CPC, whose base it is", CPC_NOTE
    return Method((Train(settings),), report="best", notes=notes)


def cpc(column):
    """CPC: AugDMix, divided by prototypes."""
    agnostic = column.noise == "asym" or column.data == "clothing1m"
    cleaner = PrototypeCleaner(
        threshold=0.3 if column.data == "clothing1m" else 0.5,
        objective="paper",
        class_aware=not agnostic,
    )
    settings = co_divided(column, cleaner, mixmatch={"mixed_views": "strong"}, **CPC_SMALL)
    settings["threshold"] = cleaner.threshold
    notes: tuple = (
        "prototypes warm up with the network",
        "alpha is 0; the paper takes 0 or 1",
        CPC_NOTE,
    )
    if column.data == "webvision":
        notes += ("strong views, which the paper names for CIFAR and Clothing1M alone",)
    return Method((Train(settings),), report="best", notes=notes)


def cpc_base(column):
    """DivideMix, with strong views on Clothing1M alone: the baseline of CPC's table 1."""
    return (aug_dmix if column.data == "clothing1m" else divide_mix)(column)


def cpc_large(method):
    """CPC or its base on WebVision and Clothing1M."""

    def large(column):
        clothing = column.data == "clothing1m"
        found = method(column)
        settings = found.steps[0].settings | {
            "backbone": "resnet50",
            "weights": "DEFAULT" if clothing else None,
            "image_size": 224,
            "epochs": 80 if clothing else 100,
            "learning_rate": 0.002 if clothing else 0.01,
            **CPC_LARGE,
        }
        notes = tuple(note for note in found.notes if note != CPC_NOTE)
        return found._replace(
            steps=(Train(settings),),
            notes=(*notes, "an epoch is all rows; the paper's is 1,000 batches of 32 of them"),
            epoch_rows=CPC_EPOCH_ROWS,
        )

    return large


def ieg(backbone, trusted, *, mixed=5.0, consistency=20.0, notes=(), **changes):
    """IEG with some trusted rows of a class; p is `mixed` and k `consistency`."""
    weights = {"mixed_weight": mixed, "consistency_weight": consistency}
    settings = {
        "objective": Part("skclean.neural.IEG", weights),
        "backbone": backbone,
        "epochs": 200,
        "batch_size": 100,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "ema_decay": 0.999,
        "class_balanced": False,
        **changes,
    }
    notes = (
        "one cosine in place of restarts",
        "the number of epochs is not published: 200",
        *notes,
    )
    return lambda column: Method((Train(settings),), trusted=trusted, notes=notes)


def two_stage(column):
    """Ranking of the labels by a network, then temporal ensembling."""
    base, one_stage = two_stage_network(column), two_stage_base(column)
    first = {**base, "class_balanced": True}
    second = {
        **base,
        "objective": Part("skclean.neural.TemporalEnsembling", {"weight": 30.0}),
        "backbone": base["backbone"].replace("resnet14", "resnet14_dropout"),
        "class_balanced": True,
        "epochs": 300,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "schedule": "cosine",
    }
    return one_stage._replace(
        steps=(Train(first), Purify((RankingCleaner(calibrate=False),)), Train(second)),
        notes=(
            *one_stage.notes,
            "stage 2 starts from new weights, not from those of stage 1",
            "stage 2's optimizer, rate and epochs are not published: Adam, 0.003 and 300, those of "
            "temporal ensembling",
        ),
    )


def two_stage_network(column):
    """Settings of the two-stage paper's networks."""
    settings = {
        "objective": Part("skclean.neural.Supervised"),
        "batch_size": 128,
        "validation_fraction": 0.1,
        **PLAIN,
    }
    if column.data == "mnist":
        hidden = {"backbone": "mlp", "hidden_units": (128, 128), "dropout": 0.5, "epochs": 40}
        noise = Part("skclean.neural.views.FeatureNoise", {"noise": 0.15})
        return settings | hidden | {"optimizer": "adam", "augmentation": noise}
    sgd = {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "step", "epochs": 120}
    return settings | sgd | {"backbone": "resnet14"}


def two_stage_base(column):
    """Cross-entropy of the two-stage paper."""
    notes: tuple = ("the learning rate falls by a fixed schedule, not where accuracy stays",)
    if column.data == "mnist":
        notes += ("Adam at 0.002 in place of AdaGrad at 0.1",)
    return Method(
        (Train(two_stage_network(column)),), features="pixels", report="fitted", notes=notes
    )


def own(column):
    """The library's own default, for comparison with the best that is published."""
    retrain = {"backbone": PREACT, "epochs": 300, "objective": "mixmatch"}
    features = {"method": "simclr", "backbone": "resnet18", "epochs": 500}
    return Method((Purify((TransitionCleaner(),)), Train(retrain)), features=features)


def _many(column):
    return column.data == "cifar100"


_IEG_SMALL = {"Ours-RN29": ieg("resnet29v2", 10), "Ours": ieg("wrn28_10", 10)}

#: Table -> row -> method. Rows that are not here are published numbers alone.
METHODS = {
    "reed-table2": {
        "Cross-Entropy (CE)": supervised(),
        "REED (no Stage-3)": reed(stage_3=False),
        "REED": reed(),
    },
    "reed-table3": {"REED": reed()},
    "reed-table4": {"REED": reed_clothing},
    "reed-table5": {
        "no CBS, no GSR": reed(class_balanced=False, graph=False),
        "GSR": reed(class_balanced=False),
        "CBS": reed(graph=False),
        "CBS and GSR": reed(),
    },
    "dmlp-table1": {
        "Cross-Entropy (CE)": supervised(),
        "DivideMix": divide_mix,
        "REED": reed(),
        "DMLP-Naive": dmlp(divide=False),
        "DMLP-DivideMix": dmlp(divide=True),
    },
    "dmlp-table2": {
        "DivideMix": divide_mix,
        "REED": reed(),
        "DMLP-Naive": dmlp(divide=False),
        "DMLP-DivideMix": dmlp(divide=True),
    },
    "cpc-table1": {"Baseline": cpc_large(cpc_base), "Ours": cpc_large(cpc)},
    "cpc-table2": {"DivideMix": divide_mix, "AugDMix": aug_dmix, "Ours": cpc},
    "ieg-table1": {
        "Ours-RN29 (M=0.1k)": ieg("resnet29v2", 10),
        "Ours (M=0.01k)": ieg("wrn28_10", 1),
        "Ours (M=0.05k)": ieg("wrn28_10", 5),
        "Ours (M=0.1k)": ieg("wrn28_10", 10),
    },
    "ieg-table2": {
        "Ours-RN29 (M=1k)": ieg("resnet29v2", 10),
        "Ours (M=0.1k)": ieg("wrn28_10", 1),
        "Ours (M=0.5k)": ieg("wrn28_10", 5),
        "Ours (M=1k)": ieg("wrn28_10", 10),
    },
    "ieg-table3": _IEG_SMALL,
    "ieg-table4": _IEG_SMALL,
    "ieg-table5": {
        "RN29": supervised("resnet29v2", epochs=200, learning_rate=0.1),
        "WRN28-10": supervised("wrn28_10", epochs=200, learning_rate=0.1),
        **_IEG_SMALL,
    },
    "ieg-table6": {
        "Ours-RN50": ieg(
            "resnet50",
            10,
            mixed=4.0,
            consistency=8.0,
            image_size=224,
            notes=(
                "k is 8, as in the paper's section 5.3; its appendix B says 40",
                "trusted rows are drawn from WebVision, wrong labels among them, where the paper "
                "takes 10 images a class from ImageNet",
            ),
        )
    },
    "ieg-table7": {
        "ResNet50": supervised("resnet50", image_size=224, epochs=100),
        "Ours-RN50": ieg("resnet50", "verified", mixed=1.0, consistency=14.0, image_size=224),
    },
    "two-stage-table3": {"cross-entropy": two_stage_base, "ours": two_stage},
    "cifar-n": {
        "Cross-Entropy (CE)": supervised("resnet34", epochs=100, learning_rate=0.1, report="best"),
        "DivideMix": divide_mix,
        "TransitionCleaner, NeuralRetrainer": own,
    },
}
