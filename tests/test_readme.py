"""The README's Python blocks run in order and print what it says."""

import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+\.?\d*")


def split_numbers(text):
    return NUMBER.split(text), [float(number) for number in NUMBER.findall(text)]


def test_the_examples_print_what_the_readme_says():
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    blocks = [block for block in blocks if block[0] != "console"]
    assert [language for language, _ in blocks] == ["python", ""] * 4
    namespace = {}
    for (_, code), (_, printed) in zip(blocks[::2], blocks[1::2], strict=True):
        if "NeuralRetrainer" in code and not find_spec("torch"):
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, str(README), "exec"), namespace)
        words, numbers = split_numbers(out.getvalue())
        words_said, numbers_said = split_numbers(printed)
        assert words == words_said
        # Versions and processors differ in the last digit.
        assert numbers == pytest.approx(numbers_said, rel=5e-3)
