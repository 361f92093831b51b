"""BakedImage: not RunPod's but the bakery's. Its life is a bake, and its state is what stands under the tag."""

import asyncio
import json
from types import ModuleType
from typing import Any, ClassVar

from pulumi_runpod.declarations import BAKED_IMAGE, Resource
from pulumi_runpod.provider.checking import Failure
from pulumi_runpod.provider.diffing import Change, Kind
from pulumi_runpod.provider.errors import Cancelled, Code, ProviderError, one_line
from pulumi_runpod.provider.lookups import Lookups
from pulumi_runpod.provider.resources.base import Call, Collection, Controller, Difference
from pulumi_runpod.provider.session import Session
from pulumi_runpod.provider.values import UNKNOWN, Properties, has_unknown, plain
from runpod_rest import Client

_COMPUTED = tuple(field.wire for field in BAKED_IMAGE.fields if field.computed)


class BakedImageController(Controller):
    declaration: ClassVar[Resource] = BAKED_IMAGE
    kind: ClassVar[str] = "baked image"

    def __init__(self, session: Session, lookups: Lookups) -> None:
        super().__init__(session, lookups)
        self._plans: dict[str, asyncio.Task[Any]] = {}
        """By inputs: what a bake would do. Check, Diff and the preview ask for the same plan."""
        self._warned: set[str] = set()
        self._baked: set[str] = set()
        """Targets that this run has made: deleting the resource that was replaced must not take them away."""

    def collection(self, client: Client) -> Collection:
        del client
        raise ProviderError("RunPod keeps no baked images", Code.INTERNAL)

    async def check(
        self, call: Call, olds: Properties, news: Properties, seed: bytes
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = await super().check(call, olds, news, seed)
        if not failures and not has_unknown(inputs):
            refused = _bakery().Refused
            try:
                await self._expected(call, inputs)
            except refused as error:
                failures.append(Failure(error.path, error.reason))
        return inputs, failures

    async def plan_diff(self, call: Call, olds: Properties, old_inputs: Properties, news: Properties) -> Difference:
        difference = self.diff(olds, old_inputs, news)
        if difference.replaces or has_unknown(news):
            return difference
        expected = await self._expected_or_error(call, news)
        there = plain(olds.get("digest"))
        unknown = expected.digest is None and not expected.why_unknown
        other = expected.digest is not None and expected.digest != there
        # Where nobody could ask what stands under the tag, the state is believed.
        gone = not expected.why_unknown and expected.standing != there
        if unknown or other or gone:
            difference.changes["digest"] = Change(Kind.UPDATE)
        return difference

    async def plan_outputs(self, call: Call, inputs: Properties, olds: Properties | None) -> Properties:
        del olds
        outputs = {**self.planned_outputs(inputs, None), **dict.fromkeys(_COMPUTED, UNKNOWN)}
        if has_unknown(inputs):
            return outputs
        expected = await self._expected_or_error(call, inputs)
        known = {
            "digest": expected.digest,
            "image": expected.digest and f"{expected.image}@{expected.digest}",
            "revision": expected.revision,
            "size": expected.size,
            "layerCount": expected.layers,
            "bytesToSend": expected.to_send,
            "bytesReused": expected.reused,
        }
        await self.session.engine.status(call.urn, expected.told())
        if not expected.why_unknown:
            await self.session.engine.info(call.urn, expected.told())
        for note in expected.notes:
            await self.session.engine.warning(call.urn, note)
        return outputs | {key: value for key, value in known.items() if value is not None}

    async def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        return str(plain(inputs["to"])), await self._make(call, inputs)

    async def update(
        self, call: Call, resource_id: str, olds: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        del resource_id, olds, old_inputs
        return await self._make(call, news)

    async def read(
        self, call: Call, resource_id: str, old_inputs: Properties, olds: Properties
    ) -> tuple[Properties, Properties] | None:
        bakery = _bakery()
        inputs = old_inputs or {"to": resource_id}
        try:
            target = bakery.reference_of(str(plain(inputs["to"])), self.session.project_dir)
            digest = await bakery.standing(inputs, self.session.project_dir)
            locked = bakery.locked_digest(inputs, self.session.project_dir) if digest and "model" in inputs else None
        except (bakery.Refused, bakery.BakeryError) as error:
            raise _failed(error) from error
        if digest is None:
            return None
        if digest != plain(olds.get("digest")):
            if olds:
                follow = "as the lock file does" if digest == locked else "`up` puts it right"
                text = f"{target} names another image by now ({digest}); {follow}"
                await self.session.engine.info(call.urn, text)
            olds = {**inputs, **olds, "digest": digest, "image": f"{target}@{digest}"}
        return olds, inputs

    async def remove(self, call: Call, resource_id: str, olds: Properties) -> None:
        target, digest = str(plain(olds.get("to")) or resource_id), plain(olds.get("digest"))
        if not plain(olds.get("deleteImage")) or target in self._baked or not isinstance(digest, str):
            await self.session.engine.status(call.urn, f"{target} stays where it is (deleteImage is not set)")
            return
        bakery = _bakery()
        try:
            done = await bakery.remove({**olds, "to": target}, self.session.project_dir, digest)
        except bakery.BakeryError as error:
            raise _failed(error) from error
        if done is bakery.Removal.MOVED:
            await self.session.engine.warning(call.urn, f"{target} names another image by now and was left alone")
        elif done is bakery.Removal.NOT_ALLOWED:
            text = f"{target} stays: its registry deletes no images this way; delete it there"
            await self.session.engine.warning(call.urn, text)

    async def _make(self, call: Call, inputs: Properties) -> Properties:
        """Bake, or take over what the lock says is there where the source cannot be asked."""
        bakery = _bakery()
        base = {key: value for key, value in self.planned_outputs(inputs, None).items() if key not in _COMPUTED}
        try:
            expected = await self._expected(call, inputs)
            if expected.why_unknown and expected.digest is not None:
                made = await self._taken_from_lock(call, inputs, expected)
            else:
                made = bakery.baked_outputs(await self._bake(call, inputs, expected.image), expected.image)
        except (bakery.Refused, bakery.BakeryError) as error:
            raise _failed(error) from error
        finally:
            self._plans.clear()  # what is at the target has changed
        self._baked.add(str(plain(inputs["to"])))
        return base | made

    async def _bake(self, call: Call, inputs: Properties, target: str) -> Any:
        bakery = _bakery()
        meter = bakery.Meter()
        task = asyncio.create_task(bakery.bake(inputs, self.session.project_dir, meter))
        cancelled = asyncio.create_task(self.session.cancelled.wait())
        deadline = self.session.clock() + call.timeout_s if call.timeout_s else None
        try:
            while not task.done():
                await asyncio.wait({task, cancelled}, timeout=self.session.poll_s, return_when=asyncio.FIRST_COMPLETED)
                if cancelled.done() and not task.done():
                    raise Cancelled
                if deadline is not None and self.session.clock() > deadline and not task.done():
                    raise ProviderError(
                        f"the bake took longer than {call.timeout_s:.0f} s; what was finished is kept, so run again, "
                        "or give more time with custom_timeouts",
                        Code.DEADLINE_EXCEEDED,
                    )
                while meter.notes:
                    await self.session.engine.info(call.urn, bakery.in_our_words_of(meter.notes.popleft()))
                if not task.done():
                    await self.session.engine.status(call.urn, meter.line())
        finally:
            cancelled.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        receipt = task.result()
        sent = bakery.amount(receipt.sent_bytes)
        text = f"baked {target}: {sent} of {bakery.amount(receipt.size)} sent in {receipt.seconds:.1f} s"
        await self.session.engine.info(call.urn, text)
        return receipt

    async def _taken_from_lock(self, call: Call, inputs: Properties, expected: Any) -> Properties:
        """The image that another machine baked: the lock names it, and it stands under the tag."""
        bakery = _bakery()
        try:
            digest = await bakery.standing(inputs, self.session.project_dir)
        except bakery.BakeryError as error:
            text = f"{expected.image} is taken from the lock file unseen: {bakery.in_our_words(error)}"
            await self.session.engine.warning(call.urn, text)
        else:
            if digest != expected.digest:
                raise ProviderError(
                    f"{expected.image} cannot be baked here ({expected.why_unknown}), and what the lock file names "
                    f"is not there (the tag names {digest or 'nothing'})"
                )
            text = f"{expected.image} was baked before and is there; not baked anew: {expected.why_unknown}"
            await self.session.engine.info(call.urn, text)
        return {
            "image": f"{expected.image}@{expected.digest}",
            "digest": expected.digest,
            "revision": expected.revision,
            "size": expected.size,
            "layerCount": expected.layers or 0,
            "bytesToSend": 0,
            "bytesReused": expected.size,
            "bakedAt": "",
            "bakeSeconds": 0,
        }

    async def _expected(self, call: Call, inputs: Properties) -> Any:
        """The plan for these inputs, made once. Says once why something of it cannot be known. Raises Refused."""
        key = json.dumps(plain(inputs), sort_keys=True)
        if key not in self._plans:
            self._plans[key] = asyncio.create_task(_bakery().expected(plain(inputs), self.session.project_dir))
        expected = await asyncio.shield(self._plans[key])
        if expected.why_unknown and call.urn not in self._warned:
            self._warned.add(call.urn)
            what = "is what the lock file says" if expected.digest else "is unknown"
            await self.session.engine.warning(call.urn, f"the image {what}: {expected.why_unknown}")
        return expected

    async def _expected_or_error(self, call: Call, inputs: Properties) -> Any:
        try:
            return await self._expected(call, inputs)
        except _bakery().Refused as error:
            raise _failed(error) from error


def _bakery() -> ModuleType:
    """The bakery, loaded by the first BakedImage: most programs have none, and every engine run starts a plugin."""
    from pulumi_runpod.provider import baking

    return baking


def _failed(error: Exception) -> ProviderError:
    bakery = _bakery()
    return ProviderError(bakery.in_our_words(error) if isinstance(error, bakery.BakeryError) else one_line(str(error)))
