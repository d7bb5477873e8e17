"""What `import skclean` does, and what it leaves alone."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import skclean
from skclean._conflict import warn_if_overwritten
from skclean._optional import import_optional

HEAVY = ("torch", "matplotlib", "pandas", "cupy", "sklearn", "scipy")


def loaded_by(code):
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    assert not loaded_by("import skclean") & set(HEAVY)


def test_public_names_need_neither_torch_nor_matplotlib():
    """scikit-learn itself loads pandas where it is installed."""
    loaded = loaded_by("from skclean import *")
    assert not loaded & {"torch", "matplotlib", "cupy"}


@pytest.mark.parametrize("module", ["datasets", "metrics"])
def test_subpackages_are_reached_through_the_package(module):
    loaded = loaded_by(f"import skclean; skclean.{module}.__all__")
    assert not loaded & {"torch", "matplotlib", "cupy"}


@pytest.mark.parametrize("name", skclean.__all__)
def test_public_names_exist_and_keep_their_names(name):
    value = getattr(skclean, name)
    assert name == "__version__" or value.__name__ == name
    assert name in dir(skclean)


def test_homes_list_the_public_names():
    assert sorted(skclean._HOMES) == sorted(set(skclean.__all__) - {"__version__"})
    assert skclean.__all__ == sorted(skclean.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'skclean' has no attribute 'NoSuchCleaner'"):
        skclean.NoSuchCleaner  # noqa: B018


def test_version_is_that_of_the_distribution():
    try:
        version = metadata.version("skclean")
    except metadata.PackageNotFoundError:
        pytest.skip("the package is used without being installed")
    assert skclean.__version__ == version


def test_package_is_typed():
    assert Path(skclean.__file__).with_name("py.typed").exists()


def test_import_optional_returns_the_module():
    assert import_optional("json.decoder", "any").JSONDecoder


def test_missing_extra_is_named_with_the_command_that_installs_it():
    with pytest.raises(ImportError, match=r'pip install "skclean\[neural\]"') as caught:
        import_optional("no_such_module.inside", "neural")
    assert caught.value.name == "no_such_module.inside"


WITHOUT_TORCH = """
import sys


class NoTorch:
    def find_spec(self, name, *_):
        if name == "torch":
            raise ModuleNotFoundError(name, name=name)


sys.meta_path.insert(0, NoTorch())
import numpy as np
import skclean
for code in (
    "skclean.NeuralRetrainer(backbone='mlp').fit([[0.0], [1.0]], [0, 1])",
    "skclean.SSLFeaturizer('simclr').fit(np.zeros((4, 8, 8)))",
    "skclean.SSLFeaturizer('none').fit(np.zeros((4, 8, 8)))",
    "from skclean.embeddings import MoCo",
    "from skclean.interop import from_torch",
    "from skclean.neural import MixMatch",
):
    try:
        exec(code)
        print(code)
    except ImportError as error:
        print("named" if 'do `pip install "skclean[neural]"`' in str(error) else repr(error))
"""


def test_without_torch_the_command_that_installs_it_is_named():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True)
    assert done.stdout.split("\n") == [*["named"] * 6, ""], done.stdout + done.stderr


def test_installed_module_that_fails_raises_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "half_broken.py").write_text("import another_missing_module")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="another_missing_module"):
        import_optional("half_broken", "neural")


def test_old_distribution_of_the_same_package_is_warned_of(tmp_path, monkeypatch):
    folder = tmp_path / "scikit_clean-0.1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: scikit-clean\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="scikit-clean 0.1.2.*pip uninstall -y scikit-clean"):
        warn_if_overwritten()


def test_no_warning_without_it(recwarn):
    warn_if_overwritten()
    assert not recwarn.list
