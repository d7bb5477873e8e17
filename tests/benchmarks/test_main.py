import json

import pytest

from benchmarks import _registry
from benchmarks.__main__ import main


def test_list_names_every_benchmark_and_its_data(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in ("detection", "growth", "scale", "peers", "reed-table2", "ieg-table5", "cifar-n"):
        assert f"\n{name} " in f"\n{printed}"
    assert printed.count("data: ") == len(_registry.benchmarks())


def test_every_module_of_a_benchmark_is_listed():
    modules = {b.module for b in _registry.benchmarks().values()}
    files = {f"benchmarks.{p.stem}" for p in _registry._FOLDER.glob("bench_*.py")}
    assert files == {m for m in modules if m.startswith("benchmarks.bench_")}


def test_unknown_name_is_an_error_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["run", "no-such"])
    assert "no benchmark 'no-such'" in capsys.readouterr().err


def test_run_passes_the_options_on(results, capsys):
    arguments = ["growth", "--only", "GramProduct", "--axes", "n", "--scale", "0.05"]
    main(["run", *arguments, "--repeats", "1", "--no-memory"])
    assert "kernels.GramProduct" in capsys.readouterr().out
    content = json.loads((results / "growth.json").read_text())
    assert content["settings"]["scale"] == 0.05
    assert [r["axis"] for r in content["records"]] == ["n"]
    assert {"machine", "versions", "commit"} <= content.keys()
