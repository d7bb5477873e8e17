"""One entry for all benchmarks.

    python -m benchmarks list
    python -m benchmarks run NAME [options]
    python -m benchmarks report

`list` names them and the data that each needs, `run` passes the options on (``run NAME --help``
tells them), `report` writes RESULTS.md out of the files in results/.
"""

import argparse
import sys

from benchmarks import _registry


def main(argv=None):
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|run|report")
    commands.add_parser("list", help="name the benchmarks")
    run = commands.add_parser("run", help="run one", add_help=False)
    run.add_argument("name")
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    commands.add_parser("report", help="write RESULTS.md")
    options = parser.parse_args(argv)
    if options.command == "list":
        known = _registry.benchmarks()
        width = max(map(len, known))
        for name, benchmark in known.items():
            print(f"{name:{width}}  {benchmark.line}\n{'':{width}}  data: {benchmark.data}")
    elif options.command == "run":
        if options.name not in _registry.benchmarks():
            parser.error(f"no benchmark {options.name!r}; `list` names them")
        _registry.run(options.name, options.arguments)
    else:
        from benchmarks import _report

        print(_report.write())
    return 0


if __name__ == "__main__":
    sys.exit(main())
