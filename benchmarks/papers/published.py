"""The published numbers, transcribed from the papers' tables."""

import json
from functools import cache
from pathlib import Path


@cache
def tables():
    """All tables by the name of their benchmark.

    Each has paper, reference, caption, data (the data sets that it can run on), columns ("data set,
    noise, rate in %"), rows, and sometimes notes. A row has method, report ("best" or "last" epoch,
    or "final" where the paper gives one figure), values, one a column, in %, None where there is
    none, and sometimes spread.
    """
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def number(name, method, column):
    """Published figures of a method in a column: {report: value}, without those that are missing.

    Parameters
    ----------
    name : str
        Of the table.
    method, column : str
    """
    table = tables()[name]
    position = table["columns"].index(column)
    return {
        row["report"]: row["values"][position]
        for row in table["rows"]
        if row["method"] == method and row["values"][position] is not None
    }
