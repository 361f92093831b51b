"""A push needs the same little memory whatever the size of the model."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tools import RegistryProcess
from tests.weight_bakery.support import CONFIG, write_files

pytestmark = [pytest.mark.slow, pytest.mark.tools]

CHILD = """
import json, re, sys
from pathlib import Path
from weight_bakery import BakeRequest, bake
receipt = bake(BakeRequest(model=sys.argv[1], to=sys.argv[2]))
# Not ru_maxrss: that one starts with the peak of whoever started this process.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps({"peak_mib": peak / 1024, "sent": receipt.sent_bytes, "seconds": receipt.seconds}))
"""


def sparse_shard(path: Path, size: int) -> None:
    """A valid safetensors file of zeros that takes no disk."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.truncate(8 + len(header) + size)


def test_a_push_of_six_hundred_megabytes_stays_below_256_mib(
    tmp_path: Path, registry: RegistryProcess, record_property: Callable[[str, object], None]
) -> None:
    """Several layers in flight, nothing spooled: peak memory of the child process is measured by the kernel."""
    model = write_files(tmp_path / "Big", {"config.json": json.dumps(CONFIG).encode()})
    for number, size in enumerate((300, 200, 100)):
        sparse_shard(model / f"part-{number}.safetensors", size * 1_000_000)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(model), f"{registry.host}/memory/big:v1"],
        env={**os.environ, "PYTHONPATH": "src"}, cwd=Path(__file__).resolve().parents[2],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    record_property("peak_mib", result["peak_mib"])
    record_property("seconds", result["seconds"])
    assert result["sent"] > 600_000_000
    assert result["peak_mib"] < 256
    assert not any((tmp_path / "Big").glob("*.tar"))
