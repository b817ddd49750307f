"""Tar archives as a stream of members, bounded in every direction, written nowhere.

The headers are parsed by the standard library's `tarfile`, one block at a time; the walk over them is ours, because `tarfile` reads
whatever size a header claims for long names and attributes, and goes back and forth in sparse files. Here nothing is believed: a
member that is no regular file, too large, or badly named is left out with the reason, and damage ends the archive. Names are labels
and never become paths. Compressed archives are read while they expand, up to a ratio.

May import: the standard library, data.sources (the record). Refuses to know: what is in a member.
"""

import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from worldline.data.sources.item import Rejection

BLOCK = 512
_CHUNK = 1 << 20
_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_LINKS = {tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link"}
_SPECIAL = {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe", tarfile.GNUTYPE_SPARSE: "a sparse file"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    """Where reading an archive stops.

    Attributes:
        max_member_bytes: largest member that is read; larger ones are left out.
        max_members: headers in one archive.
        max_rejections: members left out in a row, without a video between them, before the archive is given up.
        max_header_bytes: of one long name or block of attributes.
        free_bytes, max_ratio: a compressed archive may expand to this many bytes, and beyond to this many times the bytes read of it.
    """

    max_member_bytes: int = 256 * 1024**2
    max_members: int = 1_000_000
    max_rejections: int = 1000
    max_header_bytes: int = 64 * 1024
    free_bytes: int = 64 * 1024**2
    max_ratio: int = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A regular file in an archive."""

    name: str
    content: bytes


class DamagedArchive(Exception):
    """The archive cannot be read from here on."""


def read_members(file: BinaryIO, archive: str, limits: ArchiveLimits) -> Iterator[Member | Rejection]:
    """Members in order; ends, with a rejection of the archive itself, at damage or at a limit.

    Args:
        file: a tar archive, or one compressed with gzip, opened to read.
        archive: its name, for rejections.
        limits: where to stop.
    """
    try:
        yield from _walk(_expanded(file, limits), archive, limits)
    except DamagedArchive as damage:
        yield Rejection(name=archive, reason=str(damage))
    except (OSError, zlib.error, EOFError) as error:
        yield Rejection(name=archive, reason=f"damaged archive ({error})")


def _walk(stream: "_Stream", archive: str, limits: ArchiveLimits) -> Iterator[Member | Rejection]:
    attributes: dict[str, str] = {}
    for count in range(limits.max_members):
        block = stream.read(BLOCK)
        if not block or block.count(0) == BLOCK:
            if count == 0:
                raise DamagedArchive("an empty archive")
            return
        header = _parse(block)
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            if header.size > limits.max_header_bytes:
                raise DamagedArchive(f"attributes of {header.size} bytes; at most {limits.max_header_bytes} are read")
            content = stream.read_padded(header.size)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                attributes["path"] = content.rstrip(b"\0").decode("utf-8", "replace")
            elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                attributes |= _attributes_of(content)
            continue
        own, attributes = attributes, {}
        name = own.get("path", header.name)
        size = _size_of(own, header)
        reason = _reason_to_leave_out(header, own, name, size, limits)
        if header.isdir():
            stream.skip_padded(size)
        elif reason is None:
            yield Member(name=str(PurePosixPath(name)), content=stream.read_padded(size))
        else:
            if header.type == tarfile.GNUTYPE_SPARSE:
                _skip_sparse_map(stream, block)
            # Links and devices have no content, whatever size they claim.
            if header.type not in _LINKS and (header.type not in _SPECIAL or header.type == tarfile.GNUTYPE_SPARSE):
                stream.skip_padded(size)
            yield Rejection(name=f"{archive}/{name[:200]}", reason=reason)
    raise DamagedArchive(f"more than {limits.max_members} members")


def _parse(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except (tarfile.HeaderError, ValueError) as error:
        raise DamagedArchive(f"not a tar archive, or damaged ({error})") from error
    if header.size < 0:
        raise DamagedArchive(f"a member of {header.size} bytes")
    return header


def _skip_sparse_map(stream: "_Stream", block: bytes) -> None:
    """Pass over the further blocks of a sparse file's map; each says whether another follows."""
    more = block[482:483] == b"\1"
    for _ in range(128):
        if not more:
            return
        more = stream.read(BLOCK)[504:505] == b"\1"
    raise DamagedArchive("a sparse file with an endless map")


def _size_of(attributes: dict[str, str], header: tarfile.TarInfo) -> int:
    text = attributes.get("size")
    if text is None:
        return header.size
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise DamagedArchive(f"a member of {text[:40]!r} bytes")
    return int(text)


def _reason_to_leave_out(header: tarfile.TarInfo, attributes: dict[str, str], name: str, size: int, limits: ArchiveLimits) -> str | None:
    kind = _LINKS.get(header.type) or _SPECIAL.get(header.type)
    if kind or any(key.startswith("GNU.sparse") for key in attributes):
        return f"{kind or 'a sparse file'}, not a regular one"
    if header.type not in _REGULAR:
        return f"a member of unknown type {header.type!r}"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name or not path.name:
        return "its name leads out of the archive"
    if size > limits.max_member_bytes:
        return f"{size} bytes; at most {limits.max_member_bytes} are read from an archive"
    return None


def _attributes_of(content: bytes) -> dict[str, str]:
    """The records `length key=value` of a block of attributes."""
    attributes = {}
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        record = content[len(digits) + 1 : length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or length > len(content) or not record.endswith(b"\n"):
            raise DamagedArchive("damaged attributes")
        attributes[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        content = content[length:]
    return attributes


class _Stream:
    """Bytes in order, from a plain file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._num_bytes = os.fstat(file.fileno()).st_size

    def read(self, num_bytes: int) -> bytes:
        """Exactly this many bytes, or none at the end."""
        content = self._file.read(num_bytes)
        if 0 < len(content) < num_bytes:
            raise DamagedArchive("cut short")
        return content

    def skip(self, num_bytes: int) -> None:
        """Pass over bytes; a member may claim more than there are, and more than a position in a file can be."""
        if num_bytes > self._num_bytes - self._file.tell():
            raise DamagedArchive("cut short, or a member claims to be longer than the archive")
        self._file.seek(num_bytes, 1)

    def read_padded(self, size: int) -> bytes:
        """The content of a member, and past what fills its last block."""
        content = self.read(size)
        if len(content) < size:
            raise DamagedArchive("cut short")
        self.skip(-size % BLOCK)
        return content

    def skip_padded(self, size: int) -> None:
        """Past the content of a member."""
        self.skip(size + -size % BLOCK)


class _Expanding(_Stream):
    """Bytes in order, from a file compressed with gzip."""

    def __init__(self, file: BinaryIO, limits: ArchiveLimits) -> None:
        super().__init__(file)
        self._limits = limits
        self._inflate = zlib.decompressobj(wbits=31)
        self._rest = b""
        self._num_read = self._num_expanded = 0
        self._ready = bytearray()

    def read(self, num_bytes: int) -> bytes:
        while len(self._ready) < num_bytes and self._expand():
            pass
        content = bytes(self._ready[:num_bytes])
        del self._ready[:num_bytes]
        if 0 < len(content) < num_bytes:
            raise DamagedArchive("cut short")
        return content

    def skip(self, num_bytes: int) -> None:
        while num_bytes > 0:
            step = min(num_bytes, _CHUNK)
            if len(self.read(step)) < step:
                raise DamagedArchive("cut short")
            num_bytes -= step

    def _expand(self) -> bool:
        """Make some more bytes ready; False at the end."""
        if not self._rest:
            self._rest = self._file.read(_CHUNK // 16)
            self._num_read += len(self._rest)
        if not self._rest:
            return False
        if self._inflate.eof:  # Another compressed stream follows the first.
            self._inflate = zlib.decompressobj(wbits=31)
        content = self._inflate.decompress(self._rest, _CHUNK)
        self._rest = self._inflate.unconsumed_tail or self._inflate.unused_data
        self._num_expanded += len(content)
        if self._num_expanded > self._limits.free_bytes + self._limits.max_ratio * self._num_read:
            raise DamagedArchive(f"{self._num_read} bytes of it expand to more than {self._num_expanded}; not read on")
        self._ready += content
        return True


def _expanded(file: BinaryIO, limits: ArchiveLimits) -> _Stream:
    magic = file.read(6)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return _Expanding(file, limits)
    for name, start in {"xz": b"\xfd7zXZ\0", "bzip2": b"BZh", "zstd": b"\x28\xb5\x2f\xfd", "zip": b"PK\3\4"}.items():
        if magic.startswith(start):
            raise DamagedArchive(f"compressed with {name}; plain tar and tar.gz are read")
    return _Stream(file)
