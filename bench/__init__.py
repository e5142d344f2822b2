"""Benchmarks: every figure is a ratio between sides that run in turn on the same servers (architecture, section 5)."""
