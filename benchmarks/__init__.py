"""Benchmarks: `make bench BENCH=<name>` runs one; each is a module here with a click command named `main`.

Each prints a table for people and closes with one JSON line (`report.Report`). They may import every room.
"""
