"""`vllm-runpod doctor`: what this machine has, what is missing, and the command that brings it."""

import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from vllm_runpod import emulator_process
from vllm_runpod.errors import CommandError
from vllm_runpod.project import Project


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `needed` marks what `make up` cannot do without."""

    what: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = True


def examine(project: Project) -> list[Finding]:
    """Look at everything `make up` needs; changes nothing."""
    findings = [
        Finding(
            "machine",
            (sys.platform, platform.machine()) == ("linux", "x86_64"),
            f"{sys.platform} {platform.machine()}",
            "Linux x86_64 is supported",
        ),
        Finding(
            "python", (3, 11) <= sys.version_info[:2] <= (3, 13), platform.python_version(), "use CPython 3.11 to 3.13"
        ),
    ]
    for what, path in (
        ("provider plugin's environment", project.local / "envs" / "plugin" / "bin" / "python"),
        ("vLLM on the CPU", project.vllm_environment / "bin" / "python"),
        ("worker's packages", project.worker_dependencies),
    ):
        there = path.exists()
        findings.append(Finding(what, there, "there" if there else "missing", "make up"))
    pulumi = shutil.which("pulumi")
    findings.append(Finding("pulumi CLI", True, pulumi or "not on PATH: pulumi_embedded is used", needed=False))
    key = bool(os.environ.get("RUNPOD_API_KEY"))
    findings.append(
        Finding("RUNPOD_API_KEY", key, "set" if key else "not set", "needed for paid stacks only", needed=False)
    )
    try:
        running = emulator_process.status(project)
        findings.append(
            Finding("emulator", True, f"runs, pid {running['pid']}" if running else "not running", needed=False)
        )
    except CommandError as error:
        findings.append(Finding("emulator", False, str(error).splitlines()[0], "see `vllm-runpod up`"))
    free_gb = shutil.disk_usage(project.root).free / 1e9
    findings.append(Finding("free disk", free_gb > 12, f"{free_gb:.0f} GB", "vLLM, model and image need about 12 GB"))
    return findings


def run(project: Project, *, as_json: bool) -> int:
    """Print the findings; 1 when something needed is missing, else 0."""
    findings = examine(project)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("what", "", "found", "remedy"):
            table.add_column(column)
        for finding in findings:
            mark = "ok" if finding.ok else ("missing" if finding.needed else "-")
            table.add_row(finding.what, mark, finding.found, "" if finding.ok else finding.remedy)
        Console(highlight=False).print(table)
    return int(any(finding.needed and not finding.ok for finding in findings))
