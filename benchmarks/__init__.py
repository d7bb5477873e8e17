"""Benchmarks: every figure that the project quotes comes from a command here."""
