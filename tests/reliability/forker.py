"""A process that has imported what jobs need, and forks a child for each; children can be killed.

Reads a job a line, as JSON, and answers each with a line: the child's pid to ``{"job": ...}``, its
exit code, negative for signals, to ``{"wait": pid}``. A job has ``die_at``, the call of a Python or
C function at which the child sends itself the signal ``number``, counted from its start or, with
``in_writing``, from where it first chooses the name of a temporary file; the child writes how many
calls there were to the file ``log``.calls, and what it prints to ``log``.
"""

import io
import json
import os
import signal
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path

import numpy as np

import skclean.cli._app
import skclean.cli._work
import skclean.inspection.report
from skclean import GMMCleaner
from skclean.saving import save

RNG = np.random.default_rng(0)
TRUTH = np.arange(90) % 3
X = (3 * np.eye(3, 5)[TRUTH] + RNG.standard_normal((90, 5))).astype(np.float32)
Y = np.where(RNG.random(90) < 0.2, (TRUTH + 1) % 3, TRUTH)
IMAGES = RNG.integers(0, 255, (48, 8, 8), dtype=np.uint8)


def cli(*args):
    return skclean.cli.main(args)


def cli_each(listing, memory):
    """Command after command; a line each of exit code, stdout and stderr as JSON."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as stream:
            used = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    for args in json.loads(Path(listing).read_text()):
        out, said = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(said):
            code = skclean.cli.main(args)
        print(json.dumps([code, out.getvalue(), said.getvalue()]), flush=True)


@cache
def _fitted(n):
    cleaner = GMMCleaner()
    return cleaner, cleaner.fit_transform(X[:n], Y[:n])


def save_cleaner(path, n):
    """A cleaner of n rows."""
    save(_fitted(n)[0], path, overwrite=True)


def write_report(path, n):
    """A report on n rows, whose title has n."""
    cleaner, samples = _fitted(n)
    options = {"title": f"Rows: {n}", "overwrite": True}
    skclean.inspection.report.write_report(samples, path, cleaner=cleaner, **options)


def write_purified(path, n):
    from skclean.scale.purified import write_purified

    write_purified(_fitted(n)[1], path, columns={"id": np.arange(n)}, overwrite=True)


def embed(path, n):
    """Pixels of 4 n images as an array on the disk."""
    from skclean import SSLFeaturizer

    _embedder(SSLFeaturizer).transform(np.repeat(IMAGES[:n], 4, axis=0), out=path)


@cache
def _embedder(featurizer):
    from skclean.embeddings import ConvKMeans

    return featurizer(ConvKMeans(8), random_state=0).fit(IMAGES)


def retrain(folder, weights):
    """Weights of a retrained network; goes on from the checkpoint that is there."""
    from skclean.neural import NeuralRetrainer

    settings = {"epochs": 4, "batch_size": 30, "checkpoint_every": 1, "random_state": 0}
    retrainer = NeuralRetrainer(**settings, checkpoint_dir=folder, resume=True).fit(X, Y)
    _write_weights(weights, retrainer.networks_)


def simclr(folder, weights):
    """Weights of a network trained on images; goes on from the checkpoint that is there."""
    from torch import nn

    from skclean import SSLFeaturizer

    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    for i, parameter in enumerate(layers.parameters()):
        nn.init.constant_(parameter, 0.1 * (i + 1))
    settings = {"epochs": 3, "batch_size": 16, "warmup_epochs": 1, "random_state": 0}
    settings |= {"checkpoint_dir": folder, "checkpoint_every": 1, "resume": True}
    featurizer = SSLFeaturizer("simclr", backbone=layers.eval(), **settings).fit(IMAGES)
    _write_weights(weights, [featurizer.backbone_])


def _write_weights(path, networks):
    values = [x.cpu().numpy() for network in networks for x in network.state_dict().values()]
    Path(path).write_bytes(b"".join(x.tobytes() for x in values))


JOBS = (cli, cli_each, save_cleaner, write_report, write_purified, embed, retrain, simclr)


def counting(die_at, in_writing, number):
    """Start to count calls, and give a function that tells how many there were."""
    calls, counts = 0, not in_writing

    def profile(frame, event, argument):
        nonlocal calls, counts
        if not counts:
            counts = event == "call" and frame.f_code.co_name == "scratch_path"
        elif event in ("call", "c_call"):
            calls += 1
            if calls == die_at:
                os.kill(os.getpid(), number)

    sys.setprofile(profile)
    return lambda: calls


def child(order):
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(order["folder"])
    job = {job.__name__: job for job in JOBS}[order["job"]]
    if "die_at" in order:
        told = counting(order["die_at"], order["in_writing"], order["number"])
    try:
        code = job(*order["args"]) or 0
    except SystemExit as end:
        code = end.code
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
        code = 1
    sys.setprofile(None)
    sys.stdout.flush()
    sys.stderr.flush()
    if "die_at" in order:
        Path(order["log"] + ".calls").write_text(str(told()))
    return code


def warm_up():
    """Do what is done once in a process, by a first run, for all children."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        np.savez(f"{folder}/d.npz", X=X, y=Y)
        outputs = ("--out", "o.parquet", "--report", "o.html", "--save-model", "o")
        paths = [p if p.startswith("--") else f"{folder}/{p}" for p in outputs]
        cli("purify", f"{folder}/d.npz", "-c", "gmm", "--quiet", *paths)


def main():
    # Where the neural extra is missing, its jobs are not asked for.
    for name in sys.argv[1:]:
        __import__(name)
    warnings.simplefilter("ignore")
    warm_up()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                code = 70
                try:
                    code = child(order)
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                    sys.stderr.flush()
                finally:
                    os._exit(code)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
