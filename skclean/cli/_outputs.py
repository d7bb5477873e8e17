"""Output files: refused before any work where they are there, and all of them or none written."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from skclean._files import finish, naming, remove_scratch, rename_all, scratch_path
from skclean.cli._console import UsageError


class Outputs:
    """The files that a command is to write.

    Parameters
    ----------
    paths : dict of str to path-like or None
        Option and file, the main one first; None where the option was not given.
    force : bool
        Whether files that are there may be replaced.
    inputs : sequence of path-like
        Files that are read and must stay.

    Raises
    ------
    ValueError
        If a file is there and `force` is False, is one of the inputs or named twice, or if its
        folder is missing or cannot be written to.
    """

    def __init__(
        self, paths: Mapping[str, Path | None], force: bool, inputs: tuple[Path | None, ...] = ()
    ) -> None:
        self._force = force
        named = {option: path for option, path in paths.items() if path is not None}
        self.paths = {option: Path(os.path.realpath(path)) for option, path in named.items()}
        read = {Path(os.path.realpath(path)) for path in inputs if path is not None}
        taken: dict[Path, str] = {}
        for option, path in self.paths.items():
            shown = named[option]
            if path in read:
                raise UsageError(
                    f"{option}: expected a file that is not read, got {shown}, an input; do name "
                    "another."
                )
            if path in taken:
                raise UsageError(
                    f"{option}: expected a file of its own, got {shown}, which {taken[path]} has "
                    "too; do name another."
                )
            taken[path] = option
            _check_folder(option, path)
        self._check_new()

    def _check_new(self):
        for option, path in self.paths.items():
            if path.is_dir():
                raise ValueError(f"{option}: expected a file, got the folder {path}; do name one.")
            if path.exists() and not self._force:
                raise ValueError(
                    f"{option}: expected a new file, got {path}, which is there; do name another, "
                    "or pass --force."
                )

    @contextmanager
    def writing(self) -> Iterator[dict[str, Path]]:
        """Names to write under, by option; the files take their own names together at the end.

        The main file comes last, so that it stands for all. Where writing or naming fails, or is
        interrupted, nothing is left and what was there is as it was; errors name the file.
        """
        temporary = {option: scratch_path(path) for option, path in self.paths.items()}
        try:
            with ExitStack() as stack:
                for option, path in self.paths.items():
                    stack.enter_context(naming(path, temporary[option]))
                yield temporary
            files = {path: temporary[option] for option, path in reversed(self.paths.items())}
            for path, written in files.items():
                with naming(path, written):
                    finish(path, written)
            with _locked({path.parent for path in files}):
                # Another run may have been quicker.
                self._check_new()
                rename_all(files)
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
        for path in self.paths.values():
            remove_scratch(path)


def check_suffix(option: str, path: Path | None, allowed: tuple[str, ...]) -> None:
    """Raise UsageError unless the file ends in one of the suffixes."""
    if path is not None and path.suffix.lower() not in allowed:
        raise UsageError(
            f"{option}: expected a file that ends in {', '.join(allowed)}, got {path}; do rename "
            "it."
        )


def _check_folder(option, path):
    if not path.parent.is_dir():
        raise ValueError(
            f"{option}: expected a folder that exists, got {path.parent}; do make it first."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"{option}: expected a folder that may be written to, got {path.parent}; do name "
            "another."
        )


@contextmanager
def _locked(folders):
    """No other run gives names in these folders meanwhile, where the system has such locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with ExitStack() as stack:
        for folder in sorted(folders):
            held = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, held)
            try:
                fcntl.flock(held, fcntl.LOCK_EX)
            except OSError:
                # A file system without locks: the check for files that are there remains.
                continue
        yield
