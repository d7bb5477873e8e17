"""Made data for the benchmarks, and results that are written elsewhere."""

import pickle
from functools import partial

import numpy as np
import pytest


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The folder to which benchmarks write here."""
    from benchmarks import _results

    folder = tmp_path / "results"
    monkeypatch.setattr(_results, "FOLDER", folder)
    return folder


@pytest.fixture
def images():
    """From rows, classes and a side to images of classes that are told apart, and their labels."""

    def make(n, n_classes, side=16, channels=3):
        rng = np.random.default_rng(0)
        y = np.arange(n) % n_classes
        shape = (side, side, channels) if channels > 1 else (side, side)
        base = rng.integers(0, 256, (n_classes, *shape))
        noisy = base[y] + rng.normal(0, 40, (n, *shape))
        return np.clip(noisy, 0, 255).astype(np.uint8), y

    return make


@pytest.fixture
def python_cifar(images):
    """From a folder and a number of classes to the files of CIFAR, as its makers publish them."""
    return partial(_write_cifar, images)


def _write_cifar(images, folder, n_classes):
    folder.mkdir(parents=True)
    fine = n_classes > 10
    labels = b"fine_labels" if fine else b"labels"

    def write(name, rows):
        pixels, y = images(rows, n_classes, 32)
        batch = {b"data": pixels.transpose(0, 3, 1, 2).reshape(rows, -1), labels: y.tolist()}
        if fine:
            batch[b"coarse_labels"] = (y // 5).tolist()
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))

    for name in ("train",) if fine else [f"data_batch_{i}" for i in range(1, 6)]:
        write(name, 200 if fine else 20)
    write("test" if fine else "test_batch", 100 if fine else 20)


def write_images(folder, names, images):
    Image = pytest.importorskip("PIL.Image")
    pixels, _ = images(len(names), 3, 24)
    for name, image in zip(names, pixels, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)


@pytest.fixture
def cifar10(tmp_path, images):
    x, y = images(100, 10)
    x_test, y_test = images(40, 10)
    names = "aggre", "random1", "random2", "random3", "worse"
    people = {k: (y + (np.arange(100) % 4 == 0)) % 10 for k in names}
    path = tmp_path / "cifar10.npz"
    np.savez(path, x_train=x, y_train=y[:, None], x_test=x_test, y_test=y_test, **people)
    return path


@pytest.fixture
def cifar100(tmp_path, python_cifar):
    python_cifar(tmp_path / "cifar-100-python", 100)
    return tmp_path


@pytest.fixture
def clothing1m(tmp_path, images):
    train, test = ([f"images/{k}/{i}.jpg" for i in range(30)] for k in (0, 1))
    write_images(tmp_path, [*train, *test], images)
    for kind, names in (("noisy", train), ("clean", test)):
        lines = (f"{name} {i % 3}" for i, name in enumerate(names))
        (tmp_path / f"{kind}_label_kv.txt").write_text("\n".join(lines))
    (tmp_path / "noisy_train_key_list.txt").write_text("\n".join(train))
    (tmp_path / "clean_test_key_list.txt").write_text("\n".join(test))
    return tmp_path


@pytest.fixture
def webvision(tmp_path, images):
    train = [f"google/q000{i % 3}/{i}.jpg" for i in range(30)]
    test = [f"val{i:06}.jpg" for i in range(12)]
    write_images(tmp_path, train, images)
    write_images(tmp_path / "val_images_256", test, images)
    (tmp_path / "info").mkdir()
    lists = (("train_filelist_google.txt", train), ("val_filelist.txt", test))
    for listed, names in lists:
        lines = [f"{name} {i % 3}" for i, name in enumerate(names)]
        # Beyond the classes of the mini set: left out, and not there.
        lines.append("google/q0999/missing.jpg 77")
        (tmp_path / "info" / listed).write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def food101n(tmp_path, images):
    names = [f"{'abc'[i % 3]}/{i}.jpg" for i in range(30)]
    tests = [f"{'abc'[i % 3]}/{i}" for i in range(12)]
    noisy, clean = tmp_path / "Food-101N_release", tmp_path / "food-101"
    write_images(noisy / "images", names, images)
    write_images(clean / "images", [f"{name}.jpg" for name in tests], images)
    for folder in (noisy, clean):
        (folder / "meta").mkdir()
    (noisy / "meta" / "imagelist.tsv").write_text("\n".join(["class_name/key", *names]))
    checked = [f"{name}\t{int(i % 5 > 0)}" for i, name in enumerate(names[:20])]
    (noisy / "meta" / "verified_train.tsv").write_text("\n".join(["class_name/key\t1", *checked]))
    (clean / "meta" / "test.txt").write_text("\n".join(tests))
    return tmp_path
