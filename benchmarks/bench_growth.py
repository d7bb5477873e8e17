"""How time and memory grow with rows, features and classes, as fitted exponents.

    python -m benchmarks run growth [--scale 1] [--repeats 3] [--only TEXT ...] [--axes n d C]

Runs the suites of benchmarks/suites in this process; `asv run --config benchmarks/asv.conf.json`
runs the same ones over commits. Around 8,000 rows (times --scale) of 64 features in 10 classes, one
of the three grows at a time. Seconds are medians of the repeats, the suites in turn within each
repeat, so that a busy machine is busy for all of them. The exponent is the slope of a straight line
through the logarithms, by least squares, with its standard error, of seconds by the clock and of
processor time, which other work on the machine hardly changes; "linear" is an exponent of the
latter in n of 1.05 at most. Small sizes make exponents small: fixed costs weigh more there. Peak
memory is what the call takes beside its input and beside pages of mapped files, in a process of its
own for each size; its growth is also told in bytes a row.
"""

import argparse
import gc
import inspect
import multiprocessing
import time
import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np

from benchmarks import _results
from benchmarks._memory import PeakMemory
from benchmarks.suites import estimators, kernels, problems

#: Exponent in n up to which cost counts as linear.
LINEAR = 1.05


def suites(texts=("",)):
    """Suites whose name contains one of the texts, as {"kernels.FitRidge": class}."""
    found = {}
    for module in (kernels, estimators):
        kind = module.__name__.rpartition(".")[2]
        for name, suite in vars(module).items():
            if inspect.isclass(suite) and suite.__module__ == module.__name__ and _calls(suite):
                found[f"{kind}.{name}"] = suite
    return {k: v for k, v in found.items() if any(t.lower() in k.lower() for t in texts)}


def sizes_of(suite, axis, scale):
    """Sizes along an axis, rows multiplied by the scale."""
    given = problems.along(axis, suite.params[0])
    return [(int(n * scale), d, n_classes) for n, d, n_classes in given]


@contextmanager
def prepared(suite, case):
    """The call that is timed, its problem made before and cleared away afterwards."""
    problem = suite()
    problem.setup(case)
    try:
        gc.collect()
        yield partial(getattr(problem, _calls(suite)[0]), case)
    finally:
        if hasattr(problem, "teardown"):
            problem.teardown(case)


def seconds(suite, case):
    """Seconds of one call, of the clock and of the processor."""
    with prepared(suite, case) as call:
        start = np.array([time.perf_counter(), time.process_time()])
        call()
        return np.array([time.perf_counter(), time.process_time()]) - start


def peak_bytes(name, case):
    """Peak anonymous memory of one call beyond what was there before, in this process."""
    with prepared(suites()[name], case) as call:
        with PeakMemory(interval=0.001) as memory, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        return memory.peak - memory.start


def exponent(sizes, costs):
    """Slope of log(cost) over log(size) by least squares, and its standard error.

    Parameters
    ----------
    sizes, costs : array-like of shape (k,)
        Positive; at least two sizes. The error is NaN where there are no more than two.
    """
    x, y = np.log(sizes), np.log(costs)
    if len(x) < 3:
        return float(np.polyfit(x, y, 1)[0]), float("nan")
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


def run(options):
    """Yield a record of each suite and axis."""
    chosen = suites(options.only)
    plan = {
        (name, axis): sizes
        for name, suite in chosen.items()
        for axis in options.axes
        if len(sizes := sizes_of(suite, axis, options.scale)) > 1
    }
    cases = {(name, case) for (name, _), sizes in plan.items() for case in sizes}
    cases = sorted(cases, key=lambda key: (np.prod(key[1]), key[0]))
    taken = {key: [] for key in cases}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, case in cases[:1]:
            seconds(chosen[name], case)
        for _ in range(options.repeats):
            for name, case in cases:
                taken[name, case].append(seconds(chosen[name], case))
    memory = dict.fromkeys(taken)
    if not options.no_memory:
        # A process that has done nothing else, so that no memory is there to be used again.
        context = multiprocessing.get_context("spawn")
        for name, case in taken:
            if any(case in sizes for (n, a), sizes in plan.items() if n == name and a == "n"):
                with context.Pool(1) as pool:
                    memory[name, case] = pool.apply(peak_bytes, (name, case))
    for (name, axis), sizes in plan.items():
        yield record(name, axis, sizes, taken, memory)


def record(name, axis, sizes, taken, memory):
    """What is known of the growth of a suite along an axis."""
    x = np.array([size[problems.AXES.index(axis)] for size in sizes])
    clock, processor = np.stack([np.median(taken[name, size], axis=0) for size in sizes]).T
    slope, error = exponent(x, clock)
    found = {
        "suite": name,
        "axis": axis,
        "sizes": [list(size) for size in sizes],
        "seconds": list(clock),
        "processor seconds": list(processor),
        "exponent": slope,
        "error": error,
        "exponent of processor time": exponent(x, processor)[0],
    }
    if axis == "n":
        found["linear"] = bool(found["exponent of processor time"] <= LINEAR)
        peaks = [memory[name, size] for size in sizes]
        if None not in peaks:
            found["peak bytes"] = peaks
            found["bytes a row"] = float(np.polyfit(x, peaks, 1)[0])
            found["bytes of a row of X"] = 4 * sizes[0][1]
    return found


def _calls(suite):
    return [name for name in dir(suite) if name.startswith("time_")]


def main(argv=None):
    """Time the suites that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all numbers of rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], help="suites that contain a text")
    parser.add_argument("--axes", nargs="+", choices=problems.AXES, default=list(problems.AXES))
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--name", default="growth", help="results/NAME.json")
    options = parser.parse_args(argv)
    records = []
    print(
        f"{'suite':30} {'axis':4} {'exponent':>16} {'of CPU':>7}  linear {'bytes a row':>12}  "
        "seconds"
    )
    for found in run(options):
        records.append(found)
        print(
            f"{found['suite']:30} {found['axis']:4} {found['exponent']:8.2f} ± "
            f"{found['error']:5.2f} {found['exponent of processor time']:7.2f}  "
            f"{found.get('linear', '')!s:6} {found.get('bytes a row', float('nan')):12.1f}  "
            + " ".join(f"{s:.3g}" for s in found["seconds"]),
            flush=True,
        )
    _results.write(
        options.name, records, scale=options.scale, repeats=options.repeats, axes=options.axes
    )


if __name__ == "__main__":
    main()
