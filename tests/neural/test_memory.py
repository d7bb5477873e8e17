import copy
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from skclean.neural.memory import RowMemory  # noqa: E402
from skclean.neural.objectives.supervised import RunningPredictions  # noqa: E402
from skclean.neural.objectives.temporal_ensembling import Ensemble  # noqa: E402

#: Rows that each of three processes draws, step by step; the last two rows are drawn by none.
STEPS = [[[0, 1, 0], [2, 3, 3]], [[4, 1, 2], [5, 6, 6]], [[2, 7, 7], [4, 7, 0]]]


def shared(memories):
    """`share` in all processes, which send what copies of them send."""
    sent = []

    def send(x, reduce_op):
        assert reduce_op == "sum"
        sent.append(x.clone())
        return x

    for memory in copy.deepcopy(memories):
        memory.share(SimpleNamespace(all_reduce=send))
    total = torch.stack(sent).sum(dim=0)
    for memory in memories:
        memory.share(SimpleNamespace(all_reduce=lambda x, reduce_op: total))


def mean_of_those_who_drew(memories, before):
    """The definition, a row at a time: the mean over the processes that drew it, else as before."""
    found = copy.deepcopy(before.state_dict())
    for row in range(10):
        own = [m for m, steps in zip(memories, STEPS) if any(row in rows for rows in steps)]
        for name in found if own else ():
            values = [m.state_dict()[name][row].double() for m in own]
            found[name][row] = (sum(values) / len(values)).to(found[name].dtype)
    return found


def start(kind):
    return Ensemble(10, 3) if kind == "ensemble" else RunningPredictions(10, 3)


def step(memory, rows, epoch, seed):
    proba = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    if isinstance(memory, RunningPredictions):
        return memory.update(rows, proba, 0.7)
    memory.targets(rows, epoch, 0.6)
    return memory.record(rows, proba, epoch)


@pytest.mark.parametrize("kind", ["ensemble", "running"])
def test_share_by_loops(kind):
    memories = [start(kind) for _ in STEPS]
    for epoch in range(3):
        before = copy.deepcopy(memories[0])
        for process, (memory, steps) in enumerate(zip(memories, STEPS, strict=True)):
            for number, rows in enumerate(steps):
                step(memory, torch.tensor(rows), epoch, 100 * epoch + 10 * process + number)
        expected = mean_of_those_who_drew(memories, before)
        alone = {n: x[[3, 5, 6]] for n, x in memories[1].state_dict().items()}
        shared(memories)
        for memory in memories:
            assert not memory.drawn.any()
            for name, x in memory.state_dict().items():
                assert x.dtype == expected[name].dtype
                assert torch.equal(x, memories[0].state_dict()[name]), name
                torch.testing.assert_close(x, expected[name])
                # What one process alone drew is taken to the last bit.
                assert torch.equal(x[[5, 6]], alone[name][1:]), name
                assert torch.equal(x[8:], start(kind).state_dict()[name][8:]), name


def test_what_was_not_drawn_is_not_looked_at():
    memories = [RowMemory(2), RowMemory(2)]
    for value, memory in zip((1.0, torch.inf), memories):
        memory.register_buffer("kept", torch.tensor([value, 5.0]))
    memories[0].drawn[0] = True
    shared(memories)
    assert all(m.kept.tolist() == [1, 5] for m in memories)
