import importlib.util
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from skclean.embeddings import _torchvision  # noqa: E402
from skclean.embeddings._torchvision import import_torchvision  # noqa: E402


def test_models_and_transforms_can_be_imported():
    assert import_torchvision().__name__ == "torchvision"
    models = import_torchvision("torchvision.models")
    assert models is sys.modules["torchvision.models"] is import_torchvision().models
    assert callable(import_torchvision("torchvision.transforms.v2.functional").adjust_hue)


def test_a_failed_attempt_before_does_no_harm():
    code = (
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass\n"
        "from skclean.embeddings._torchvision import import_torchvision\n"
        "import_torchvision('torchvision.models').resnet18"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_torchvision_that_can_be_imported_is_left_alone(monkeypatch):
    healthy, modules = import_torchvision(), dict(sys.modules)
    monkeypatch.setattr(_torchvision, "_declared", [])
    assert import_torchvision() is healthy
    assert not _torchvision._declared and sys.modules == modules


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), OSError("no such library")])
def test_other_errors_stay_as_they_are(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(_torchvision, "import_optional", fail)
    before = set(sys.modules)
    with pytest.raises(type(error), match=str(error)):
        import_torchvision()
    assert set(sys.modules) == before


def test_without_torchvision_the_extra_is_named(monkeypatch):
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ImportError, match=r"skclean\[neural\]"):
        import_torchvision("torchvision.models")
