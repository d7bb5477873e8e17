"""torchvision, also where its compiled operators cannot be loaded."""

import sys
from types import ModuleType

import torch

from skclean._optional import import_optional

#: What torchvision's Python code refers to by name while it is imported.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # A schema lives as long as its library does.


def import_torchvision(module: str = "torchvision") -> ModuleType:
    """Import torchvision or a module of it.

    A torchvision that was built for another torch, as a CUDA build beside a torch for the CPU,
    loads none of its compiled operators and fails at the first one that its Python code names.
    Models and transforms need none of them. There, and only there, the names are declared without
    a kernel and the import is tried again.

    Parameters
    ----------
    module : str, default="torchvision"
        Dotted name, such as ``"torchvision.models"``.

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        If torchvision is not installed. Any other failure of the import is raised as it is.
    """
    try:
        return import_optional(module, "neural")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error) or _declared:
            raise
    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    return import_optional(module, "neural")
