"""A model repository on the Hugging Face Hub, pinned to one commit when it is opened.

Metadata comes from huggingface_hub, payload from the same client: plain HTTP from the resolve route, which redirects
to a signed address. Such an address may be bound to the range it was made for (Xet's are), so every retry asks the
resolve route again, for the bytes that are still missing. Retries are bounded by progress: a connection that brought
less than 1 MiB counts as a failure. A flow whose rate collapses is closed and resolved anew (`_source_flow`).
"""

import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    DisabledRepoError,
    GatedRepoError,
    HFValidationError,
    HTTPError,  # base of what the client raises, whichever HTTP library it uses
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from redaction import redact, register_secret
from weight_bakery._errors import (
    AccessDenied,
    BakeryError,
    ModelNotFound,
    SourceChanged,
    SourceError,
    SourceUnavailable,
)
from weight_bakery._source_flow import Collapse, FlowGate, RateWatch
from weight_bakery._sources import Inventory, Notice, Reader, SourceFile, ignore

_TIMEOUT_S = 30.0
_TRIES = 6
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WORTH_ANOTHER = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Sleep = Callable[[float], object]


class HubSource:
    """One commit of one repository."""

    cheap = False

    def __init__(
        self,
        repository: str,
        revision: str | None,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        sleep: Sleep | None = None,
        notice: Notice = ignore,
    ) -> None:
        self._repository = repository
        self._endpoint = endpoint
        self._token = token or get_token()
        register_secret(self._token)
        self._stopped = threading.Event()
        self._sleep: Sleep = sleep or self._stopped.wait
        self._notice = notice
        self._gate = FlowGate()
        self._lock = threading.Lock()
        self._open_responses: set[Any] = set()
        self._what = f"{repository}@{revision}" if revision else repository
        info = self._retried(self._fetch_info, revision)
        if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
            raise SourceError(f"the Hub names no commit for {self._what}", "check HF_ENDPOINT")
        self._commit: str = info.sha
        files = [self._describe(sibling) for sibling in info.siblings or ()]
        self._files = {file.path: file for file in sorted(files, key=lambda file: file.path)}
        self._licence = _licence(info)
        self._gated = info.gated if isinstance(info.gated, str) else ("no" if info.gated is False else None)

    def inventory(self) -> Inventory:
        """Return the commit's files as the Hub describes them."""
        files = tuple(self._files.values())
        return Inventory("hub", self._repository, self._commit, files, licence=self._licence, gated=self._gated)

    @property
    def flow_limit(self) -> int | None:
        """How many layers should be read at once after a collapse."""
        return self._gate.limit

    def key(self, path: str) -> str:
        """Repository and path; the stamp is git's name of the content."""
        return f"hub:{self._repository}/{path}"

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        """Open a file; nothing is requested before the first read."""
        reader = _HubReader(self, self._files[path], offset)
        try:
            yield reader
        finally:
            reader.close()

    def close(self) -> None:
        """End reads that are under way in other threads: their sockets are shut down."""
        with self._lock:
            self._stopped.set()
            self._gate.wake()
            responses = list(self._open_responses)
        for response in responses:
            stream = response.extensions.get("network_stream")
            raw = stream.get_extra_info("socket") if stream is not None else None
            if raw is not None:
                with suppress(OSError):  # it is gone already, which is what was wanted
                    raw.shutdown(socket.SHUT_RDWR)

    def connect(self, file: SourceFile, offset: int) -> tuple[Any, Any, int]:
        """Ask the resolve route for a file from `offset` on: (context to close, response, bytes to read over)."""
        headers = build_hf_headers(token=self._token or False)
        headers["Accept-Encoding"] = "identity"
        if offset:
            headers["Range"] = f"bytes={offset}-"
        self._gate.enter(self._stopped.is_set)
        try:
            return self._connect(file, offset, headers)
        except BaseException:
            self._gate.leave()
            raise

    def _connect(self, file: SourceFile, offset: int, headers: dict[str, str]) -> tuple[Any, Any, int]:
        url = hf_hub_url(self._repository, file.path, revision=self._commit, endpoint=self._endpoint)
        context = get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S)
        response = context.__enter__()
        try:
            self._check(response, file)
            skip = _bytes_to_skip(response, file, offset)
            with self._lock:
                if self._stopped.is_set():
                    raise SourceUnavailable("the bake was stopped")
                self._open_responses.add(response)
        except BaseException:
            context.__exit__(None, None, None)
            raise
        return context, response, skip

    def release(self, context: Any, response: Any) -> None:
        """Give back what `connect` returned."""
        with self._lock:
            self._open_responses.discard(response)
        self._gate.leave()
        context.__exit__(None, None, None)

    def failed(self, error: Exception, failures: int) -> None:
        """Wait before another try, or raise for good."""
        if self._stopped.is_set():
            raise SourceUnavailable("the bake was stopped") from error
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise _untrusted(error) from error
        if failures >= _TRIES:
            raise SourceUnavailable(
                f"the Hub stopped answering for {self._what} ({redact(str(error)).splitlines()[0]})",
                "check the network and HF_ENDPOINT, then run the bake again; finished layers are kept",
            ) from error
        self._sleep(min(0.5 * 2**failures, 30.0) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def collapsed(self, path: str, collapse: Collapse) -> None:
        """Take note of a flow that collapsed; call it before `release`."""
        limit = self._gate.collapsed()
        self._notice(
            f"{path}: the Hub slowed from {collapse.best / 1e6:.1f} to {collapse.now / 1e6:.2f} MB/s; asking for a new"
            f" address, {limit} {'flow' if limit == 1 else 'flows'} at once from now on"
        )

    def _check(self, response: Any, file: SourceFile) -> None:
        if response.status_code < 400:
            for step in (*response.history, response):
                self._check_headers(step.headers, file)
            return
        redirected = bool(response.history)
        # A signed address that has run out answers 403; the next try gets a new one.
        if response.status_code in _TRANSIENT or (redirected and response.status_code == 403):
            raise _Passing(f"HTTP {response.status_code} for {file.path}")
        response.read()
        try:
            hf_raise_for_status(response)
        except HTTPError as error:
            raise self._explain(error) from error

    def _check_headers(self, headers: Any, file: SourceFile) -> None:
        """What the resolve route says about the file must be what the inventory said; then no byte need be read."""
        linked = headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"')
        if file.sha256 is not None and linked and linked != file.sha256:
            raise SourceChanged(f"the Hub has another {file.path} now than it listed for {self._what}", "bake again")
        commit = headers.get("X-Repo-Commit")
        if commit is not None and commit != self._commit:
            raise SourceChanged(f"the Hub answers for commit {commit}, not {self._commit}", "check HF_ENDPOINT")

    def _fetch_info(self, revision: str | None) -> Any:
        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        return api.model_info(self._repository, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)

    def _retried(self, call: Callable[..., Any], *arguments: Any) -> Any:
        failures = 0
        while True:
            try:
                return call(*arguments)
            except (HTTPError, HFValidationError, OfflineModeIsEnabled) as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                if isinstance(error, HFValidationError | OfflineModeIsEnabled) or (
                    status is not None and status not in _TRANSIENT
                ):
                    raise self._explain(error) from error
                failures += 1
                self.failed(error, failures)

    def _explain(self, error: Exception) -> BakeryError:
        """Put an answer of the Hub into one line."""
        said = _hub_message(error)
        if isinstance(error, GatedRepoError):
            return self._explain_gated(said)
        if isinstance(error, DisabledRepoError):
            return AccessDenied(f"the Hub has disabled {self._repository}", "choose another model")
        if isinstance(error, RevisionNotFoundError):
            return ModelNotFound(f"{self._what}: no such revision", "name a branch, a tag or a commit after @")
        if isinstance(error, RepositoryNotFoundError):
            # The Hub says the same of a private repository as of one that is not there.
            login = "set HF_TOKEN if it is private or gated" if not self._token else "check that the token may read it"
            return ModelNotFound(f"the Hub has no model {self._repository}", f"check the spelling; {login}")
        if isinstance(error, OfflineModeIsEnabled):
            return SourceUnavailable(f"{self._what} is on the Hub, but HF_HUB_OFFLINE is set", "unset it")
        if isinstance(error, HFValidationError):
            return ModelNotFound(f"{self._repository!r} is not a repository id", "write <owner>/<name>")
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 401 and self._token:
            return AccessDenied(
                f"the Hub does not know the token it was given for {self._what}",
                "set HF_TOKEN to a valid token, or log in again with `hf auth login`",
            )
        if status in (401, 403):
            return AccessDenied(
                f"the Hub refused {self._what} (HTTP {status}{f': {said}' if said else ''})",
                "set HF_TOKEN to a token that may read it",
            )
        return SourceUnavailable(f"the Hub answered HTTP {status} for {self._what}", "check HF_ENDPOINT")

    def _explain_gated(self, said: str) -> AccessDenied:
        page = f"{(self._endpoint or ENDPOINT).rstrip('/')}/{self._repository}"
        if not self._token:
            return AccessDenied(
                f"{self._repository} is gated, and no token was given",
                f"accept its terms on {page}, then set HF_TOKEN to a token of that account",
            )
        if "review" in said or "pending" in said:
            return AccessDenied(f"{self._repository} is gated, and your request is still under review", f"see {page}")
        return AccessDenied(
            f"{self._repository} is gated and this token has no access to it",
            f"accept its terms on {page}, and use a token of that account that may read gated repositories",
        )

    def _describe(self, sibling: Any) -> SourceFile:
        size = sibling.lfs.size if sibling.lfs is not None else sibling.size
        if not isinstance(size, int) or size < 0:
            raise SourceError(f"the Hub gives no size for {sibling.rfilename} of {self._what}", "check HF_ENDPOINT")
        sha256 = str(sibling.lfs.sha256) if sibling.lfs is not None else None
        git_oid = str(sibling.blob_id) if sha256 is None and sibling.blob_id else None
        return SourceFile(str(sibling.rfilename), size, sha256=sha256, git_oid=git_oid)


class _Passing(Exception):
    """A failure that another try may mend."""


class _HubReader:
    """Reads a file in order; reconnects where it stopped when the connection breaks or collapses."""

    def __init__(self, source: HubSource, file: SourceFile, offset: int) -> None:
        self._source = source
        self._file = file
        self._offset = offset
        self._context: Any = None
        self._response: Any = None
        self._parts: Iterator[bytes] = iter(())
        self._rest = b""
        self._failures = 0
        self._since_failure = 0
        self._rate = RateWatch()

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end of the file."""
        held = len(self._rest)
        parts = [self._rest]
        while held < size and self._offset < self._file.size:
            try:
                parts.append(self._next_part())
                held += len(parts[-1])
            except (HTTPError, OSError, _Passing) as error:
                self.close()
                self._failures += 1
                self._since_failure = 0
                self._source.failed(error, self._failures)
        # Only the last part can reach beyond what was asked for: every byte but its rest is copied once.
        keep = len(parts[-1]) - max(held - size, 0)
        parts[-1], self._rest = parts[-1][:keep], parts[-1][keep:]
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            context, response = self._context, self._response
            self._context = self._response = None
            self._source.release(context, response)

    def _next_part(self) -> bytes:
        skip = 0
        if self._response is None:
            self._context, self._response, skip = self._source.connect(self._file, self._offset)
            self._parts = self._response.iter_raw()
        while True:
            started = self._rate.start()
            part = next(self._parts, b"")
            collapse = self._rate.took(started, len(part))
            if not part:
                raise _Passing(f"{self._file.path} ended {self._file.size - self._offset} bytes early")
            over = min(skip, len(part))
            skip -= over
            if over < len(part):
                break
        fresh = part[over:]
        self._offset += len(fresh)
        self._since_failure += len(fresh)
        if self._since_failure >= _WORTH_ANOTHER:
            self._failures = 0
        if collapse is not None and self._offset < self._file.size:
            self._source.collapsed(self._file.path, collapse)
            self.close()
        return fresh


def _bytes_to_skip(response: Any, file: SourceFile, offset: int) -> int:
    """How much of the answer lies before `offset`; refuses an answer that is about another range or file."""
    if response.status_code != 206:
        length = response.headers.get("Content-Length")
        if length is not None and length != str(file.size):
            raise _Passing(f"{file.path}: {length} bytes announced instead of {file.size}")
        return offset
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != offset:
        raise _Passing(f"{file.path}: asked for bytes from {offset}, got {response.headers.get('Content-Range')!r}")
    if match[2] not in ("*", str(file.size)):
        raise SourceChanged(f"{file.path} has {match[2]} bytes now, not {file.size}", "run the bake again")
    return 0


def _untrusted(error: Exception) -> SourceUnavailable:
    """A certificate that is refused will be refused again; a wrong clock makes good ones look bad."""
    said = redact(str(error)).splitlines()[0]
    clock = "this machine's clock and " if "not yet valid" in said or "expired" in said else ""
    return SourceUnavailable(f"the Hub has no certificate that is trusted here ({said})", f"check {clock}HF_ENDPOINT")


def _hub_message(error: Exception) -> str:
    """What the Hub says in words, short enough for one line."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return str(headers.get("X-Error-Message") or "")[:200].rstrip(".").lower()


def _licence(info: Any) -> str | None:
    """The licence as the model's card names it; the name it gives where it is not one of the well-known ones."""
    card = info.card_data.to_dict() if info.card_data is not None else {}
    named = card.get("license_name") if card.get("license") in (None, "other") else card.get("license")
    found = named or card.get("license")
    if not found:
        found = next((tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")), None)
    return str(found) if found else None
