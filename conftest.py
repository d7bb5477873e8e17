"""What cannot be collected where an extra is not installed."""

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent
#: Files whose examples need a package that they import only when it is used.
NEEDED = {
    "PIL": ["doc/user_guide/images.rst"],
    "dask": ["doc/user_guide/scale.rst"],
    "pyarrow": ["doc/user_guide/scale.rst"],
    "torch": ["doc/user_guide/retraining.rst", "skclean/neural/retrainer.py"],
    "typer": ["skclean/cli/_app.py"],
}


def need(module):
    """Files that cannot be imported, or whose examples cannot run, without a package."""
    imports = re.compile(rf"^(import|from) {module}\b", re.MULTILINE)
    files = (ROOT / "skclean").rglob("*.py")
    yield from (path for path in files if imports.search(path.read_text(encoding="utf-8")))
    yield from (ROOT / path for path in NEEDED.get(module, ()))


collect_ignore = [str(path) for module in NEEDED if not find_spec(module) for path in need(module)]
