"""write_report: what a cleaner found, as one page for people."""

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache, partial
from importlib.resources import files
from numbers import Integral
from pathlib import Path
from typing import Any

from skclean._files import replacing
from skclean._optional import import_optional
from skclean.inspection._display import parts as parts_of
from skclean.inspection._figures import GROUND, HEIGHT, WIDTH, figures
from skclean.inspection._report_data import (
    audit_samples,
    class_table,
    confusion,
    status_counts,
)
from skclean.inspection._report_rows import opened_ids, opened_list, row_data, suspicious_rows
from skclean.inspection._thumbnails import thumbnails
from skclean.inspection.verdicts import is_ranking, verdicts
from skclean.samples import LabelledSamples

#: Bytes of the page; what the rest leaves is for pictures.
MAX_BYTES = 4_700_000


def write_report(
    samples: LabelledSamples,
    path: Any,
    *,
    cleaner: Any = None,
    ids: Any = None,
    texts: Any = None,
    title: str = "Label report",
    max_rows: int = 500,
    overwrite: bool = False,
) -> Path:
    """Write an HTML page about purified labels, in which suggestions are judged by people.

    One file without links to others, below 5 MB: how many labels are wrong and in which classes,
    where they went, the fitted mixtures, and the most suspicious rows with their pictures or texts
    and the nearest rows that can be believed. There a suggestion is accepted, rejected, or another
    class chosen. Decisions are kept by the browser and exported as a CSV file with the columns id,
    given_label, suggested_label, decision (accept, reject or other) and label.

    Parameters
    ----------
    samples : LabelledSamples of n rows
        Purified, with given labels. Its `inputs` are shown where they are images as
        `skclean.embeddings` takes them; files, and pictures compressed well, need Pillow.
    path : path-like
        The file to write.
    cleaner : fitted estimator, Pipeline or None, default=None
        What purified the rows: its mixtures are drawn, and the number of wrong labels gets an
        interval if its ``audit`` tells how many there are.
    ids : array-like of shape (n,) or None, default=None
        By which the decisions find their rows: all different. None takes the index of the
        DataFrame that the features came in, else the positions of the rows.
    texts : array-like of shape (n,) or None, default=None
        What the rows say, shown in the table; None, NaN and pandas.NA in rows without.
    title : str, default="Label report"
    max_rows : int, default=500
        Most rows in the table, the worst first; fewer where their texts would take too much.
    overwrite : bool, default=False
        Whether a file that is there is replaced.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileExistsError
        If the file is there and `overwrite` is False.
    ValueError
        If the samples were not purified, carry no given labels, or ids or texts are not as they
        must be.
    ImportError
        If jinja2 is not installed: ``pip install skclean[report]``.

    Examples
    --------
    >>> from skclean import TransitionCleaner
    >>> from skclean.datasets import load_noisy_digits
    >>> from skclean.inspection import write_report
    >>> digits = load_noisy_digits(noise_rate=0.2, random_state=0)
    >>> cleaner = TransitionCleaner()
    >>> samples = cleaner.fit_transform(digits.data, digits.target_noisy)
    >>> write_report(samples, "report.html", cleaner=cleaner)  # doctest: +SKIP
    """
    path = Path(path)
    _check(samples, path, max_rows, overwrite)
    names = opened_ids(ids, samples)
    if texts is not None:
        texts = opened_list(texts, len(samples), "texts")
    parts = [part for part in parts_of(cleaner) if hasattr(part, "fit")]
    ranking = is_ranking(cleaner)
    audit, interval = (None, False) if ranking else audit_samples(samples, parts)
    if audit is not None and not audit.informative:
        # The cleaner could not tell: what it says of single labels is not shown either.
        samples = samples._replace(clean_proba=None)
    rows = suspicious_rows(samples)
    told = audit is None or audit.informative
    judge = partial(verdicts, evidence=told, ranking=ranking)
    data, pictures = row_data(samples, rows[:max_rows], names, texts, judge, ranking)
    data["told"], data["ranking"] = told, ranking
    context = {
        "title": str(title),
        "n": len(samples),
        "n_labelled": int((samples.given >= 0).sum()),
        "n_classes": len(samples.classes),
        "n_suspicious": len(rows),
        "n_listed": len(data["rows"]),
        "audit": audit,
        "interval": interval,
        "statuses": status_counts(samples),
        "classes": class_table(samples, audit is not None and audit.informative),
        "confusion": confusion(samples),
        "figures": figures(samples, parts, ranking),
        "width": WIDTH,
        "height": HEIGHT,
        "ground": GROUND,
        "cleaner": " → ".join(type(part).__name__ for part in parts),
        "has_texts": texts is not None,
        "data": data,
    }
    room = max(MAX_BYTES - len(_rendered(**context, note=None)), 0)
    data["pictures"], note = thumbnails(samples.inputs, pictures, room)
    page = _rendered(**context, note=note)
    with replacing(path) as temporary:
        temporary.write_bytes(page)
    return path


def _check(samples, path, max_rows, overwrite):
    if not isinstance(samples, LabelledSamples):
        raise ValueError(
            f"write_report: expected LabelledSamples, got {type(samples).__name__}; do pass what "
            "transform of a cleaner returns."
        )
    if samples.given is None or samples.status_codes is None or samples.label_codes is None:
        missing = "no given labels" if samples.given is None else "labels that no cleaner judged"
        mend = (
            "pass LabelledSamples(X, y) to transform"
            if samples.given is None
            else "pass what fit_transform of a cleaner returns"
        )
        raise ValueError(
            f"write_report: expected purified labels beside given ones, got {missing}; do {mend}."
        )
    if isinstance(max_rows, bool) or not isinstance(max_rows, Integral) or max_rows < 1:
        raise ValueError(
            f"write_report: expected max_rows of at least 1, got {max_rows!r}; do pass 500, say."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"write_report: expected a file that is not there yet, got {str(path)!r}; do name "
            "another, or pass overwrite=True."
        )


def _rendered(**context):
    """The page as UTF-8."""
    template, style, script = _opened_template()
    markup = import_optional("markupsafe", "report").Markup
    # The policy names the page's own style and script: nothing else may run.
    page = template.render(
        **context,
        date=datetime.now(UTC).date().isoformat(),
        style=markup(style),
        script=markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    # What UTF-8 cannot hold, halves of surrogate pairs, is written as \udc80.
    return page.encode("utf-8", "backslashreplace")


@cache
def _opened_template():
    """The template of the page, its style and its script."""
    jinja2 = import_optional("jinja2", "report")
    folder = files("skclean.inspection") / "templates"
    names = ("report.html", "figure.html", "report.css", "report.js")
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.DictLoader(sources),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html")
    return template, sources["report.css"], sources["report.js"]


def _hash(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
