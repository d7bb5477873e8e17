import numpy as np
import pytest

from benchmarks import bench_growth
from benchmarks.suites import problems


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_exponent_of_a_power_is_its_exponent(slope):
    sizes = np.array([10, 20, 40, 80])
    found, error = bench_growth.exponent(sizes, 3.0 * sizes**slope)
    assert found == pytest.approx(slope, abs=1e-12)
    assert error == pytest.approx(0, abs=1e-7)


def test_standard_error_of_the_exponent_is_that_of_least_squares():
    linregress = pytest.importorskip("scipy.stats").linregress
    rng = np.random.default_rng(0)
    sizes = np.array([1, 2, 4, 8, 16])
    costs = sizes**1.3 * np.exp(rng.normal(0, 0.1, 5))
    expected = linregress(np.log(sizes), np.log(costs))
    assert bench_growth.exponent(sizes, costs) == pytest.approx((expected.slope, expected.stderr))


def test_cases_vary_one_size_at_a_time():
    cases = problems.cases()
    for position, axis in enumerate(problems.AXES):
        sizes = problems.along(axis, cases)
        assert len(sizes) == len(problems.FACTORS[axis])
        others = {tuple(np.delete(size, position)) for size in sizes}
        assert len(others) == 1


def test_every_suite_runs_on_small_sizes():
    for name, suite in bench_growth.suites(["kernels", "GMM", "Ranking", "Paper"]).items():
        case = (20, 64, 4) if "KMeans" in name else (150, 4, 3)
        clock, processor = bench_growth.seconds(suite, case)
        assert clock > 0 and processor >= 0


def test_memory_of_a_mapped_problem_is_measured():
    found = bench_growth.peak_bytes("kernels.MappedEvidence", (2000, 16, 3))
    assert 0 <= found < 1e9
