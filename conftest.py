"""What cannot be collected where an extra is not installed."""

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent
#: Modules that import torch where they are imported themselves, and whose examples need it.
NEED_TORCH = [
    ROOT / "skclean" / "neural" / "retrainer.py",
    *(
        path
        for path in (ROOT / "skclean").rglob("*.py")
        if re.search(r"^(import|from) torch\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ),
]
PAGES = {"PIL": ["images"], "torch": ["retraining"]}

collect_ignore = [] if find_spec("torch") else [str(path) for path in NEED_TORCH]
for module, pages in PAGES.items():
    if not find_spec(module):
        collect_ignore += [str(ROOT / "doc" / "user_guide" / f"{page}.rst") for page in pages]
