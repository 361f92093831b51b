"""What can go wrong while options are looked up or read."""

from collections.abc import Sequence


class OptionsError(Exception):
    """Base of everything this room raises."""


class UnknownVersion(OptionsError):
    """No option data was kept for that version of vLLM."""

    def __init__(self, version: str, known: Sequence[str]) -> None:
        self.version, self.known = version, tuple(known)
        super().__init__(
            f"no options are known for vLLM {version}; known: {', '.join(known)}\n\n"
            "hint: run tools/dump_vllm_options.py with the python of an environment that holds that vLLM"
        )


class BadValue(OptionsError):
    """A variable's text is not a value that its option takes."""

    def __init__(self, name: str, text: str, reason: str) -> None:
        self.name, self.text, self.reason = name, text, reason
        super().__init__(f"{name}={text!r} {reason}")
