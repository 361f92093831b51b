"""What every resource does the same way, driven by its declaration. A resource adds only what is its own."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pulumi_runpod.declarations import NOT_CLEARABLE, Field, Flag, ListOf, MapOf, Resource, nothing
from pulumi_runpod.provider.checking import Failure, check_fields
from pulumi_runpod.provider.creating import Order, create_once, holds_secret
from pulumi_runpod.provider.diffing import Changes, changed_roots, diff_fields, same
from pulumi_runpod.provider.errors import Code, ProviderError, said
from pulumi_runpod.provider.lookups import Lookups
from pulumi_runpod.provider.reading import inputs_from_outputs, mark_secrets, normal, outputs_from_answer
from pulumi_runpod.provider.resources.cloud_rules import CloudRules
from pulumi_runpod.provider.session import Session
from pulumi_runpod.provider.values import UNKNOWN, Properties, Value, path_root, plain
from runpod_rest import BadRequest, Client, Conflict, NotFound, RunPodError

Json = dict[str, Any]
_DELETE_TIMEOUT_S = 300.0
_PATCH_TRIES = 4
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Call:
    """Which resource an operation is about, and how long it may take (0: the resource's own default)."""

    urn: str
    name: str
    timeout_s: float = 0.0


@dataclass(frozen=True)
class Difference:
    changes: Changes
    replaces: tuple[str, ...]
    delete_before_replace: bool


class Collection(Protocol):
    """The REST routes of one kind of resource that all kinds have."""

    async def list(self) -> list[Json]: ...

    async def get(self, resource_id: str) -> Json: ...

    async def read(self, resource_id: str) -> Json: ...

    async def create(self, body: Json, *, on_send: Callable[[], None] | None = None) -> Json: ...

    async def delete(self, resource_id: str) -> None: ...


class Updatable(Collection, Protocol):
    async def update(self, resource_id: str, body: Json) -> Json: ...


class Controller:
    """One kind of resource. Stateless: everything an operation needs comes with it."""

    declaration: ClassVar[Resource]
    kind: ClassVar[str]
    """In messages: `network volume`."""

    def __init__(self, session: Session, lookups: Lookups) -> None:
        self.session, self.lookups = session, lookups

    # What a resource has to, or may, say itself.

    def collection(self, client: Client) -> Collection:
        raise NotImplementedError

    async def prepare(self, call: Call, news: Properties, failures: list[Failure]) -> Properties:
        """Before the declaration's checks."""
        del call, failures
        return news

    async def rules(self, call: Call, inputs: Properties, failures: list[Failure]) -> Properties:
        """Rules between fields, and defaults that depend on others."""
        del call, failures
        return inputs

    async def cloud_rules(self, rules: CloudRules) -> None:
        """Rules that only RunPod's own knowledge can decide."""
        del rules

    def normalise(
        self, olds: Properties, old_inputs: Properties, news: Properties
    ) -> tuple[Properties, Properties, Properties]:
        """Make equal spellings equal before they are compared."""
        return olds, old_inputs, news

    def computed(self, answer: Json, outputs: Properties) -> Properties:
        """Outputs that RunPod does not give as such."""
        del answer
        return outputs

    def planned_computed(self, outputs: Properties, olds: Properties | None) -> Properties:
        """The same for a preview; `olds` are None for a create."""
        del olds
        return outputs

    # The verbs.

    async def check(
        self, call: Call, olds: Properties, news: Properties, seed: bytes
    ) -> tuple[Properties, list[Failure]]:
        failures: list[Failure] = []
        news = await self.prepare(call, dict(news), failures)
        for field in self.declaration.inputs:
            if field.autoname and news.get(field.wire) is None:
                old = olds.get(field.wire)
                kept = isinstance(plain(old), str) and plain(old) != ""
                news[field.wire] = old if kept else autoname(call.name, seed)
        inputs = check_fields(self.declaration.fields, news, failures)
        inputs = await self.rules(call, inputs, failures)
        await self.cloud_rules(CloudRules(self.lookups, call.urn, olds, inputs, failures))
        return mark_secrets(self.declaration.fields, inputs), failures

    def diff(self, olds: Properties, old_inputs: Properties, news: Properties) -> Difference:
        olds, old_inputs, news = self.normalise(olds, old_inputs, news)
        changes = diff_fields(self.declaration.fields, olds, old_inputs, news)
        replaces = tuple(sorted({path_root(path) for path, change in changes.items() if change.replace}))
        return Difference(changes, replaces, self.declaration.delete_before_replace)

    async def plan_diff(self, call: Call, olds: Properties, old_inputs: Properties, news: Properties) -> Difference:
        """`diff` where something has to be asked for it."""
        del call
        return self.diff(olds, old_inputs, news)

    async def plan_outputs(self, call: Call, inputs: Properties, olds: Properties | None) -> Properties:
        """`planned_outputs` where something has to be asked for them."""
        del call
        return self.planned_outputs(inputs, olds)

    def planned_outputs(self, inputs: Properties, olds: Properties | None) -> Properties:
        """What a preview can say of the outputs. `olds` are None for a create."""
        outputs: Properties = {}
        for field in self.declaration.outputs:
            if not field.computed and inputs.get(field.wire) is not None:
                outputs[field.wire] = normal(field.type, inputs[field.wire])
            elif field.computed or field.server_chosen:
                outputs[field.wire] = UNKNOWN if olds is None else olds.get(field.wire)
            elif field.clear is not NOT_CLEARABLE:
                outputs[field.wire] = empty(field)
            elif field.stays and olds is not None:
                outputs[field.wire] = olds.get(field.wire)
        planned = self.planned_computed(outputs, olds)
        return mark_secrets(self.declaration.fields, {k: v for k, v in planned.items() if v is not None}, inputs)

    def outputs(self, answer: Json, *patterns: Properties) -> Properties:
        """RunPod's answer as outputs. Nothing clearable is ever missing, so that a preview can count on it."""
        fields = self.declaration.fields
        outputs = outputs_from_answer(fields, answer)
        for field in self.declaration.outputs:
            if not field.computed and field.clear is not NOT_CLEARABLE:
                outputs.setdefault(field.wire, empty(field))
            if field.write_only and field.wire not in outputs:
                outputs[field.wire] = next((p[field.wire] for p in patterns if field.wire in p), None)
        outputs = {key: value for key, value in outputs.items() if value is not None}
        return self.computed(answer, mark_secrets(fields, outputs, *patterns))

    async def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        client = await self.session.client()

        async def bring_in_line(item: Json) -> Json | None:
            return await self.bring_in_line(item, inputs)

        order = Order(
            urn=call.urn,
            kind=self.kind,
            collection=self.collection(client),
            body=self.create_body(inputs),
            hidden=self.hidden(inputs),
            made_by=self.made_by,
            bring_in_line=bring_in_line,
        )
        made = await create_once(self.session, order)
        return str(made["id"]), self.outputs(made, inputs)

    async def bring_in_line(self, item: Json, inputs: Properties) -> Json | None:
        """Make an item that an interrupted run made what `inputs` say now, or None where only a new one can be."""
        if any(field.write_only and inputs.get(field.wire) is not None for field in self.declaration.inputs):
            return None  # nobody can tell what it was made with
        outputs = self.outputs(item, inputs)
        difference = self.diff(outputs, self.read_inputs(outputs, {}), inputs)
        if difference.replaces:
            return None
        body = self.update_body(difference.changes, inputs)
        return await self.patch(str(item["id"]), body) if body else item

    def hidden(self, inputs: Properties) -> frozenset[str]:
        """Members of the create body that hold something secret."""
        return frozenset(
            field.wire
            for field in self.declaration.inputs
            if field.secret or field.write_only or holds_secret(inputs.get(field.wire))
        )

    async def read(
        self, call: Call, resource_id: str, old_inputs: Properties, olds: Properties
    ) -> tuple[Properties, Properties] | None:
        """Outputs and inputs as they are, or None where the resource is gone."""
        del call
        client = await self.session.client()
        try:
            answer = await self.collection(client).read(resource_id)
        except NotFound:
            return None
        outputs = self.outputs(answer, old_inputs, olds)
        inputs = self.read_inputs(outputs, old_inputs)
        return outputs, mark_secrets(self.declaration.fields, inputs, old_inputs, olds)

    def read_inputs(self, outputs: Properties, old_inputs: Properties) -> Properties:
        return inputs_from_outputs(self.declaration.fields, outputs, old_inputs, importing=not old_inputs)

    async def update(
        self, call: Call, resource_id: str, olds: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        del call
        changes = self.diff(olds, old_inputs, news).changes
        answer = await self.patch(resource_id, self.update_body(changes, news))
        return self.outputs(answer, news, olds)

    async def patch(self, resource_id: str, body: Json) -> Json:
        """PATCH what changed. A PATCH holds values, not steps, so a lost answer is put right by sending it again."""
        client = await self.session.client()
        collection: Any = self.collection(client)
        if not body:
            current: Json = await collection.get(resource_id)
            return current
        tries = 0
        while True:
            try:
                answer: Json = await collection.update(resource_id, body)
            except RunPodError as error:
                tries += 1
                if not error.ambiguous or tries == _PATCH_TRIES:
                    raise
                await self.session.pause(self.session.poll_s * tries)
            else:
                return answer

    async def remove(self, call: Call, resource_id: str, olds: Properties) -> None:
        """`delete` where what was there matters."""
        del olds
        await self.delete(call, resource_id)

    async def delete(self, call: Call, resource_id: str) -> None:
        """Delete; what is gone already counts as deleted, what is still in use is tried again until time is up."""
        client = await self.session.client()
        deadline = self.session.clock() + (call.timeout_s or _DELETE_TIMEOUT_S)
        wait_s = 2.0
        while True:
            try:
                await self.collection(client).delete(resource_id)
                return
            except NotFound:
                return
            except (BadRequest, Conflict) as error:
                left_s = deadline - self.session.clock()
                if left_s <= 0:
                    raise ProviderError(
                        f"RunPod still refuses to delete the {self.kind} {resource_id}: {said(error)}; delete what "
                        f"uses it, or give more time with custom_timeouts",
                        Code.FAILED_PRECONDITION,
                    ) from error
                await self.session.engine.status(call.urn, f"waiting until RunPod lets it go: {said(error)}")
            # Never beyond the deadline: the last try is made when the time is up, not before.
            await self.session.pause(min(wait_s * self.session.poll_s, left_s))
            wait_s = min(wait_s * 2, 15.0)

    # Bodies.

    def create_body(self, inputs: Properties) -> Json:
        """The POST body: everything given, defaults included, as plain values."""
        return {
            field.wire: plain(inputs[field.wire])
            for field in self.declaration.inputs
            if not field.provider_only and inputs.get(field.wire) is not None
        }

    def update_body(self, changes: Changes, news: Properties) -> Json:
        """The PATCH body: each changed top-level property whole, or what clears it."""
        body: Json = {}
        for key in changed_roots(changes):
            field = self.declaration.field(key)
            if field is None:
                continue
            value = plain(news.get(key))
            if not nothing(field, value):
                body[key] = value
            elif field.clear is not NOT_CLEARABLE:
                body[key] = field.clear
        return body

    def made_by(self, item: Json, body: Json) -> bool:
        """Whether a listed item is what a create with `body` would have made."""
        listed = outputs_from_answer(self.declaration.fields, item)
        return all(
            same(field, listed.get(field.wire), body[field.wire])
            for field in self.declaration.inputs
            if field.wire in body and not field.write_only and not field.provider_only
        )


def empty(field: Field) -> Value:
    """How "nothing" is written in outputs: never null, which a preview could not tell from unknown."""
    match field.type:
        case ListOf():
            return []
        case MapOf():
            return {}
        case Flag():
            return False
        case _:
            return ""


def autoname(logical_name: str, seed: bytes) -> str:
    """A name for the cloud: readable, and new for every replacement, since the engine gives each its own seed."""
    source = random.Random(seed or None)  # noqa: S311 - uniqueness, not secrecy; the seed makes it repeatable
    return f"{logical_name}-" + "".join(source.choice(_ALPHABET) for _ in range(7))
