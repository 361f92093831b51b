"""A clean clone in a temporary folder, for tests that run an engine over the real program and provider."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.infra.support import ROOT

PLUGIN_ENVIRONMENT = ROOT / ".local/envs/plugin"


class Project:
    """A clean clone as the CLI sees it: the real program and provider, stack files of its own, no state."""

    def __init__(self, root: Path, engine: str = "pulumi") -> None:
        self.root = root
        self.command = ["pulumi"] if engine == "pulumi" else [str(root / ".venv/bin/python"), "-m", "pulumi_embedded"]
        (root / ".local/envs").mkdir(parents=True)
        for path in ROOT.glob("Pulumi*.yaml"):
            shutil.copy(path, root)
        # A copy: the provider starts in the program's folder and looks upwards for the project.
        shutil.copytree(ROOT / "infra", root / "infra", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("src", ".local/envs/plugin"):
            (root / name).symlink_to(ROOT / name)
        subprocess.run([sys.executable, "-m", "venv", root / ".venv"], check=True)
        # The packages of the environment that runs the tests, in one that pip can list.
        paths = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        lines = [f"import site; site.addsitedir({path!r})" for path in paths]
        (next((root / ".venv/lib").glob("python*")) / "site-packages/tests.pth").write_text("\n".join(lines))

    def pulumi(self, *arguments: str) -> tuple[int, str]:
        """Exit code and everything printed."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "PULUMI_HOME": str(self.root / "home/.pulumi"),
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
