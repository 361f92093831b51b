"""`preview`, `up`, `refresh` and `destroy`: lock, show, ask, do, sum up."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console

from pulumi_embedded._collect import Collector
from pulumi_embedded._diffview import TreeView
from pulumi_embedded._display import Progress
from pulumi_embedded._errors import ConfigError, ExpectedNoChanges, OperationCancelled, OperationFailed, UsageError
from pulumi_embedded._events import Events, Fan
from pulumi_embedded._json_output import EventStream, PreviewDocument
from pulumi_embedded._live import LiveProgress
from pulumi_embedded._operation import Operation, Options, Result
from pulumi_embedded._show import duration_text, has_changes, summary_text
from pulumi_embedded._stack import Stack
from redaction import redact


@dataclass(frozen=True)
class Request:
    """One command, as its flags ask for it."""

    kind: str
    diff: bool = False
    as_json: bool = False
    expect_no_changes: bool = False
    parallel: int = 16
    show_sames: bool = False
    show_replacement_steps: bool = False
    suppress_outputs: bool = False
    message: str = ""
    event_log: str | None = None
    refresh: bool = False
    continue_on_error: bool = False
    yes: bool = False
    skip_preview: bool = False
    preview_only: bool = False
    clear_pending_creates: bool = False
    skip_pending_creates: bool = False
    interactive: bool = False
    colour: bool = False

    def options(self) -> Options:
        """What the engine is asked to do."""
        return Options(
            parallel=self.parallel,
            continue_on_error=self.continue_on_error,
            refresh=self.refresh or self.kind == "refresh",
            run_program=self.kind in ("up", "preview"),
            delete=self.kind != "refresh",
            # Of all that shows an operation, the event stream alone passes debug messages on.
            debug=self.event_log is not None or self.as_json,
        )


_HEADING = {
    ("up", True): "Previewing update", ("up", False): "Updating", ("refresh", True): "Previewing refresh",
    ("refresh", False): "Refreshing", ("destroy", True): "Previewing destroy", ("destroy", False): "Destroying",
    ("preview", True): "Previewing update",
}  # fmt: skip
_DONE_KIND = {"preview": "preview", "up": "update", "refresh": "refresh", "destroy": "destroy"}


def run_with_signals(operation: Operation) -> Result:
    """Run in an event loop of its own; Ctrl-C and SIGTERM cancel it, and cancel it harder."""

    async def run() -> Result:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, operation.cancel)
        return await operation.run()

    return asyncio.run(run())


class Session:
    """Carries out one request on one stack."""

    def __init__(self, stack: Stack, request: Request, out: TextIO) -> None:
        self._stack = stack
        self._request = request
        self._out = out
        self._event_file = request.event_log

    def run(self) -> None:
        """Do it; raises what the command ends with."""
        request = self._request
        if request.kind == "preview":
            self._preview(last=True)
            return
        self._stack.require()
        if request.clear_pending_creates and request.skip_pending_creates:
            raise ConfigError("cannot set both --skip-pending-creates and --clear-pending-creates")
        if not request.yes and not request.interactive and not request.preview_only:
            raise UsageError("--yes or --skip-preview must be passed in to proceed when running in non-interactive mode"
                             if not request.skip_preview else
                             "--yes must be passed in to proceed when running in non-interactive mode")  # fmt: skip
        if request.preview_only:
            self._preview(last=True)
            return
        with self._stack.locked(self._say):
            forgotten = (
                self._creates_to_drop()
            )  # asked before anything is drawn, and before the preview, as the CLI does
            if not request.skip_preview:
                self._preview(last=False)
            if not request.yes:
                self._ask()
            self._update(forgotten)

    def _say(self, text: str) -> None:
        print(redact(text), file=sys.stderr)  # noqa: T201 - a command's own output

    def _ask(self) -> None:
        verb = {"up": "perform this update", "refresh": "perform this refresh", "destroy": "perform this destroy"}
        question = f"Do you want to {verb[self._request.kind]}? [y/N] "
        if self._answer(question) not in ("y", "yes"):
            raise OperationCancelled(f"confirmation declined, not proceeding with the {_DONE_KIND[self._request.kind]}")

    def _creates_to_drop(self) -> list[str]:
        """Interrupted creations that are to be forgotten: all by flag, or those that a person says never happened."""
        request = self._request
        if request.kind != "refresh" or request.skip_pending_creates:
            return []
        urns = list(dict.fromkeys(self._stack.pending_creates()))
        if request.clear_pending_creates or not request.interactive:
            return urns if request.clear_pending_creates else []
        question = (
            "Its creation was interrupted: did it fail, and is it to be forgotten? If it succeeded, answer no, and "
            "declare it with the option `import_` and the id the provider knows. [y/N] "
        )
        return [urn for urn in urns if self._answer(f"{urn}\n{question}") in ("y", "yes")]

    def _answer(self, question: str) -> str:
        try:
            return input(question).strip().lower()
        except (EOFError, KeyboardInterrupt):
            print(file=self._out)
            return ""

    @contextlib.contextmanager
    def _event_log(self, planning: bool) -> Iterator[EventStream | None]:
        if not self._event_file and not (self._request.as_json and not planning):
            yield None
            return
        config = self._stack.config.masked()
        if self._event_file:
            with Path(self._event_file).open("a", encoding="utf-8") as file:
                yield EventStream(lambda line: print(line, file=file, flush=True), config, planning)
        else:
            yield EventStream(lambda line: print(line, file=self._out, flush=True), config, planning)

    def _display(self, preview: bool) -> TreeView | Progress:
        request = self._request
        heading = _HEADING[request.kind, preview]
        live = request.interactive and self._out.isatty() and not request.diff
        console = Console(
            file=self._out, highlight=False, soft_wrap=True, no_color=not request.colour, force_terminal=live or None,
            color_system="auto" if request.colour else None,
        )  # fmt: skip
        console.print(f"{heading} ({self._stack.name}):", markup=False)
        if request.diff:
            return TreeView(
                console, sys.stderr, preview, request.kind == "refresh", request.show_sames,
                request.show_replacement_steps, request.suppress_outputs,
            )  # fmt: skip
        if not live:
            console.print()
        options = {
            "preview": preview,
            "stack_name": f"{self._stack.project.name}-{self._stack.name}",
            "standalone_refresh": request.kind == "refresh",
            "show_sames": request.show_sames,
        }
        return LiveProgress(console, heading=heading, **options) if live else Progress(console, **options)  # type: ignore[arg-type]

    def _sum_up(self, display: TreeView | Progress, collector: Collector, seconds: float) -> None:
        """Outputs and summary, after everything else."""
        preview = display.preview
        if isinstance(display, Progress) and not self._request.suppress_outputs:
            outputs = display.outputs(self._request.show_sames).plain
            if outputs:
                self._say_out(f"Outputs:\n{outputs}")
        errored = display.errored
        self._say_out(summary_text(collector.counts, preview, errored))
        if not preview:
            self._say_out(f"\n{duration_text(seconds)}")
        self._say_out("")

    def _say_out(self, text: str) -> None:
        print(redact(text), file=self._out, flush=True)

    def _operate(self, preview: bool, run: Callable[[Events, Collector], Result]) -> tuple[Result, Collector]:
        request = self._request
        collector = Collector(refresh=request.kind == "refresh")
        quiet = request.as_json
        started = time.monotonic()
        with self._event_log(preview) as stream:
            display = None if quiet else self._display(preview)
            listeners: list[Events] = [collector]
            if display is not None:
                listeners.append(display)
            document = None
            if quiet and preview:
                document = PreviewDocument(
                    self._stack.config.masked(), request.show_sames, request.show_replacement_steps,
                    request.kind == "refresh",
                )  # fmt: skip
                listeners.append(document)
            if stream is not None:
                listeners.append(stream)
            try:
                result = run(Fan(*listeners), collector)
            finally:
                if display is not None:
                    display.close()
            if stream is not None:
                stream.summary(collector.counts, result.maybe_corrupt)
        if document is not None:
            print(document.text(collector.counts, result.maybe_corrupt), file=self._out)
        if display is not None:
            self._sum_up(display, collector, time.monotonic() - started)
        return result, collector

    def _preview(self, last: bool) -> None:
        options = self._request.options()
        if self._request.as_json and not last:
            quiet = Collector(refresh=self._request.kind == "refresh")
            result = self._stack.preview(quiet, options, run_with_signals)
            self._raise_unless_ok(result, "preview", quiet)
            return
        result, collector = self._operate(
            True, lambda events, _: self._stack.preview(events, options, run_with_signals)
        )
        self._raise_unless_ok(result, "preview", collector)
        if self._request.expect_no_changes and last and has_changes(collector.counts):
            raise ExpectedNoChanges(_DONE_KIND[self._request.kind])

    def _update(self, forgotten: Collection[str]) -> None:
        request = self._request
        kind = _DONE_KIND[request.kind]

        def run(events: Events, collector: Collector) -> Result:
            return self._stack.update(
                kind, events, request.options(), run_with_signals, lambda: collector.counts,
                request.message, forgotten,
            )  # fmt: skip

        result, collector = self._operate(False, run)
        self._raise_unless_ok(result, kind, collector)
        if request.expect_no_changes and has_changes(collector.counts):
            raise ExpectedNoChanges(kind)

    def _raise_unless_ok(self, result: Result, what: str, collector: Collector) -> None:
        if result.killed:
            raise OperationCancelled(f"{what} cancelled; steps that were running may have happened or not")
        if not result.ok:
            errors = [message.rstrip() for severity, _, message in collector.diagnostics if severity == "error"]
            # A person has the causes above already; beside JSON, which a machine reads, they are said here.
            causes = "\n".join(error for error in errors if error not in (f"{what} failed", f"{what} canceled"))
            shown = errors and not self._request.as_json
            raise OperationFailed("" if shown else f"{what} failed" + (f": {causes}" if causes else ""))
