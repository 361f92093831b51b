"""Makes a story that shows a difference smaller, as long as it still shows it.

python -m tests.pulumi_embedded.random_shrink SEED     the smallest form of a story that differs, CLI on PATH
"""

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.pulumi_embedded.random_compare import compared
from tests.pulumi_embedded.random_play import Stage, played, stage
from tests.pulumi_embedded.random_program import without_resource
from tests.pulumi_embedded.random_render import rendered
from tests.pulumi_embedded.random_story import Command, Story, story


def smallest(told: Story, shows: Callable[[Story], bool]) -> Story:
    """The story without everything that can be left out."""
    tried = True
    while tried:
        tried = False
        for candidate in smaller(told):
            if shows(candidate):
                told, tried = candidate, True
                break
    return told


def smaller(told: Story) -> Iterator[Story]:
    """The story with one thing less: a command, a resource (in every program), a fault, a flag, an option, a value."""
    commands = told.commands
    for index in range(len(commands)):
        if len(commands) > 1:
            yield Story(commands[:index] + commands[index + 1 :])
    names = {r["name"]: None for c in commands if c.program for r in c.program["resources"]}
    for name in names:
        yield Story([_without(command, name) for command in commands])
    for index, command in enumerate(commands):
        for less in _less(command):
            yield Story([*commands[:index], less, *commands[index + 1 :]])


def _without(command: Command, name: str) -> Command:
    return replace(command, program=without_resource(command.program, name)) if command.program else command


def _less(command: Command) -> Iterator[Command]:
    for index in range(len(command.faults)):
        yield replace(command, faults=command.faults[:index] + command.faults[index + 1 :])
    for index in range(len(command.flags)):
        yield replace(command, flags=command.flags[:index] + command.flags[index + 1 :])
    for key in command.cloud:
        if not key.startswith("+"):
            yield replace(command, cloud={other: value for other, value in command.cloud.items() if other != key})
    if command.program is None:
        return
    if command.program["exports"]:
        yield replace(command, program={**command.program, "exports": {}})
    for index, resource in enumerate(command.program["resources"]):
        for part in ("opts", "props"):
            for key in resource[part]:
                if key != "id":
                    program = copy.deepcopy(command.program)
                    del program["resources"][index][part][key]
                    yield replace(command, program=program)


def differs(ours: Stage, theirs: Stage, told: Story) -> list[str]:
    """What the engines do not do alike in this story."""
    return compared(told, played(ours, told)[0], played(theirs, told)[0])


def main(seed: int) -> None:
    """Shrink one story and print it."""
    with stage("embedded") as ours, stage("cli") as theirs:
        left = smallest(story(seed), lambda told: bool(differs(ours, theirs, told)))
        for command in left.commands:
            print(f"## {command.run} {command.flags} {command.faults} {command.cloud} {command.config}")  # noqa: T201
            if command.program:
                print(rendered(command.program))  # noqa: T201
        print("\n".join(differs(ours, theirs, left)))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
