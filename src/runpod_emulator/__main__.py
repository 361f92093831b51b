"""`python -m runpod_emulator`: the command `vllm-runpod emulator`, without the other rooms."""

from runpod_emulator.cli import emulator

if __name__ == "__main__":
    emulator(prog_name="python -m runpod_emulator")
