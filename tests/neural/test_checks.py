"""Settings that do not go together, and trusted rows that are too few."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from skclean import GMMCleaner, LabelledSamples, NeuralRetrainer  # noqa: E402
from skclean.datasets import load_noisy_digits  # noqa: E402
from skclean.neural import FeatureNoise, MixMatch  # noqa: E402

DIGITS = load_noisy_digits(noise_rate=0.3, random_state=0)
X, Y, TRUE = DIGITS.data[:200], DIGITS.target_noisy[:200], DIGITS.target[:200]
IMAGES = DIGITS.images[:200]


def quick(objective="supervised", **changes):
    return NeuralRetrainer(objective, **{"epochs": 2, "hidden_units": 16} | changes)


class Silent:
    on_epoch_end = None


@pytest.mark.parametrize(
    ("changes", "images", "message"),
    [
        ({"hidden_units": [8, 0]}, False, r"hidden_units of whole numbers .* got \[8, 0\]"),
        ({"hidden_units": [3.5]}, False, "hidden_units of whole numbers"),
        ({"hidden_units": [[2]]}, False, "hidden_units of whole numbers"),
        ({"hidden_units": [True]}, False, "hidden_units of whole numbers"),
        ({"hidden_units": np.array([True])}, False, "hidden_units of whole numbers"),
        ({"callbacks": [object()]}, False, "callbacks with on_epoch_end"),
        ({"callbacks": [Silent()]}, False, "callbacks with on_epoch_end"),
        ({"callbacks": [Silent]}, False, r"instances as callbacks, .* do pass Silent\(\)"),
        ({"objective": MixMatch}, False, r"instance as objective, .* do pass MixMatch\(\)"),
        ({"cleaner": GMMCleaner}, False, "instance as cleaner"),
        ({"augmentation": FeatureNoise}, False, "instance as augmentation"),
        ({"augmentation": FeatureNoise()}, True, "augmentations of images"),
    ],
)
def test_settings_that_cannot_be_are_errors(changes, images, message):
    with pytest.raises(ValueError, match=message):
        quick(**changes).fit(IMAGES if images else X, Y)


@pytest.mark.parametrize(
    "widths", [[8.0], np.array(8), np.array([8.0]), np.int64(8), (8,)], ids=str
)
def test_widths_of_layers_by_many_types(widths):
    fitted = quick(hidden_units=widths, epochs=1).fit(X, Y)
    assert [p.shape for p in fitted.networks_[0].body.parameters()] == [(8, 64), (8,)]


# Trusted rows beside the others


def test_ieg_warns_of_classes_without_trusted_rows():
    trusted = (TRUE != 3) & (TRUE != 7)
    y = np.where(trusted, TRUE, Y)
    few = np.isin(np.arange(200), [np.flatnonzero(TRUE == c)[0] for c in range(10)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick("ieg").fit(X, np.where(few, TRUE, Y), trusted=few)
    with pytest.warns(UserWarning, match=r"got none of \[3, 7\]; without them") as caught:
        quick("ieg").fit(X, y, trusted=trusted)
    assert caught[0].filename == __file__
    only = (TRUE == 3) & few
    with pytest.warns(UserWarning, match=r"got none of \[0, 1, 2, 4, 5, 6, \.\.\.\]"):
        one = quick("ieg").partial_fit(X, np.where(only, TRUE, Y), range(10), trusted=only)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.partial_fit(X, np.where(only, TRUE, Y), trusted=only)


def test_ieg_wants_rows_beside_the_trusted_ones():
    with pytest.raises(ValueError, match="expected labelled rows beside the trusted ones"):
        quick("ieg").fit(X, TRUE, trusted=np.ones(200, bool))


def test_trusted_rows_of_weight_zero_teach_ieg_nothing():
    trusted, weight = np.arange(200) < 150, np.where(np.arange(200) < 50, 0, 1)
    y = np.where(trusted, TRUE, Y)
    options = {"trusted": trusted, "weight": weight}
    other = LabelledSamples(X, np.where(weight, y, (y + 1) % 10), **options)
    one = quick("ieg").fit(LabelledSamples(X, y, **options))
    np.testing.assert_array_equal(one.predict_proba(X), quick("ieg").fit(other).predict_proba(X))
    options["weight"] = np.where(trusted, 0, 1)
    with pytest.raises(ValueError, match="expected trusted rows of a weight above zero"):
        quick("ieg").fit(LabelledSamples(X, y, **options))


def test_ieg_has_no_soft_targets_of_purified_labels():
    trusted = np.arange(200) < 50
    samples = LabelledSamples(X, np.where(trusted, TRUE, Y))
    samples = GMMCleaner().fit_transform(samples.with_labels(trusted=trusted))
    with pytest.raises(ValueError, match="expected use='labels' with IEG"):
        quick("ieg", use="soft").fit(samples)
    own = np.random.default_rng(0).dirichlet(np.ones(10), 200)
    samples = LabelledSamples(X, np.where(trusted, TRUE, Y), trusted=trusted, proba=own)
    soft, hard = (quick("ieg", use=use).fit(samples).predict_proba(X) for use in ("soft", "labels"))
    assert np.abs(soft - hard).max() > 1e-4
