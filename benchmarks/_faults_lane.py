"""A lane: one emulator and one deployment after the other, in a process without threads.

`python -m benchmarks._faults_lane <folder> <keep>` reads one seed per line and answers each with one line, `Verdict` as
JSON. What a failed deployment left (project, state, every version of it, outputs of the engine)
is kept in `<keep>/<seed>`.
"""

import json
import re
import shutil
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks._faults_cloud import Cloud, CloudFailure
from benchmarks._faults_engine import Run, load_engine, run_engine
from benchmarks._faults_judge import files_below, judge_destroy, judge_up, readable, recorded
from benchmarks._faults_program import PASSPHRASE, Project, new_salt
from benchmarks._faults_story import SLOW_S, Json, Step, Story, fault_name, secrets_of, story

_LONGEST_CALL_S = 0.9
"""No call is held longer by a fault: after a kill the cloud has finished what it was asked by then."""
BYSTANDERS = (
    ("/v2/network-volumes", {"name": "somebody-elses", "size": 10, "dataCenter": "EU-RO-1"}),
    ("/v2/templates", {"name": "somebody-elses", "image": "oci:image:one", "env": {"A": "1"}}),
)


@dataclass
class Verdict:
    """What one deployment showed."""

    seed: int
    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Clean runs that failed, tracebacks, processes that outlived their engine, runs that never ended."""
    faults: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    searched: dict[str, int] = field(default_factory=dict)
    """How many files, outputs and processes were searched for secrets."""
    runs: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing was wrong."""
        return not (self.orphans or self.lost or self.secrets or self.failures)


class Lane:
    """The emulator and the folder of one lane."""

    def __init__(self, folder: Path, keep: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder, self._keep = folder, keep
        self._salt = new_salt()
        self.cloud = Cloud(folder)

    def deploy(self, seed: int) -> Verdict:
        """Live through one story."""
        began = time.monotonic()
        told = story(seed)
        verdict = Verdict(seed)
        folder = self._folder / f"deployment-{seed}"
        self.cloud.clear()
        self.cloud.call("POST", "/_emulator/seed", {"seed": seed})
        for path, body in BYSTANDERS:
            self.cloud.call("POST", path, body)
        project = Project(folder, self.cloud.url, self.cloud.key, told.key_from, self._salt)
        _Deployment(self.cloud, project, told, verdict).live()
        verdict.seconds = time.monotonic() - began
        if verdict.ok:
            shutil.rmtree(folder)
        else:
            self._keep_for_reading(folder, told, verdict)
        return verdict

    def _keep_for_reading(self, folder: Path, told: Story, verdict: Verdict) -> None:
        (folder / "story.json").write_text(json.dumps(asdict(told), indent=1))
        (folder / "verdict.json").write_text(json.dumps(asdict(verdict), indent=1))
        shutil.rmtree(self._keep / str(verdict.seed), ignore_errors=True)
        shutil.move(folder, self._keep / str(verdict.seed))


class _Deployment:
    def __init__(self, cloud: Cloud, project: Project, told: Story, verdict: Verdict) -> None:
        self._cloud, self._project, self._story, self._verdict = cloud, project, told, verdict
        self._others = cloud.everything()
        self._faults: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()
        self._searched: Counter[str] = Counter()
        self._secrets = {PASSPHRASE, cloud.key}

    def live(self) -> None:
        self._project.create_stack()
        for number, step in enumerate(self._story.steps, 1):
            self._secrets |= secrets_of(step.wish)
            run = self._run(number, step)
            self._look_at(number, step, run)
        self._verdict.runs = len(self._story.steps)
        self._verdict.faults, self._verdict.kills = dict(self._faults), dict(self._kills)
        self._verdict.searched = dict(self._searched)

    def _run(self, number: int, step: Step) -> Run:
        self._project.set(step.wish)
        for fault in step.faults:
            self._cloud.call("POST", "/_emulator/faults", fault)
        waiting = self._hold_a_call(step)
        log = self._project.folder / f"run-{number}.log"
        run = run_engine(self._project, step, log, waiting, command_line=self._story.command_line)
        if step.kill is not None and run.killed:
            self._kills[step.kill.kind] += 1
            time.sleep(_LONGEST_CALL_S if any(f["fault"]["kind"] == "latency" for f in step.faults) else SLOW_S + 0.1)
        for fault in self._cloud.call("GET", "/_emulator/faults")["faults"]:
            if fault["fired"] and fault["id"] != waiting.fault:
                self._faults[fault_name(fault["fault"])] += fault["fired"]
        self._cloud.call("DELETE", "/_emulator/faults")
        return run

    def _hold_a_call(self, step: Step) -> "_Held":
        """Slow down the call at which a process is to be killed, so that it is killed while that call waits."""
        kill = step.kill
        if kill is None or kill.when != "call":
            return _Held(self._cloud, None)
        held = {**_HELD, "when": "after" if kill.after else "before"}  # the server acted, or acts after the kill
        rule = {"match": {"method": kill.method}, "skip": kill.number - 1, "times": 1, "fault": held}
        return _Held(self._cloud, self._cloud.call("POST", "/_emulator/faults", rule)["id"])

    def _look_at(self, number: int, step: Step, run: Run) -> None:
        verdict, where = self._verdict, f"step {number} ({step.command})"
        if run.hung:
            verdict.failures.append(f"{where}: did not end")
        if _shows_traceback(run.output):
            verdict.failures.append(f"{where}: shows a traceback")
        verdict.failures += [f"{where}: {one} outlived the engine" for one in run.left]
        verdict.secrets += [f"{where}: {place}" for place in self._readable(run)]
        if not step.clean:
            return
        if run.code != 0:
            verdict.failures.append(f"{where}: failed with {run.code}: {_errors(run.output)}")
        state = recorded(self._project.state)
        if step.command == "up":
            findings = judge_up(self._cloud.everything(), state, step.wish, self._others)
        else:
            findings = judge_destroy(self._cloud.everything(), state, self._others)
        # What is still wrong after the destroy is the same finding once more.
        for found, known in ((findings.orphans, verdict.orphans), (findings.lost, verdict.lost)):
            known += [f"{where}: {line}" for line in found if not any(one.endswith(f": {line}") for one in known)]

    def _readable(self, run: Run) -> list[str]:
        """Where secrets can be read: files of the engine, what it printed, what the system shows of its processes."""
        project, searched = self._project, self._searched
        files = [
            *_named("state", project.state),
            *_named("versions", project.versions),
            *(file for file in _named("program", project.program) if file[0] not in _NOT_WRITTEN_BY_US),
        ]
        shutil.rmtree(project.versions)
        project.versions.mkdir()
        processes = [seen for seen in run.processes.values() if seen.name != "starting"]
        shown = [(f"arguments of the {seen.name}", seen.arguments) for seen in processes]
        environments = [(f"environment of the {seen.name}", seen.environment) for seen in processes]
        searched["files"] += len(files)
        searched["outputs"] += 1
        searched["processes"] += len(processes)
        known = {self._cloud.key} if project.key_may_be_in_environment else set()
        return [
            *readable([*files, ("output", run.output.encode()), *shown], self._secrets),
            *readable(environments, self._secrets - known),
        ]


_NOT_WRITTEN_BY_US = {"program/key", "program/__main__.py"}
_HELD: Json = {"kind": "latency", "seconds": SLOW_S}


class _Held:
    """Whether the call that is held has been made."""

    def __init__(self, cloud: Cloud, fault: str | None) -> None:
        self._cloud, self.fault = cloud, fault

    def __call__(self) -> bool:
        faults = self._cloud.call("GET", "/_emulator/faults")["faults"] if self.fault else []
        return any(fault["id"] == self.fault and fault["fired"] for fault in faults)


def _named(name: str, folder: Path) -> list[tuple[str, bytes]]:
    return [(f"{name}/{file}", content) for file, content in files_below(folder)]


def _shows_traceback(output: str) -> bool:
    """Whether a user would see one: not in the debug log, where a plugin says that it was interrupted while loading."""
    return any(_TRACEBACK in line and not _DEBUG_LINE.match(line) for line in output.splitlines())


_TRACEBACK = "Traceback (most recent call last)"
_DEBUG_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ pulumi_embedded")


def _errors(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if "error" in line.lower()]
    return " | ".join(lines[-3:])[:600]


def main() -> int:
    """Serve until there is nothing more to read."""
    folder, keep = Path(sys.argv[1]), Path(sys.argv[2])
    load_engine()
    lane = Lane(folder, keep)
    try:
        for line in sys.stdin:
            seed = int(line)
            try:
                verdict = lane.deploy(seed)
            except (CloudFailure, OSError, ValueError) as error:
                traceback.print_exc()
                verdict = Verdict(seed, failures=[f"the benchmark itself failed: {error!r}"])
            sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    finally:
        lane.cloud.close()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
