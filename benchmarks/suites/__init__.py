"""How cost grows with n, d and C: suites for asv, which bench_growth runs as well."""
