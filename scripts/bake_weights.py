#!/usr/bin/env python3
"""Bake a model's weights into a container image. The same command as `vllm-runpod bake`; see --help."""

from weight_bakery.cli import bake_command

if __name__ == "__main__":
    bake_command(prog_name="bake_weights.py")
