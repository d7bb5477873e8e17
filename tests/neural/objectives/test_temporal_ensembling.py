from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.objectives.temporal_ensembling import (  # noqa: E402
    Ensemble,
    TemporalEnsembling,
)


def random_proba(b, C, seed=0):
    return torch.softmax(torch.randn(b, C, generator=torch.Generator().manual_seed(seed)), dim=1)


class Algorithm2:
    """Laine & Aila 2017: Z <- alpha Z + (1 - alpha) z after each epoch; a row at a time.

    A row that an epoch left out keeps its Z, and its bias is corrected by the epochs it was in.
    """

    def __init__(self, decay):
        self.decay, self.Z, self.t, self.epoch = decay, {}, {}, {}

    def target(self, row):
        if not self.t.get(row):
            return None
        return [z / (1 - self.decay ** self.t[row]) for z in self.Z[row]]

    def see(self, row, proba):
        self.epoch[row] = proba

    def end_epoch(self):
        for row, proba in self.epoch.items():
            Z = self.Z.get(row, [0.0] * len(proba))
            self.Z[row] = [self.decay * a + (1 - self.decay) * b for a, b in zip(Z, proba)]
            self.t[row] = self.t.get(row, 0) + 1
        self.epoch = {}


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.9])
def test_targets_by_loops(decay):
    memory, twin = Ensemble(8, 3), Algorithm2(decay)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(6):
        for step in range(2):
            rows = torch.randperm(8, generator=generator)[:5]
            targets, known = memory.targets(rows, epoch, decay)
            proba = random_proba(5, 3, seed=10 * epoch + step)
            for i, row in enumerate(rows.tolist()):
                expected = twin.target(row)
                assert bool(known[i]) == (expected is not None)
                if expected is not None:
                    torch.testing.assert_close(targets[i], torch.tensor(expected))
            memory.record(rows, proba, epoch)
            for i, row in enumerate(rows.tolist()):
                twin.see(row, proba[i].tolist())
        twin.end_epoch()


def test_targets_are_distributions():
    memory = Ensemble(4, 3)
    rows = torch.arange(4)
    for epoch in range(5):
        targets, known = memory.targets(rows, epoch, 0.6)
        assert (known == (epoch > 0)).all()
        torch.testing.assert_close(targets.sum(dim=1), known)
        memory.record(rows, random_proba(4, 3, epoch), epoch)


def test_targets_come_from_earlier_epochs():
    memory, rows = Ensemble(3, 2), torch.tensor([1])
    memory.record(rows, torch.tensor([[0.9, 0.1]]), 0)
    assert not memory.targets(rows, 0, 0.6)[1].any()
    torch.testing.assert_close(memory.targets(rows, 1, 0.6)[0], torch.tensor([[0.9, 0.1]]))
    memory.record(rows, torch.tensor([[0.2, 0.8]]), 1)
    for _ in range(3):
        torch.testing.assert_close(memory.targets(rows, 1, 0.6)[0], torch.tensor([[0.9, 0.1]]))
    other, known = memory.targets(torch.tensor([0, 2]), 1, 0.6)
    assert not known.any()
    assert not other.any()


def test_of_rows_that_repeat_the_first_counts():
    memory = Ensemble(3, 2)
    rows, proba = torch.tensor([2, 0, 2, 2]), random_proba(4, 2)
    memory.record(rows, proba, 0)
    assert torch.equal(memory.latest, torch.stack([proba[1], torch.zeros(2), proba[0]]))
    targets, known = memory.targets(rows, 1, 0.6)
    torch.testing.assert_close(targets, proba[[0, 1, 0, 0]])
    assert known.all()
    assert memory.count.tolist() == [1, 0, 1]


def batches(make, n_epochs):
    return [make.batch(seed=0, progress=float(e) + 0.5, epochs=6.0) for e in range(n_epochs)]


def test_terms(make):
    objective = TemporalEnsembling(10.0, decay=0.6, ramp_up=0)
    network = make.network(4, 3, norm=False)
    memory = objective.start(12, 3, torch.device("cpu"))
    seen = []
    for epoch, batch in enumerate(batches(make, 3)):
        views = batch.weak(torch.cat([batch.labelled.x, batch.unlabelled.x])).detach()
        found = objective.terms(network, replace(batch, weak=lambda x, v=views: v), memory)
        proba = torch.softmax(network(views), dim=1).detach()
        weight = torch.cat([batch.labelled.weight, batch.unlabelled.weight])
        if not epoch:
            assert found["consistency"] == 0
        else:
            Z = sum(0.4 * 0.6 ** (epoch - 1 - e) * p for e, p in enumerate(seen))
            error = (proba - Z / (1 - 0.6**epoch)).square().mean(dim=1)
            torch.testing.assert_close(found["consistency"].detach(), 10 * (weight * error).mean())
        assert found["labelled"] > 0
        seen.append(proba)


def test_targets_have_no_gradient(make):
    objective, network = TemporalEnsembling(ramp_up=0), make.network(4, 3)
    memory = objective.start(12, 3, torch.device("cpu"))
    for batch in batches(make, 3):
        sum(objective.terms(network, batch, memory).values()).backward()
    assert not any(b.requires_grad for b in memory.buffers())


def test_a_step_done_again_changes_nothing(make):
    objective, network = TemporalEnsembling(ramp_up=0), make.network(4, 3, norm=False)
    memory = objective.start(12, 3, torch.device("cpu"))
    for batch in batches(make, 2):
        batch = replace(batch, weak=lambda x: x)
        first = objective.terms(network, batch, memory)
        again = objective.terms(network, batch, memory)
    assert torch.equal(first["consistency"], again["consistency"])


def test_state_goes_on(make):
    objective, network = TemporalEnsembling(ramp_up=0), make.network(4, 3, norm=False)
    memory = objective.start(12, 3, torch.device("cpu"))
    first, second, third = batches(make, 3)
    objective.terms(network, first, memory)
    objective.terms(network, second, memory)
    resumed = objective.start(12, 3, torch.device("cpu"))
    resumed.load_state_dict(memory.state_dict())
    a = objective.terms(network, third, memory)
    b = objective.terms(network, batches(make, 3)[2], resumed)
    assert all(torch.equal(a[k], b[k]) for k in a)
