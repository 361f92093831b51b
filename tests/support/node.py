"""Node packages for tests, locked in tools/npm: installed once into .local/tools/npm, or a reason why not.

`package-lock.json` is made by `npm install --package-lock-only --omit-lockfile-registry-resolved`, then stripped of
`funding` and `license`, which an installation does not need.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_LOCKED = ("package.json", "package-lock.json")


def node_modules() -> Path:
    """The folder of installed packages; skips the test with the reason where it cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on PATH")
    source, folder = ROOT / "tools" / "npm", ROOT / ".local" / "tools" / "npm"
    key = hashlib.sha256(b"".join((source / name).read_bytes() for name in _LOCKED)).hexdigest()
    stamp = folder / "installed"
    if not stamp.is_file() or stamp.read_text() != key:
        stamp.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _LOCKED:
            shutil.copy(source / name, folder)
        # No package's own script is run.
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries", "1"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
        if done.returncode != 0:
            last = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            pytest.skip(f"npm cannot install tools/npm here: {' '.join(last)[:300]}")
        stamp.write_text(key)
    return folder / "node_modules"
