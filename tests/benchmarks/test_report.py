import json

import pytest

from benchmarks import _report, _results


def test_report_holds_mean_and_spread_of_what_was_written(results):
    records = [
        {"setting": "a 20 %", "method": "ours", "seed": s, "f1": f, "labels": 0.5, "seconds": 1.0}
        for s, f in enumerate((0.8, 0.9))
    ]
    _results.write("peers", records, seeds=2)
    text = _report.write(results, results / "RESULTS.md").read_text()
    assert "## peers" in text
    assert "| a 20 % | 0.850 ± 0.050 |" in text
    assert "seeds 2" in text


def test_growth_has_a_plot_beside_the_results(results):
    pytest.importorskip("matplotlib")
    sizes = [[10, 4, 2], [20, 4, 2]]
    record = {
        "suite": "kernels.FitRidge",
        "axis": "n",
        "sizes": sizes,
        "seconds": [0.1, 0.2],
        "exponent of processor time": 1.0,
        "linear": True,
    }
    _results.write("growth", [record])
    text = _report.write(results, results.parent / "RESULTS.md").read_text()
    assert "| kernels.FitRidge | 1.00 |" in text and "| yes |" in text
    assert "![growth](results/growth.svg)" in text
    assert (results / "growth.svg").read_text().lstrip().startswith("<?xml")


def test_a_papers_table_names_published_ours_and_difference(results):
    record = {
        "method": "REED",
        "column": "cifar10 asym 20",
        "report": "final",
        "published": 95.0,
        "ours": 90.0,
        "difference": -5.0,
        "share": 0.1,
        "seconds": 3.0,
        "seed": 0,
        "notes": ["a change"],
    }
    _results.write("reed-table3", [record])
    text = _report.write(results, results / "RESULTS.md").read_text()
    assert "| REED | cifar10 asym 20 | final | 95.0 | 90.0 | -5.00 | 10 % |" in text
    assert "- a change" in text


def test_results_that_are_committed_can_be_reported(tmp_path):
    files = list(_results.FOLDER.glob("*.json"))
    assert files
    for file in files:
        records = json.loads(file.read_text())["records"]
        assert any("|---|" in part for part in _report.section(file.stem, records))
