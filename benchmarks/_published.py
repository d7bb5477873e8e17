"""The papers' loops by mini-batches and autograd, a linear layer in place of the network.

Slow on purpose: by these the closed forms of the library are judged. What a linear layer on
features has no use for is left out, and said. Columns are brought to unit variance, as batch norm
leaves a network's features. DMLP's script is in `bench_dmlp`.
"""

import numpy as np
import torch
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid, one_hot, softmax

from benchmarks._peers import Found, smaller_proba

BATCH = 128


def reed(X, given, epochs=200):
    """REED, stage 2: a mixture on the losses, another on the confidences of all rows.

    Momentum and weight decay, of which the paper says nothing, are DivideMix's.
    """
    X, y, n_classes = _tensors(X, given)
    layer = torch.nn.Linear(X.shape[1], n_classes)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        _epoch(layer, optimizer, X, y)
    proba = softmax(_logits(layer, X), dim=1).numpy()
    clean = smaller_proba(_losses(layer, X, y))
    right = smaller_proba(1 - proba.max(axis=1))
    labels = np.where((clean <= 0.5) & (right > 0.5), proba.argmax(axis=1), given)
    return Found(labels, clean > 0.5, clean)


def two_stage(X, given, epochs=60):
    """The two-stage approach, stage 1: agreement, then the surest tenth of each class or more.

    Half the paper's epochs; the rate is halved twice at fixed ones, as no row is held out.
    """
    X, y, n_classes = _tensors(X, given)
    layer = torch.nn.Linear(X.shape[1], n_classes)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, epochs // 3, gamma=0.5)
    for _ in range(epochs):
        _epoch(layer, optimizer, X, y)
        schedule.step()
    proba = softmax(_logits(layer, X), dim=1).numpy()
    best, sure = proba.argmax(axis=1), proba.max(axis=1)
    kept = np.zeros(len(given), dtype=bool)
    for k in range(n_classes):
        agreed = np.flatnonzero((given == k) & (best == k))
        ranked = agreed[np.argsort(-sure[agreed], kind="stable")]
        many = max(int(np.sum(sure[agreed] >= 0.9)), int(np.ceil(0.1 * np.sum(given == k))))
        kept[ranked[:many]] = True
    return Found(best, kept, proba[np.arange(len(given)), given])


def cpc(X, given, epochs=45, warm_up=10, n_components=64):
    """CPC: prototypes under one mixture by equations 2, 3 and 5, with alpha 0.

    A tenth of the paper's epochs, at a constant rate. After each, the layer learns the rows that
    the prototypes keep by cross-entropy, where the paper has DivideMix.
    """
    X, y, n_classes = _tensors(X, given)
    layer = torch.nn.Linear(X.shape[1], n_classes)
    projector = torch.nn.Linear(X.shape[1], n_components)
    prototypes = torch.nn.Parameter(torch.randn(n_classes, n_components) / n_components**0.5)
    sgd = {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}
    optimizer = torch.optim.SGD(layer.parameters(), **sgd)
    cleaner = torch.optim.SGD([*projector.parameters(), prototypes], **sgd)
    for _ in range(warm_up):
        _epoch(layer, optimizer, X, y)
    for _ in range(epochs):
        clean = torch.from_numpy(smaller_proba(_losses(layer, X, y)) > 0.5)
        for rows in torch.randperm(len(X)).split(BATCH):
            scores, own, ok = projector(X[rows]) @ prototypes.T, y[rows, None], clean[rows]
            positive = torch.gather(scores, 1, own)[:, 0]
            pairs = logsigmoid(-scores).sum(dim=1) - logsigmoid(-positive)
            drawn = logsigmoid(positive) + pairs / n_classes
            loss = -drawn[ok].sum() / max(int(ok.sum()), 1)
            loss = loss - logsigmoid(-positive[~ok]).sum() / max(int((~ok).sum()), 1)
            cleaner.zero_grad()
            loss.backward()
            cleaner.step()
        with torch.no_grad():
            scores = torch.sigmoid(torch.gather(projector(X) @ prototypes.T, 1, y[:, None]))[:, 0]
        kept = torch.nonzero(scores > 0.5)[:, 0]
        if len(kept):
            _epoch(layer, optimizer, X[kept], y[kept])
    kept, best = scores.numpy() > 0.5, _logits(layer, X).argmax(dim=1).numpy()
    return Found(np.where(kept, given, best), kept, scores.numpy())


def ieg(X, given, trusted, n_classes, cycles=4, length=500, batch=100):
    """IEG, algorithm 1: the meta step by second derivatives; the weights of the last step."""
    X, y, _ = _tensors(X, given)
    probe, rows = torch.from_numpy(np.flatnonzero(trusted)), torch.arange(len(X))
    rows = rows[~torch.from_numpy(trusted)]
    layer = torch.nn.Linear(X.shape[1], n_classes)
    weight, bias = layer.weight, layer.bias
    rng = np.random.default_rng(0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)

    def apply(x, parameters=(weight, bias)):
        return x @ parameters[0].T + parameters[1]

    def loss_of(logits, target):
        return -(target * log_softmax(logits, dim=1)).sum(dim=1)

    for cycle in range(cycles):
        steps = int(length * 1.5**cycle)
        for step in range(steps):
            cosine = 0.5 * (1 + np.cos(np.pi * step / steps))
            optimizer.param_groups[0]["lr"] = max(0.1 * 0.9**cycle * cosine, 1e-4)
            drawn = rows[torch.randint(len(rows), (batch,))]
            chosen = probe[torch.randint(len(probe), (batch,))]
            x, x_probe = X[drawn], X[chosen]
            view = x + 0.1 * torch.randn_like(x)
            hot, hot_probe = (one_hot(y[i], n_classes).float() for i in (drawn, chosen))
            with torch.no_grad():
                views = [apply(v) for v in (x, view)]
                mean = sum(softmax(z / z.square().mean().sqrt().clamp_min(1e-8), 1) for z in views)
                guess = softmax(2 * (mean / 2).log(), dim=1)
            omega = torch.full((batch,), 1 / batch, requires_grad=True)
            choice = torch.full((batch, 1), 0.9, requires_grad=True)
            target = choice * hot + (1 - choice) * guess
            inner = (omega * loss_of(apply(x), target)).sum()
            gradients = torch.autograd.grad(inner, (weight, bias), create_graph=True)
            ahead = []
            for parameter, gradient in zip((weight, bias), gradients, strict=True):
                momentum = optimizer.state[parameter].get("momentum_buffer")
                momentum = torch.zeros_like(parameter) if momentum is None else momentum
                ahead.append(parameter - 0.1 * (0.9 * momentum + gradient))
            outer = loss_of(apply(x_probe, ahead), hot_probe).mean()
            d_omega, d_choice = torch.autograd.grad(outer, (omega, choice))
            omega = torch.relu(-d_omega)
            omega = omega / (omega.sum() + 1e-5)
            taken = torch.where(d_choice < 0, hot, guess)
            # Mixtures of everything with everything, led by the first of the two.
            pool_x, pool_y = torch.cat([x_probe, x, view]), torch.cat([hot_probe, guess, guess])
            order, beta = torch.randperm(len(pool_x)), rng.beta(0.5, 0.5, len(pool_x))
            beta = torch.from_numpy(np.maximum(beta, 1 - beta)).float()[:, None]
            mixed = apply(beta * pool_x + (1 - beta) * pool_x[order])
            mixed = loss_of(mixed, beta * pool_y + (1 - beta) * pool_y[order])
            logits, consistent = apply(x), softmax(apply(x), dim=1).detach()
            divergence = consistent * (
                consistent.clamp_min(1e-12).log() - log_softmax(apply(view), 1)
            )
            given_loss = loss_of(logits, 0.9 * hot + 0.1 * guess)
            loss = 0.5 * (loss_of(logits, taken).mean() + (omega * given_loss).sum())
            loss = loss + mixed[:batch].mean() + 5 * mixed[batch:].mean()
            loss = loss + 20 * divergence.sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Found(_logits(layer, X).argmax(dim=1).numpy())


def _tensors(X, given):
    torch.manual_seed(0)
    X = np.asarray(X, dtype=np.float32)
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(X), torch.from_numpy(np.asarray(given)), int(np.max(given)) + 1


def _epoch(layer, optimizer, X, y):
    for rows in torch.randperm(len(X)).split(BATCH):
        optimizer.zero_grad()
        cross_entropy(layer(X[rows]), y[rows]).backward()
        optimizer.step()


def _logits(layer, X):
    with torch.no_grad():
        return torch.cat([layer(part) for part in X.split(BATCH)])


def _losses(layer, X, y):
    """Losses brought to [0, 1]."""
    loss = cross_entropy(_logits(layer, X), y, reduction="none").numpy()
    return (loss - loss.min()) / max(float(np.ptp(loss)), 1e-12)
