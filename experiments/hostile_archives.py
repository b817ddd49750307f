"""Sixty archives that lie, lead astray or explode, each with good members around the bad. Part of `hostile_media.py`."""

import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile_videos import encode, flipped, picture_bomb, playlists, shuffled

DAMAGED = ("shuffled.tar",)
"""Archives in which the bytes of the good members themselves are damaged, which a tar archive does not notice."""
Builder = Callable[[tarfile.TarFile], None]


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **changes: object) -> None:
    """A member of this name; `changes` are made to its header."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in changes.items():
        setattr(header, key, value)
    archive.addfile(header, io.BytesIO(content) if content else None)


def block(name: str, size: int | bytes, kind: bytes = tarfile.REGTYPE, sparse: bytes = b"") -> bytes:
    """A header of 512 bytes with any size, and a valid checksum."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    head = bytearray(512)
    for start, value in ((0, name.encode()[:100]), (100, b"0000644\0"), (124, field), (136, b"00000000000\0"), (156, kind)):
        head[start : start + len(value)] = value
    head[257:265] = b"ustar  \0"
    head[386 : 386 + len(sparse)] = sparse
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def attributes(*records: tuple[str, str]) -> bytes:
    """Records of an extended header."""
    content = b""
    for key, value in records:
        text = f" {key}={value}\n".encode()
        length = len(text) + 1
        while len(str(length)) + len(text) != length:
            length = len(str(length)) + len(text)
        content += str(length).encode() + text
    return content


def extended(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return block("pax", len(content), kind) + content + bytes(-len(content) % 512)


def parquet_bomb() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({f"column_{index}": np.zeros(9_000_000) for index in range(12)}), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def parquet(rows: int = 12) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"action": [[0.0, 1.0]] * rows}), sink)
    return sink.getvalue().to_pybytes()


def numpy_header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


def one(name: str, content: bytes = b"", **changes: object) -> Builder:
    """A single member."""
    return lambda archive: add(archive, name, content, **changes)


def raw(content: bytes) -> Builder:
    """Blocks as they are."""

    def build(archive: tarfile.TarFile) -> None:
        assert archive.fileobj is not None
        archive.fileobj.write(content)

    return build


def astray(video: bytes, secret: Path) -> dict[str, Builder]:
    """Members that lead elsewhere, are no files, or are too many."""

    def same_name(archive: tarfile.TarFile) -> None:
        for _ in range(3):
            add(archive, "same.mp4", video)

    def through_link(archive: tarfile.TarFile) -> None:
        add(archive, "out", type=tarfile.SYMTYPE, linkname="../../outside")
        add(archive, "out/written.mp4", video)

    def linked(archive: tarfile.TarFile) -> None:
        add(archive, "link.mp4", type=tarfile.SYMTYPE, linkname=str(secret))
        add(archive, "hard.mp4", type=tarfile.LNKTYPE, linkname=str(secret))

    def many(archive: tarfile.TarFile) -> None:
        for number in range(5000):
            add(archive, f"picture_{number}.jpg", b"no video")

    def deep(archive: tarfile.TarFile) -> None:
        add(archive, "/".join(["deep"] * 400) + "/x.mp4", video)

    return {
        "traversal": one("../../outside/escaped.mp4", video),
        "absolute": one(str(secret.parent / "escaped.mp4"), video),
        "backslash": one("..\\..\\outside\\escaped.mp4", video),
        "zero_in_name": raw(extended(attributes(("path", "x\0../../outside/escaped.mp4"))) + block("x.mp4", 0)),
        "links": linked,
        "through_link": through_link,
        "device": one("device.mp4", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        "pipe": one("pipe.mp4", type=tarfile.FIFOTYPE),
        "unknown_type": one("unknown.mp4", video, type=b"Z"),
        "deep": deep,
        "same_name": same_name,
        "many": many,
    }


def lying(secret: Path) -> dict[str, Builder]:
    """Headers that claim what is not so."""
    sparse_map = b"00000000000\0" * 8 + b"\x01"
    return {
        "sparse": raw(block("sparse.mp4", 512, tarfile.GNUTYPE_SPARSE, sparse_map) + bytes(504) + b"\x01" + bytes(512 * 300)),
        "sparse_attributes": raw(
            extended(attributes(("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9" * 15))) + block("s.mp4", 512) + bytes(512)
        ),
        "size_negative": raw(block("negative.mp4", b"\xff" * 12)),
        "size_huge": raw(block("huge.mp4", b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7)),
        "size_octal": raw(block("huge.mp4", 8**11 - 1)),
        "size_attribute": raw(extended(attributes(("size", "9" * 18))) + block("huge.mp4", 0)),
        "size_words": raw(extended(attributes(("size", "-1"))) + block("words.mp4", 0)),
        "long_name": raw(block("././@LongLink", 8**11 - 1, tarfile.GNUTYPE_LONGNAME)),
        "long_names": raw(extended(b"name\0", tarfile.GNUTYPE_LONGNAME) * 3000),
        "attributes_huge": raw(block("pax", 8**11 - 1, tarfile.XHDTYPE)),
        "attributes_damaged": raw(extended(b"999999999999999999999 path=x\n")),
        "attributes_zero": raw(extended(b"0 path=x\n" * 1000)),
        "attributes_global": raw(extended(attributes(("path", str(secret))), tarfile.XGLTYPE)),
        "checksum": raw(block("x.mp4", 0)[:-1] + b"\x01"),
    }


def mislabelled(video: bytes, secret: Path, port: int) -> dict[str, Builder]:
    """Labels and videos that are not what their names say."""

    def labels(suffix: str, content: bytes) -> Builder:
        def build(archive: tarfile.TarFile) -> None:
            add(archive, f"labelled.{suffix}", content)
            add(archive, "labelled.mp4", video)

        return build

    pickled = numpy_header("(1,)", "|O") + b"cos\nsystem\n(S'touch ../../outside/owned'\ntR."
    return {
        "array_pickle": labels("npy", pickled),
        "array_shape": labels("npy", numpy_header("(1000000000, 1000000)") + bytes(64)),
        "array_negative": labels("npy", numpy_header("(-1, -1)") + bytes(64)),
        "array_header": labels("npy", numpy_header("(" * 5000 + ")" * 5000) + bytes(64)),
        "array_nan": labels("npy", numpy_header("(2, 2)") + b"\xff" * 16),
        "parquet_bomb": labels("parquet", parquet_bomb()),
        "parquet_damaged": labels("parquet", flipped(bytearray(parquet()), random.Random(7))),
        "parquet_noise": labels("parquet", b"PAR1" + random.Random(0).randbytes(5000) + b"\xff\xff\xff\x7fPAR1"),
        "json_deep": labels("json", b"[" * 500_000),
        "json_number": labels("json", b'{"seed": ' + b"9" * 100_000 + b"}"),
        "json_infinite": labels("json", b'{"friction": 1e999, "caption": "x"}'),
        "csv_ragged": labels("csv", b"a,b\n1\n1,2,3\n"),
        "csv_cell": labels("csv", b"a\n" + b"1" * 10_000_000),
        "csv_values": labels("csv", b"a,b\n" + b"1,nan\n" * 500_000),
        "text_huge": labels("txt", b"word " * 5_000_000),
        "text_bytes": labels("txt", b"\xff\xfe\xfd" * 100),
        "video_bomb": one("bomb.avi", picture_bomb(5800)),
        "video_playlist": one("list.mp4", playlists(str(secret))["concat"].encode()),
        "video_address": one("list.mp4", playlists(f"http://127.0.0.1:{port}/x.mp4")["hls"].encode()),
    }


def pack(build: Builder, video: bytes) -> bytes:
    """An archive of bad members between two good ones."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, "good_before.mp4", video)
        build(archive)
        add(archive, "good_behind.mp4", video)
    return file.getvalue()


def write_archives(folder: Path, good: Path, secret: Path, port: int) -> int:
    """Write the archives; how many there are."""
    video = good.read_bytes()
    built: dict[str, bytes] = {}
    for name, build in (astray(video, secret) | lying(secret) | mislabelled(video, secret, port)).items():
        built[f"{name}.tar"] = pack(build, video)
    plain = built["many.tar"]
    zeros = gzip.compress(block("good.mp4", 8**11 - 1) + bytes(300 * 1024**2))
    headers = gzip.compress(b"".join(block(f"{number}.mp4", 0) for number in range(200_000)))
    built |= {
        "gz_zeros.tar.gz": zeros,
        "gz_headers.tar.gz": headers,
        "gz_twice.tar.gz": gzip.compress(zeros),
        "gz_cut.tar.gz": gzip.compress(plain)[:5000],
        "gz_noise.tar.gz": gzip.compress(plain)[:200] + random.Random(1).randbytes(2000),
        "gz_members.tar.gz": gzip.compress(b"") * 20_000 + gzip.compress(plain),
        "gz_many.tgz": gzip.compress(plain),
        "xz.tar": lzma.compress(plain),
        "cut.tar": plain[:3000],
        "noise.tar": random.Random(2).randbytes(100_000),
        "shuffled.tar": shuffled(bytearray(built["links.tar"]), random.Random(3)),
        "empty.tar": b"",
        "ended.tar": bytes(10_240),
        "video.tar": encode("mp4_h264"),
    }
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../good.mp4", video)
    built["zip.tar"] = zipped.getvalue()
    for name, content in built.items():
        (folder / name).write_bytes(content)
    return len(built)
