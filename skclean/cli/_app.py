"""The commands of the program, with their options."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from skclean._optional import import_optional
from skclean.cli._arrays import memory_available
from skclean.cli._cleaners import CleanerName, EmbedName, parse_threshold
from skclean.cli._console import Console, UsageError, error_text, one_line

typer = import_optional("typer", "cli")

app = typer.Typer(
    name="skclean",
    help="Purify noisy labels. Rows in messages are counted from 0.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_DATA = "Embeddings (.npy, .npz, .parquet, .csv, .tsv), or a folder of images by class."
Option, Argument = typer.Option, typer.Argument

DataPath = Annotated[Path, Argument(metavar="DATA", help=_DATA, show_default=False)]
Labels = Annotated[
    str | None,
    Option("--labels", "-l", help="Column or array of the given labels, or a file of them."),
]
Features = Annotated[
    list[str] | None,
    Option(
        "--features",
        "-f",
        help="Column of lists, columns of numbers by name, pattern ('emb_*') or prefix ('emb_'), "
        "or array in .npz.",
    ),
]
Id = Annotated[
    str | None,
    Option("--id", help="Column of ids that differ [default: the column id, else row numbers]."),
]
Text = Annotated[str | None, Option("--text", help="Column of texts, shown in the report.")]
Trusted = Annotated[
    str | None, Option("--trusted", help="Column or file: true where the label is verified.")
]
Groups = Annotated[
    str | None, Option("--groups", help="Column or file: rows of one group never judge each other.")
]
Cleaner = Annotated[CleanerName, Option("--cleaner", "-c", help="How labels are judged.")]
Threshold = Annotated[
    Any,
    Option(
        "--threshold",
        parser=parse_threshold,
        metavar="FLOAT|f1",
        help="Threshold of the cleaner, from 0 to 1. With -c auto, transition or lsmp, f1 flags "
        "what is worth a look.",
    ),
]
Classes = Annotated[
    str | None, Option("--classes", help="All classes, by commas: any other label is an error.")
]
Missing = Annotated[
    str,
    Option(
        "--missing-label",
        help="What marks a missing label beside empty cells; auto: -1 too; none: nothing.",
    ),
]
Embed = Annotated[EmbedName, Option("--embed", help="How images are embedded.")]
ImageSize = Annotated[
    int | None, Option("--image-size", min=1, help="Side in pixels that images are brought to.")
]
Device = Annotated[str | None, Option("--device", help="cpu, cuda, cuda:1 or mps.")]
Seed = Annotated[int, Option("--seed", min=0, help="Of all random draws.")]
Out = Annotated[
    Path, Option("--out", "-o", help="The table: .parquet, .csv or .npz.", show_default=False)
]
Report = Annotated[Path | None, Option("--report", help="Page for the browser: .html.")]
Prefix = Annotated[str, Option("--prefix", help="Put before the names of the added columns.")]
MaxBytes = Annotated[
    int | None,
    Option("--max-bytes", min=1, help="Most bytes to read into memory [default: what is free]."),
]
Force = Annotated[bool, Option("--force", help="Replace outputs that are there.")]
AsJson = Annotated[bool, Option("--json", help="The result as JSON on stdout.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Show errors alone.")]
Traceback = Annotated[bool, Option("--traceback", help="Show where an error comes from.")]


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Errors of a command become one line on stderr and an exit code."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        console = Console(options.get("quiet", False), options.get("as_json", False))
        try:
            with console.warnings_as_notes():
                command(**options)
        except KeyboardInterrupt:
            print("skclean: interrupted; outputs are whole or as they were.", file=sys.stderr)
            raise typer.Exit(130) from None
        except (ValueError, OSError, ImportError, MemoryError) as error:
            _fail(error, error_text(error), options)
        except Exception as error:
            # What nobody thought of: still one line, with the way to learn more.
            text = f"unexpected {type(error).__name__}: {one_line(error)}; do pass --traceback."
            _fail(error, text, options)

    return run


def _fail(error, text, options):
    if isinstance(error, BrokenPipeError):
        # The reader of stdout has gone; Python would complain again at the end.
        sys.stdout = None
        raise typer.Exit(1) from None
    if options.get("traceback"):
        raise error
    print(f"skclean: error: {text}", file=sys.stderr)
    raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def _limit(max_bytes):
    return memory_available() if max_bytes is None else max_bytes


@app.command()
@reported
def purify(
    data: DataPath,
    out: Out,
    labels: Labels = None,
    report: Report = None,
    save_model: Annotated[
        Path | None, Option("--save-model", help="The fitted cleaner, for `skclean apply`.")
    ] = None,
    features: Features = None,
    id: Id = None,
    text: Text = None,
    trusted: Trusted = None,
    groups: Groups = None,
    cleaner: Cleaner = CleanerName.auto,
    threshold: Threshold = None,
    classes: Classes = None,
    missing_label: Missing = "auto",
    embed: Embed = EmbedName.kmeans,
    image_size: ImageSize = None,
    device: Device = None,
    seed: Seed = 0,
    prefix: Prefix = "",
    max_bytes: MaxBytes = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Find the wrong labels of DATA and mend them.

    The table has the rows of DATA in their order with all their columns, and given_label,
    purified_label (none where nobody can tell), label_proba, clean_proba, status, reason and
    suggested_action.
    """
    from skclean.cli._work import Roles, Settings, run_purify

    run_purify(
        Console(quiet, as_json),
        data,
        Roles(labels, features or [], id, text, trusted, groups),
        Settings(cleaner, threshold, classes, missing_label, embed, image_size, device, seed),
        outputs={"--out": out, "--report": report, "--save-model": save_model},
        prefix=prefix,
        max_bytes=_limit(max_bytes),
        force=force,
    )


@app.command()
@reported
def audit(
    data: DataPath,
    labels: Labels = None,
    features: Features = None,
    id: Id = None,
    trusted: Trusted = None,
    groups: Groups = None,
    cleaner: Cleaner = CleanerName.auto,
    threshold: Threshold = None,
    classes: Classes = None,
    missing_label: Missing = "auto",
    embed: Embed = EmbedName.kmeans,
    image_size: ImageSize = None,
    device: Device = None,
    seed: Seed = 0,
    max_bytes: MaxBytes = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Estimate how many labels of DATA are wrong, and in which classes. Writes nothing."""
    from skclean.cli._work import Roles, Settings, run_audit

    run_audit(
        Console(quiet, as_json),
        data,
        Roles(labels, features or [], id, None, trusted, groups),
        Settings(cleaner, threshold, classes, missing_label, embed, image_size, device, seed),
        max_bytes=_limit(max_bytes),
    )


@app.command()
@reported
def apply(
    model: Annotated[Path, Argument(metavar="MODEL", help="What --save-model wrote.")],
    new: Annotated[Path, Argument(metavar="NEW", help=_DATA)],
    out: Out,
    labels: Labels = None,
    report: Report = None,
    features: Features = None,
    id: Id = None,
    text: Text = None,
    trusted: Trusted = None,
    missing_label: Missing = "auto",
    prefix: Prefix = "",
    max_bytes: MaxBytes = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Purify a later batch by a saved cleaner.

    Rows with a label are purified, rows without one get a predicted label. Columns of features are
    found by the names that they had in the fit.
    """
    from skclean.cli._work import Roles, run_apply

    run_apply(
        Console(quiet, as_json),
        model,
        new,
        Roles(labels, features or [], id, text, trusted),
        missing_label,
        outputs={"--out": out, "--report": report},
        prefix=prefix,
        max_bytes=_limit(max_bytes),
        force=force,
    )


@app.command()
@reported
def apply_decisions(
    table: Annotated[Path, Argument(metavar="TABLE", help="What purify wrote: .parquet, .csv.")],
    decisions: Annotated[Path, Argument(metavar="DECISIONS", help="CSV from the report.")],
    out: Out,
    id: Id = None,
    prefix: Annotated[str, Option("--prefix", help="The --prefix of purify.")] = "",
    classes: Annotated[
        str | None, Option("--classes", help="Classes beside those in TABLE, by commas.")
    ] = None,
    max_bytes: MaxBytes = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Write what was decided in the report into the table.

    Adds the columns decision and final_label: the suggested label where it was accepted, the given
    one where it was rejected, the one that was chosen instead, the purified one in rows without a
    decision.
    """
    from skclean.cli._work import run_apply_decisions

    run_apply_decisions(
        Console(quiet, as_json),
        table,
        decisions,
        out,
        id_column="id" if id is None else id,
        prefix=prefix,
        classes=classes,
        max_bytes=_limit(max_bytes),
        force=force,
    )


@app.command()
@reported
def demo(
    out: Annotated[Path | None, Option("--out", "-o", help=".parquet, .csv or .npz.")] = None,
    report: Report = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
) -> None:
    """Purify digits of which 40 % of the labels are drawn at random; write nothing unless asked."""
    from skclean.cli._work import run_demo

    run_demo(Console(quiet, as_json), {"--out": out, "--report": report}, seed, force)


@app.command()
@reported
def info(as_json: AsJson = False, traceback: Traceback = False) -> None:
    """Show versions, extras and devices."""
    from skclean.cli._info import collect_info, info_text

    found = collect_info()
    Console(as_json=as_json).result({"command": "info", **found}, info_text(found))
