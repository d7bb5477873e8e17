"""LeastSquaresMetaPurifier beside the steps of DMLP's published script, on the same embeddings.

    python -m benchmarks.bench_dmlp --data DIR [--seeds 2] [--trusted 50] [--epochs 100]

CIFAR-10 embeddings with symmetric noise of 20, 50, 80 and 90 %, the paper's setting. The script is
run literally, by autograd: slices of 7,000 rows, whose Gram matrix is formed and inverted anew in
every step; the sum of squared errors of the validation rows and the divergence of their mean
prediction from the uniform one; Adam on the labels; a linear classifier on the same slice with the
entropy of its predictions and a class prior of weight 2,200. Its label substitution is left out:
the condition there is false in every epoch. Accuracy of the purified labels on the noisy rows,
accuracy on test rows of the classifier that comes with them (the last one; and, as the paper
reports, the best over the epochs), seconds.
"""

import argparse
import time

import numpy as np
import torch
from torch.nn.functional import log_softmax, one_hot, softmax

from benchmarks import _data, _results
from benchmarks.bench_purifiers import draw_trusted
from skclean import LeastSquaresMetaPurifier


def published_steps(X, given, X_trusted, trusted, X_test, y_test, epochs):
    """Purified labels, last and best test accuracy of the script's classifier."""
    torch.manual_seed(0)
    F, V, U = (torch.from_numpy(x) for x in (X, X_trusted, X_test))
    n_classes, truth = int(given.max()) + 1, torch.from_numpy(y_test)
    target = one_hot(torch.from_numpy(trusted), n_classes).float()
    slices = [slice(start, start + 7000) for start in range(0, len(F), 7000)]
    start = one_hot(torch.from_numpy(given), n_classes).float()
    labels = [start[rows].clone().requires_grad_() for rows in slices]
    adam = {"lr": 0.01, "betas": (0.5, 0.999)}
    optimizers = [torch.optim.Adam([Y], weight_decay=3e-4, **adam) for Y in labels]
    classifier = torch.nn.Linear(F.shape[1], n_classes)
    fit = torch.optim.Adam(classifier.parameters(), **adam)
    uniform, best = torch.full((n_classes,), 1 / n_classes), 0.0
    for _ in range(epochs):
        for rows, Y, optimizer in zip(slices, labels, optimizers, strict=True):
            part = F[rows]
            predicted = V @ (torch.inverse(part.T @ part) @ (part.T @ Y))
            mean = softmax(predicted, dim=1).mean(dim=0)
            loss = ((predicted - target) ** 2).sum()
            loss = loss + (uniform * (uniform / mean).log()).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            logits = classifier(part)
            log_p = log_softmax(logits, dim=1)
            p = log_p.exp()
            loss = -(softmax(Y.detach(), dim=1) * log_p).sum(dim=1).mean()
            loss = loss - (p * log_p).sum(dim=1).mean()
            loss = loss + 2200 * (uniform * (uniform / p.mean(dim=0)).log()).sum()
            fit.zero_grad()
            loss.backward()
            fit.step()
        with torch.no_grad():
            last = float((classifier(U).argmax(dim=1) == truth).float().mean())
        best = max(best, last)
    return torch.cat(labels).detach().argmax(dim=1).numpy(), last, best


def main(argv=None):
    """Run all settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of the data sets")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trusted", type=int, default=50, help="rows per class")
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args(argv)
    data = _data.load(options.data, "cifar10n")
    X_test, y_test = _data.held_out(options.data, "cifar10n")
    records = []
    print(f"{'noise':>6} {'seed':>4} {'method':32} {'labels':>7} {'test':>6} {'best':>6} {'s':>7}")
    for rate in (0.2, 0.5, 0.8, 0.9):
        for seed in range(options.seeds):
            X, y, given = _data.corrupt(data, _data.Setting("cifar10n", "sym", rate), seed)
            trusted = draw_trusted(y, options.trusted, seed)
            given = np.where(trusted, y, given)
            noisy = ~trusted

            def record(method, found, last, best, seconds, rate=rate, seed=seed, y=y, noisy=noisy):
                right = float(np.mean(found == y[noisy]))
                values = {"labels": right, "test": last, "best": best, "seconds": seconds}
                records.append({"noise": rate, "seed": seed, "method": method, **values})
                print(
                    f"{rate:6} {seed:4} {method:32} {right:7.3f} {last:6.3f} {best:6.3f} "
                    f"{seconds:7.2f}",
                    flush=True,
                )

            for solver in ("paper", "likelihood"):
                start = time.perf_counter()
                purifier = LeastSquaresMetaPurifier(solver).fit(X, given, trusted=trusted)
                seconds = time.perf_counter() - start
                last = float(np.mean(purifier.transform(X_test).labels == y_test))
                found = purifier.transduction_[noisy]
                record(f"solver={solver!r}", found, last, last, seconds)
            start = time.perf_counter()
            slow = published_steps(
                X[noisy], given[noisy], X[trusted], y[trusted], X_test, y_test, options.epochs
            )
            record("the script's steps", *slow, time.perf_counter() - start)
        _results.write("dmlp", records, trusted=options.trusted, epochs=options.epochs)


if __name__ == "__main__":
    main()
