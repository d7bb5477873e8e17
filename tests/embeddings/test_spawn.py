import os
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from skclean.embeddings.devices import launch, make_fabric  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="torch was built without gloo",
)
TIMEOUT = 120


def diverge(fabric, payload):
    fabric.barrier()
    raise FloatingPointError(f"loss of process {fabric.global_rank}, {len(payload)} bytes")


def linger(fabric):
    if fabric.is_global_zero:
        print("started", flush=True)
    time.sleep(TIMEOUT)


def run(script, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, script], text=True, env=environment, stderr=subprocess.PIPE, **options
    )


def test_error_of_a_started_process_reaches_the_caller():
    with pytest.raises(FloatingPointError, match="loss of process [01], 1000000 bytes"):
        launch(make_fabric("cpu", devices=2), diverge, bytes(1_000_000))


def test_script_without_the_guard_ends_with_advice(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from skclean.embeddings.devices import launch, make_fabric\n"
        "launch(make_fabric('cpu', devices=2), print, bytes(1_000_000))\n"
    )
    process = run(script)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "if __name__ ==" in errors.splitlines()[-1]


def test_started_processes_end_with_their_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "if __name__ == '__main__':\n"
        "    import test_spawn\n"
        "    from skclean.embeddings.devices import launch, make_fabric\n"
        "    launch(make_fabric('cpu', devices=2), test_spawn.linger)\n"
    )
    # The pipe closes when the last process that holds it ends.
    process = run(script, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGKILL)
    assert process.stdout.read() == ""
    process.communicate(timeout=TIMEOUT)
