"""How much of the published schedules fits into some seconds."""

import time
import warnings
from dataclasses import replace

import numpy as np

from benchmarks.papers.protocols import Train
from benchmarks.papers.stages import Problem, embed, epochs_of, feature_settings, run

#: Rows of the trial runs, and the fewest that a run is cut to.
TRIAL_ROWS, LEAST_ROWS = 256, 100
#: Of a trial's seconds, no more than all but one part in so many are taken for fixed costs.
MOST_FIXED = 20


def measured(method, problem, changes):
    """Seconds a row and epoch, of the features and of all trained steps together.

    From runs of one epoch of each step on few rows and on four times as many, after one that warms
    up, so that what a run costs at any size does not count.
    """
    n = min(TRIAL_ROWS, len(problem.given))
    small = max(n // 4, min(n, LEAST_ROWS // 2))
    _, few, more = (_trial(method, problem, changes, rows) for rows in (small, small, n))
    return np.maximum((more - few) / max(n - small, 1), more / n / MOST_FIXED)


def _trial(method, problem, changes, n):
    """Seconds of the features and of the steps on the first rows."""
    data, one_epoch = problem.data, replace(changes, share=1e-9)
    rows, test = np.arange(n), np.arange(min(n, len(data.y_test)))
    few = Problem(
        data.rows(rows, test),
        problem.given[rows],
        None if problem.trusted is None else problem.trusted[rows],
        problem.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        features = embed(method, few.data, few.seed, one_epoch)
        embedded = time.perf_counter()
        run(method, few, one_epoch, features)
        return np.array([embedded - start, time.perf_counter() - embedded])


def planned(cost, method, n_rows, changes, share):
    """Seconds of features and of the trained steps at a share of the published epochs."""
    per_features, per_steps = cost
    settings = feature_settings(method, changes)
    feature_epochs = 1
    if settings is not None and "epochs" in settings:
        feature_epochs = epochs_of(method.features["epochs"], share)
    steps = [step for step in method.steps if isinstance(step, Train)]
    epochs = sum(epochs_of(s.settings["epochs"], share) for s in steps)
    # The trial ran an epoch of each step.
    return n_rows * np.array([per_features * feature_epochs, per_steps * epochs / len(steps)])


def share_for(budget, tasks, n_rows, changes):
    """Share of the epochs, and rows, by which all tasks are done within the budget.

    Parameters
    ----------
    budget : float
        Seconds for all.
    tasks : list of (cost, method, n_runs, n_features)
        Seconds a row and epoch as by `measured`; how often the method is run, and its features
        fitted.
    n_rows : int
    changes : Changes

    Returns
    -------
    share : float in (0, 1]
    n_rows : int
        Fewer where one epoch of each is too much.
    """

    def total(share):
        return sum(
            n_features * features + n_runs * steps
            for cost, method, n_runs, n_features in tasks
            for features, steps in [planned(cost, method, n_rows, changes, share)]
        )

    if total(1.0) <= budget:
        return 1.0, n_rows
    low, high = 1e-9, 1.0
    if total(low) > budget:
        return low, max(min(LEAST_ROWS, n_rows), int(n_rows * budget / total(low)))
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if total(middle) <= budget else (low, middle)
    return low, n_rows


def share_run(outcome, epoch_rows, n_rows):
    """Share of the published steps, rows of an epoch times epochs, that was run."""
    published = sum(outcome.published) * epoch_rows
    return sum(outcome.epochs) * n_rows / published if published else 0.0
