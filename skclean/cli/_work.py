"""What the commands do."""

from pathlib import Path

import numpy as np

from skclean.cli import _cleaners, _results
from skclean.cli._columns import as_classes
from skclean.cli._console import Console, UsageError
from skclean.cli._decisions import apply_decisions
from skclean.cli._features import check_width
from skclean.cli._inputs import Data, Roles, read_data
from skclean.cli._outputs import Outputs, check_suffix
from skclean.cli._samples import Settings, fit, read_samples, samples_of, without_fitted_labels
from skclean.cli._tables import TABLES, read_table
from skclean.inspection.verdicts import is_evidence, is_ranking
from skclean.samples import LabelledSamples


def run_purify(
    console: Console,
    path: Path,
    roles: Roles,
    settings: Settings,
    *,
    outputs: dict[str, Path | None],
    prefix: str,
    max_bytes: int,
    force: bool,
) -> None:
    """``skclean purify``."""
    cleaner = _cleaners.make_cleaner(settings.cleaner, settings.threshold, settings.seed)
    files = _open_outputs(outputs, force, _inputs(path, roles))
    data, samples = read_samples(console, path, roles, settings, max_bytes)
    _check_table(data, files, prefix)
    model, samples = fit(console, data, samples, cleaner, settings)
    audit = _results.audit_of(cleaner)
    summary = _results.summary_of("purify", samples, cleaner)
    summary["audit"] = _results.audit_as_dict(audit)
    _write(console, files, data, samples, model, prefix)
    summary["outputs"] = _shown(outputs)
    console.result(summary, _results.told(summary, audit, is_ranking(model)))


def run_audit(
    console: Console, path: Path, roles: Roles, settings: Settings, *, max_bytes: int
) -> None:
    """``skclean audit``."""
    cleaner = _cleaners.make_cleaner(settings.cleaner, settings.threshold, settings.seed)
    if not cleaner._tells_how_many:
        raise UsageError(
            "--cleaner: expected one that tells how many labels are wrong, got "
            f"{settings.cleaner}; do choose e.g. transition."
        )
    data, samples = read_samples(console, path, roles, settings, max_bytes)
    _, samples = fit(console, data, samples, cleaner, settings)
    audit = cleaner.audit()
    summary = _results.summary_of("audit", samples, cleaner)
    summary.update(_results.audit_as_dict(audit) or {})
    console.result(summary, str(audit))


def run_apply(
    console: Console,
    model_path: Path,
    path: Path,
    roles: Roles,
    missing_label: str,
    *,
    outputs: dict[str, Path | None],
    prefix: str,
    max_bytes: int,
    force: bool,
) -> None:
    """``skclean apply``."""
    from skclean.saving import load

    files = _open_outputs(outputs, force, (model_path, *_inputs(path, roles)))
    _check_file("MODEL", model_path)
    model = load(model_path)
    if not hasattr(model, "classes_") or not hasattr(model, "transform"):
        raise ValueError(
            f"MODEL: expected a fitted cleaner in {model_path}, got {type(model).__name__}; do "
            "pass what `skclean purify --save-model` wrote."
        )
    fitted = getattr(model, "feature_names_in_", None)
    with console.stage(f"reading {path}"):
        data = read_data(path, roles, max_bytes, console.note, fitted)
    _check_table(data, files, prefix)
    if data.labels is None and outputs["--report"] is not None:
        raise ValueError(
            f"--report: expected labels to report on, got none for {path}; do pass --labels, or "
            "leave the report out."
        )
    embeds = hasattr(model, "steps") and hasattr(model.steps[0][1], "image_shape_")
    if embeds != (data.images is not None):
        wanted, got = ("images", "embeddings") if embeds else ("embeddings", "images")
        raise ValueError(
            f"NEW: expected {wanted} as in the fit of {model_path}, got {got} in {path}; do pass "
            f"{wanted}."
        )
    if data.features is not None:
        check_width(data.features.shape[1], model, data.names, path, console.note)
    data.labels = as_classes(data.labels, model.classes_)
    read = samples_of(data, model.classes_, missing_label)
    if fitted is not None:
        read = read._replace(feature_names=fitted)
    with console.stage(f"purifying {len(read)} rows"):
        samples = model.transform(read)
    if not getattr(samples, "purified", False):
        raise ValueError(
            f"MODEL: expected a cleaner in {model_path}, got {type(model).__name__}, which "
            "purifies nothing; do pass what `skclean purify --save-model` wrote."
        )
    samples = without_fitted_labels(samples, read)
    summary = _results.summary_of("apply", samples)
    if samples.clean_proba is not None and not is_ranking(model):
        summary |= _results.rates(samples, model)
    _write(console, files, data, samples, model, prefix)
    summary["outputs"] = _shown(outputs)
    console.result(summary, _results.told(summary, None, is_ranking(model)))


def run_apply_decisions(
    console: Console,
    path: Path,
    decisions: Path,
    out: Path,
    *,
    id_column: str,
    prefix: str,
    classes: str | None,
    max_bytes: int,
    force: bool,
) -> None:
    """``skclean apply-decisions``."""
    files = _open_outputs({"--out": out}, force, (path, decisions))
    _check_file("TABLE", path)
    _check_file("DECISIONS", decisions)
    check_suffix("TABLE", path, TABLES)
    table, counts = apply_decisions(
        read_table(path, max_bytes),
        decisions,
        path=path,
        id_column=id_column,
        prefix=prefix,
        max_bytes=max_bytes,
        classes=classes,
    )
    with files.writing() as temporary:
        _results.write_table(table, temporary["--out"], out.suffix.lower())
    summary = {"command": "apply-decisions", "rows": table.num_rows, **counts, "out": str(out)}
    withheld = counts.pop("withheld")
    told = ", ".join(f"{n} {name}" for name, n in counts.items())
    left = f", of which {withheld} {'has' if withheld == 1 else 'have'} no label" * bool(withheld)
    console.result(summary, f"{table.num_rows} rows: {told}{left}.\nWrote {out}.")


def run_demo(console: Console, outputs: dict[str, Path | None], seed: int, force: bool) -> None:
    """``skclean demo``."""
    from skclean._optional import import_optional
    from skclean.datasets import load_noisy_digits

    files = _open_outputs(outputs, force, ())
    digits = load_noisy_digits(noise_rate=0.4, random_state=seed)
    data = Data(
        path=Path("digits"),
        table=import_optional("pyarrow", "cli").table({}) if files.paths else None,
        ids=list(range(len(digits.data))),
        features=digits.data,
    )
    cleaner = _cleaners.make_cleaner("auto", None, seed)
    samples = LabelledSamples(digits.data, digits.target_noisy)
    model, samples = fit(console, data, samples, cleaner, Settings(seed=seed))
    # The pixels are what people can look at.
    samples = samples.with_features(samples.features, inputs=digits.images)
    if files.paths:
        _write(console, files, data, samples, model, "")
    audit = cleaner.audit()
    summary = _results.summary_of("demo", samples, cleaner)
    summary["audit"] = _results.audit_as_dict(audit)
    summary["right_given"] = float(np.mean(digits.target_noisy == digits.target))
    summary["right_purified"] = float(np.mean(samples.labels == digits.target))
    summary["outputs"] = _shown(outputs)
    console.result(
        summary,
        "Digits of scikit-learn, 40 % of the labels drawn at random.\n"
        f"{_results.told(summary, audit)}\n"
        f"Right labels: {100 * summary['right_given']:.1f} % of those given, "
        f"{100 * summary['right_purified']:.1f} % of the purified ones.",
    )


def _open_outputs(outputs, force, inputs):
    check_suffix("--out", outputs["--out"], _results.SUFFIXES)
    check_suffix("--report", outputs.get("--report"), (".html", ".htm"))
    return Outputs(outputs, force, inputs)


def _check_file(name, path):
    if not path.is_file():
        found = "a folder" if path.is_dir() else "which is not there"
        raise ValueError(f"{name}: expected a file, got {path}, {found}; do correct the name.")


def _check_table(data, files, prefix):
    """What cannot be written is refused before the work."""
    _results.check_names(data, prefix)
    if "--out" in files.paths:
        _results.check_columns(data, files.paths["--out"].suffix.lower())


def _inputs(path, roles):
    """Files that are read."""
    named = (roles.labels, roles.trusted, roles.groups, roles.id, roles.text)
    return (path, *(Path(name) for name in named if name is not None))


def _write(console, files, data, samples, model, prefix):
    """All outputs, or none."""
    with files.writing() as temporary:
        if "--report" in temporary:
            from skclean.inspection import write_report

            with console.stage("writing the report"):
                write_report(
                    samples,
                    temporary["--report"],
                    cleaner=model,
                    ids=data.ids,
                    texts=data.texts,
                    title=f"Labels of {data.path.name}",
                )
        if "--save-model" in temporary:
            from skclean.saving import save

            with console.stage("saving the cleaner"):
                save(model, temporary["--save-model"])
        if "--out" in temporary:
            with console.stage("writing the table"):
                table = _results.result_table(
                    data, samples, prefix, evidence=is_evidence(model), ranking=is_ranking(model)
                )
                suffix = files.paths["--out"].suffix.lower()
                if suffix == ".csv":
                    table = _results.with_text_ids(table, data)
                _results.write_table(table, temporary["--out"], suffix)


def _shown(outputs):
    names = {"--out": "out", "--report": "report", "--save-model": "model"}
    return {names[k]: None if path is None else str(path) for k, path in outputs.items()}
