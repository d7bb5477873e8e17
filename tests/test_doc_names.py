"""Names in the documentation: every dotted one leads somewhere, every link to a page too."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: What building the documentation leaves behind.
MADE = {"auto_examples", "generated", "_build", "sg_execution_times.rst"}
PAGES = sorted(
    page
    for page in (ROOT / "doc").rglob("*.rst")
    if not MADE & set(page.relative_to(ROOT / "doc").parts)
)
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
DOTTED = re.compile(r"(?<![\w./-])skclean(?:\.[A-Za-z_]\w*)+(?![\w/-])")
LINK = re.compile(r":doc:`(?:[^`<]*<)?([^`<>]+)>?`")


def resolve(name):
    """The module or attribute of a dotted name; None if an extra that it needs is missing."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("skclean"):
                continue
            return None
        except ImportError:
            return None
        for part in parts[k:]:
            try:
                found = getattr(found, part)
            except ImportError:
                return None
        return found
    raise AttributeError(name)


@pytest.mark.parametrize("page", PAGES + EXAMPLES, ids=lambda page: page.stem)
def test_dotted_names_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in sorted(set(DOTTED.findall(text))):
        resolve(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        base = ROOT / "doc" if target.startswith("/") else page.parent
        path = (base / target.lstrip("/")).resolve()
        if path.parent.name == "auto_examples":
            path = ROOT / "examples" / path.name
            assert path.with_suffix(".py").exists() or path.name == "index", target
        else:
            assert path.with_suffix(".rst").exists(), target


def test_references_have_a_target():
    """Sphinx does not say so: warnings of :ref: are off, for inherited docstrings."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    labels = {label for text in texts for label in re.findall(r"^\.\. _([\w-]+):", text, re.M)}
    used = {name for text in texts for name in re.findall(r":ref:`(?:[^`<]*<)?([^`<>]+)>?`", text)}
    assert used <= labels


def test_a_wrong_name_is_noticed():
    with pytest.raises(AttributeError):
        resolve("skclean.metrics.no_such_scorer")
    with pytest.raises(AttributeError):
        resolve("skclean.no_such_module.thing")
