"""A clean clone in a temporary folder, for tests that run an engine over the real program and provider."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.infra.support import ROOT

PLUGIN_ENVIRONMENT = ROOT / ".local/envs/plugin"
NOT_NEEDED = ("tests/", "benchmarks/", "docs/", "requirements/", "tools/")
"""Nothing of these is read by a stack that runs."""


class Project:
    """A clean clone, set up, as an engine sees it: what git tracks, or will, and nothing else, no state."""

    def __init__(self, root: Path, engine: str = "pulumi") -> None:
        self.root = root
        self.use(engine)
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in tracked.stdout.split("\0"):
            if name and not name.startswith(NOT_NEEDED) and (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        # What `make setup` adds to a clone.
        (root / ".local/envs").mkdir(parents=True)
        (root / ".local/envs/plugin").symlink_to(PLUGIN_ENVIRONMENT)
        subprocess.run([sys.executable, "-m", "venv", root / ".venv"], check=True)
        # The packages of the environment that runs the tests, in one that pip can list, after the clone's own rooms.
        paths = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        lines = [str(root / "src"), *(f"import site; site.addsitedir({path!r})" for path in paths)]
        (next((root / ".venv/lib").glob("python*")) / "site-packages/tests.pth").write_text("\n".join(lines))

    def use(self, engine: str) -> None:
        """Go on with the other engine."""
        python = str(self.root / ".venv/bin/python")
        self.command = ["pulumi"] if engine == "pulumi" else [python, "-m", "pulumi_embedded"]

    def pulumi(self, *arguments: str) -> tuple[int, str]:
        """Exit code and everything printed. The shell has nothing activated; a key or a backend is not in it."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "local",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        run = subprocess.run(
            [*self.command, "--non-interactive", "--color", "never", *arguments],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return run.returncode, run.stdout
