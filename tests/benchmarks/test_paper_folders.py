import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from benchmarks import _registry
from benchmarks.papers import data as image_data
from benchmarks.papers.protocols import METHODS

TINY = ["--backbone", "conv_net", "--features", "kmeans", "--rows", "90", "--test-rows", "30"]


def run(name, path, results, *arguments):
    _registry.run(name, ["--data", str(path), *TINY, "--share", "1e-9", *arguments])
    return json.loads((results / f"{name}.json").read_text())["records"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("reed-table4", "clothing1m"),
        ("cpc-table1", "clothing1m"),
        ("cpc-table1", "webvision"),
        ("ieg-table6", "webvision"),
        ("ieg-table7", "food101n"),
    ],
)
def test_tables_on_folders_of_images(name, data, results, request):
    folder = request.getfixturevalue(data)
    records = run(name, folder, results, "--columns", data, "--image-size", "16")
    assert {r["method"] for r in records} == set(METHODS[name])
    assert all("images of 16 pixels" in r["notes"] for r in records)
    # Nobody knows the true labels.
    assert np.isnan([[r["given"], r["labels"]] for r in records]).all()


def test_verified_rows_of_food101n_are_the_ones_to_trust(food101n):
    found = image_data.load(food101n, "food101n")
    assert found.verified.sum() == 16 and len(found.y_test) == 12
    assert set(found.y) == {0, 1, 2}


def test_rows_beyond_the_mini_classes_are_left_out(webvision):
    found = image_data.load(webvision, "webvision")
    assert len(found.y) == 30 and len(found.y_test) == 12
