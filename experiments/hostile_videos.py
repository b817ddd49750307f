"""Small videos of ten formats, and what can be wrong with a video. Part of `hostile_media.py`."""

import io
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

# name -> (container, codec, pixel format, options); the suffix of the file is the name's first part.
FORMATS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "mp4_h264": ("mp4", "libx264", "yuv420p", {"g": "4"}),
    "mp4_fragmented": ("mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov", "g": "4"}),
    "mov_mpeg4": ("mov", "mpeg4", "yuv420p", {}),
    "mkv_hevc": ("matroska", "libx265", "yuv420p", {"x265-params": "log-level=none:pools=1:frame-threads=1"}),
    "mkv_ffv1": ("matroska", "ffv1", "yuv420p", {}),
    "webm_vp9": ("webm", "libvpx-vp9", "yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
    "avi_mjpeg": ("avi", "mjpeg", "yuvj420p", {}),
    "avi_mpeg4": ("avi", "mpeg4", "yuv420p", {}),
    "gif_gif": ("gif", "gif", "rgb8", {}),
    "m4v_mpegts": ("mpegts", "mpeg2video", "yuv420p", {}),
}
WIDTH, HEIGHT = 96, 64


def encode(name: str, seed: int = 0, num_frames: int = 12) -> bytes:
    """A moving pattern in one of the formats."""
    container_format, codec, pixel_format, options = FORMATS[name]
    generator = np.random.default_rng(seed)
    texture = generator.integers(0, 256, (HEIGHT // 8, WIDTH // 8 + num_frames, 3), np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format=container_format, options={k: v for k, v in options.items() if k == "movflags"}) as container:
        stream = container.add_stream(codec, rate=10, options={k: v for k, v in options.items() if k != "movflags"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.codec_context.thread_count = 1
        for shift in range(num_frames):
            pixels = np.ascontiguousarray(texture[:, shift : shift + WIDTH // 8].repeat(8, 0).repeat(8, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def write_mutations(folder: Path, per_format: int) -> int:
    """Write `per_format` damaged copies of each format; how many there are."""
    for name in FORMATS:
        whole = encode(name)
        for number in range(per_format):
            kind, damage = list(DAMAGES.items())[number % len(DAMAGES)]
            content = damage(bytearray(whole), random.Random(number))
            (folder / f"{name}_{number:02d}_{kind}.{name.partition('_')[0]}").write_bytes(content)
    return len(FORMATS) * per_format


def flipped(content: bytearray, generator: random.Random) -> bytes:
    for _ in range(generator.choice([1, 10, 100, 1000])):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)


def cut(content: bytearray, generator: random.Random) -> bytes:
    return bytes(content[: generator.randrange(1, len(content))])


def headless(content: bytearray, generator: random.Random) -> bytes:
    return bytes(content[generator.randrange(1, min(len(content), 2000)) :])


def zeroed(content: bytearray, generator: random.Random) -> bytes:
    start, length = generator.randrange(len(content)), generator.choice([8, 64, 1024])
    content[start : start + length] = bytes(len(content[start : start + length]))
    return bytes(content)


def noisy(content: bytearray, generator: random.Random) -> bytes:
    start, length = generator.randrange(len(content)), generator.choice([16, 256, 4096])
    content[start : start + length] = generator.randbytes(len(content[start : start + length]))
    return bytes(content)


def lying_sizes(content: bytearray, generator: random.Random) -> bytes:
    """Numbers near the beginning or the end claim very much, or less than nothing."""
    for _ in range(generator.choice([1, 3, 8])):
        start = generator.randrange(min(2000, len(content) - 4))
        start = start if generator.random() < 0.7 else len(content) - 4 - start % (len(content) - 4)
        content[start : start + 4] = generator.choice(
            [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\x80\0\0\0"]
        )
    return bytes(content)


def lying_dimensions(content: bytearray, generator: random.Random) -> bytes:
    """Wherever the width or the height is written, it becomes another."""
    value = generator.choice([0, 1, 4097, 16384, 32767, 65535])
    for side in (WIDTH, HEIGHT):
        for kind in generator.sample([">H", "<H", ">I", "<I"], 3):
            content = content.replace(struct.pack(kind, side), struct.pack(kind, value))
    return bytes(content)


def doubled(content: bytearray, generator: random.Random) -> bytes:
    start = generator.randrange(len(content))
    stretch = content[start : start + generator.choice([16, 500, 5000])]
    return bytes(content[:start] + stretch * generator.choice([2, 20]) + content[start:])


def shuffled(content: bytearray, generator: random.Random) -> bytes:
    step = max(16, len(content) // generator.choice([3, 10, 40]))
    blocks = [content[start : start + step] for start in range(0, len(content), step)]
    generator.shuffle(blocks)
    return b"".join(blocks)


def spliced(content: bytearray, generator: random.Random) -> bytes:
    """The head of this format, the tail of another."""
    other = encode(generator.choice(list(FORMATS)), seed=3)
    return bytes(content[: generator.randrange(50, len(content))] + other[generator.randrange(len(other)) :])


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "flipped": flipped,
    "cut": cut,
    "headless": headless,
    "zeroed": zeroed,
    "noisy": noisy,
    "lying_sizes": lying_sizes,
    "lying_dimensions": lying_dimensions,
    "doubled": doubled,
    "shuffled": shuffled,
    "spliced": spliced,
}


def picture_bomb(side: int, codec: str = "mjpeg", num_frames: int = 1, container_format: str = "avi") -> bytes:
    """Large flat frames in few bytes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        options = {"preset": "ultrafast", "x264-params": "keyint=infinite:ref=16"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = side
        stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        frame = av.VideoFrame(side, side, stream.pix_fmt or "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        for number in range(num_frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def endless_gif(num_frames: int, width: int, height: int) -> bytes:
    """A GIF of so many frames of one pixel that it has no end for all who read it; it loops, too, and has no trailer."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    frame = b"\x21\xf9\x04\x04\x01\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + loop + frame * num_frames


def playlists(target: str) -> dict[str, str]:
    """Texts that send a player elsewhere."""
    return {
        "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "dash": f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{target}</BaseURL></Period></MPD>',
        "sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "reference": f"[Reference]\nRef1={target}\n",
    }


def write_special(folder: Path, secret: Path, port: int) -> int:
    """Bombs, playlists, pipes and links; how many there are."""
    files = {
        "bomb_mjpeg_8000.avi": picture_bomb(8000),
        "bomb_mjpeg_5900.avi": picture_bomb(5900, num_frames=20),
        "bomb_png_5900.mov": picture_bomb(5900, "png", container_format="mov"),
        "bomb_h264_4096.mp4": picture_bomb(4096, "libx264", 40, "mp4"),
        "bomb_ffv1_5900.mkv": picture_bomb(5900, "ffv1", 2, "matroska"),
        "endless_small.gif": endless_gif(100_000, 1, 1),
        "endless_large.gif": endless_gif(60_000, 5000, 5000),
        "endless_huge.gif": endless_gif(10, 65535, 65535),
        "empty.mp4": b"",
        "byte.mp4": b"\0",
        "zeros.mkv": bytes(1 << 20),
    }
    for kind, target in (("file", str(secret)), ("address", f"http://127.0.0.1:{port}/x.mp4"), ("relative", "../../outside/secret.mp4")):
        for name, text in playlists(target).items():
            files[f"playlist_{name}_{kind}.mp4"] = text.encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "link_out.mp4").symlink_to(secret)
    (folder / "link_device.mp4").symlink_to("/dev/zero")
    (folder / "link_loop.mp4").symlink_to(folder / "link_loop.mp4")
    (folder / "folder.mp4").mkdir()
    return len(files) + 5
