"""The program as a process, and without what it needs."""

import json
import os
import re
import subprocess
import sys
import threading

import pytest

import skclean.cli


def test_exit_codes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("typer")
    monkeypatch.chdir(tmp_path)
    assert skclean.cli.main(["info", "--json"]) == 0
    assert skclean.cli.main(["soap"]) == 2
    assert skclean.cli.main(["purify", "no.npy", "--out", "o.csv"]) == 1
    assert "no.npy" in capsys.readouterr().err


def test_it_runs_in_any_thread(capsys):
    pytest.importorskip("typer")
    codes = []
    thread = threading.Thread(target=lambda: codes.append(skclean.cli.main(["info", "--json"])))
    thread.start()
    thread.join()
    assert codes == [0] and "skclean" in capsys.readouterr().out


def test_without_typer_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "skclean.cli._app", raising=False)
    assert skclean.cli.main(["info"]) == 1
    assert 'pip install "skclean[cli]"' in capsys.readouterr().err


def test_without_pyarrow_it_says_what_to_install(run, noisy, monkeypatch):
    import numpy as np

    np.savez("d.npz", X=noisy.X, y=noisy.y)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = run("purify", "d.npz", "--out", "o.csv", code=1).stderr
    assert 'pip install "skclean[cli]"' in said


def test_it_starts_without_heavy_imports(env):
    pytest.importorskip("typer")
    script = (
        "import sys, skclean.cli; skclean.cli.main(['purify', '--help'])\n"
        "print(*{'torch', 'sklearn', 'pyarrow', 'matplotlib', 'jinja2'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and "--save-model" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


def test_a_reader_that_goes_away_is_no_fault(env):
    pytest.importorskip("typer")
    script = (
        "import time, skclean.cli as cli, skclean.cli._info as info\n"
        "info.collect_info = lambda: time.sleep(1) or {'skclean': 'x' * 100_000}\n"
        "info.info_text = str\n"
        "cli.main(['info'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()


def test_a_terminal_shows_a_bar_and_the_result_stays_apart():
    pytest.importorskip("typer")
    pty = pytest.importorskip("pty")
    reader, writer = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "skclean", "demo", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=writer, env=environment
    ) as process:
        os.close(writer)
        shown = b""
        while chunk := _read(reader):
            shown += chunk
        assert json.loads(process.stdout.read())
    os.close(reader)
    assert process.returncode == 0
    text = shown.decode()
    assert "skclean: purifying 1797 rows by AutoPurifier" in text
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in text
    assert re.search(r"AutoPurifier: \d+\.\d s", text)


def _read(reader):
    try:
        return os.read(reader, 65536)
    except OSError:  # The other end is closed.
        return b""
