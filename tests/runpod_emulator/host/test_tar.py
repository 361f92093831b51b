"""The tar reader: everything writers write is read, everything broken is refused."""

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_emulator.host._tar import BrokenTar, members
from tests.runpod_emulator.host.support import File, folder, symlink, tar

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def listing(data: bytes) -> list[tuple[str, str, int, str, bytes]]:
    found: list[tuple[str, str, int, str, bytes]] = []
    for member, content in members(io.BytesIO(data).read):
        pieces = []
        while piece := content(7):
            pieces.append(piece)
        found.append((member.kind, member.name, member.mode, member.link, b"".join(pieces)))
    return found


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=120).filter(
    lambda name: name.strip(".")
)


@given(st.sampled_from(FORMATS[1:]), st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=6))
def test_what_the_standard_library_writes_is_read_back(form: int, files: list[tuple[str, bytes]]) -> None:
    """Long and non-ASCII names, any content, GNU and PAX alike."""
    written = [File(name, content) for name, content in files]
    assert listing(tar(written, form)) == [("file", f.path, 0o644, "", f.content) for f in written]


@pytest.mark.parametrize("form", FORMATS)
def test_all_kinds_are_told_apart(form: int) -> None:
    """Folders, links and setuid bits come through as they are written."""
    files = [folder("a", 0o700), symlink("a/l", "../x"), File("a/s", b"x", mode=0o4755)]
    assert listing(tar(files, form)) == [
        ("directory", "a", 0o700, "", b""),
        ("symlink", "a/l", 0o777, "../x", b""),
        ("file", "a/s", 0o4755, "", b"x"),
    ]


def test_unread_content_is_skipped() -> None:
    """Whoever wants only the names need not read the files."""
    data = tar([File("a", b"x" * 5000), File("b", b"y")])
    assert [member.name for member, _ in members(io.BytesIO(data).read)] == ["a", "b"]


@given(st.data())
def test_a_truncated_archive_is_an_error(data: st.DataObject) -> None:
    """Cut anywhere but between members, an archive is never taken for a whole one."""
    whole = tar([File("a", b"x" * 700), File("b" * 150, b"y" * 10)])
    end = len(whole.rstrip(b"\0"))
    cut = data.draw(st.integers(1, end - 1))
    try:
        found = listing(whole[:cut])
    except BrokenTar:
        return
    assert cut % 512 == 0
    assert found == listing(whole)[: len(found)]


def test_a_damaged_header_in_the_middle_is_no_end() -> None:
    """The standard library's stream reader stops there in silence; this one does not."""
    data = bytearray(tar([File("a", b"x"), File("b", b"y")], tarfile.USTAR_FORMAT))
    data[1024 + 3] ^= 1
    with pytest.raises(BrokenTar, match="header is damaged"):
        listing(bytes(data))


def test_data_after_the_end_is_refused() -> None:
    """What one reader skips and another reads is how archives smuggle."""
    with pytest.raises(BrokenTar, match="after its end"):
        listing(tar([File("a")]) + tar([File("b")]))


@given(st.binary(max_size=3000))
def test_rubbish_is_broken_or_empty(data: bytes) -> None:
    """No input fails in another way."""
    with contextlib.suppress(BrokenTar):
        listing(data)


def test_sparse_files_are_refused_by_name() -> None:
    """Their content is not what their header says."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("s")
        info.pax_headers = {"GNU.sparse.major": "1"}
        archive.addfile(info)
    with pytest.raises(BrokenTar, match="sparse"):
        listing(out.getvalue())
