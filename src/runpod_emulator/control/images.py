"""Does the image exist? Asked before anything that would run it is stored."""

import inspect

from runpod_emulator.control.problem import unprocessable
from runpod_emulator.control.records import Records
from runpod_emulator.ports import Host


async def check_image(host: Host, records: Records, image: str, registry: str | None) -> None:
    """422 in prose for an image that its registry does not have (runpod-api-live.md §3 row 4).

    A host that cannot look (no `image_exists`) is taken to have every image.
    """
    look = getattr(host, "image_exists", None)
    if look is None:
        return
    found = look(image, records.registry_auth(registry) if registry else None)
    if inspect.isawaitable(found):
        found = await found
    if isinstance(found, str):
        raise unprocessable(found if image in found else f"image '{image}' cannot be used: {found}")
    if not found:
        raise unprocessable(f"image '{image}' not found in its registry")
