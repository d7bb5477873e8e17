"""The program as a process, and without what it needs."""

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
