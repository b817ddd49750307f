"""The pass over a file in the sandbox: `curate` asks for it, `answer` is what the sandboxed child does.

The child has the file as an open descriptor and can open nothing; the record and the encoded video come back through shared memory.

May import: data.curate, data.media; `curate` alone the sandbox. Refuses to know: torch; names and places of files.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from av.video.frame import VideoFrame

from worldline.data.curate.config import CurateConfig
from worldline.data.curate.passage import curate_video
from worldline.data.image_writer import COLORS, ImageWriter
from worldline.data.media import DecodeLimits

if TYPE_CHECKING:
    from worldline.data.sandbox import Sandbox

KIND = "curate"
MAX_RESULT_BYTES = 1 << 30
_TRANSNET_EFFORT = 32
"""How many times the processor time of other passes one with TransNetV2 may take: the network needs 20 ms a frame, all else about 1."""


def curate(
    sandbox: "Sandbox",
    video: str | Path | bytes,
    config: CurateConfig,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> tuple[bytes, bytes]:
    """Pass over a file of unknown origin; returns the record, as `passage_from_json` takes it, and the video of what was kept.

    Raises:
        VideoError: if it cannot be read, or a limit was passed.
    """
    request: dict[str, Any] = {
        "kind": KIND,
        "limits": asdict(sandbox.limits.decode),
        "config": asdict(config),
        "start_seconds": start_seconds,
        "end_seconds": end_seconds,
        "effort": _TRANSNET_EFFORT if config.shots == "transnet" else 1,
    }
    record, content = sandbox.run_job(video, request, max_bytes=MAX_RESULT_BYTES)
    return record, content


def warm_up() -> None:
    """Do a pass over a video of our own, once, so that the children that are forked afterwards find all libraries loaded and set up."""
    import cv2  # noqa: PLC0415 - optional

    cv2.setNumThreads(1)  # A child has none of its parent's threads, and one thread gives one result.
    cv2.ocl.setUseOpenCL(False)
    video = io.BytesIO()
    writer = ImageWriter(video, rate_hz=10.0)
    for brightness in range(0, 200, 10):
        pixels = np.full((64, 64, 3), brightness, np.uint8)
        writer.write(VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", **COLORS))
    writer.close()
    video.seek(0)
    curate_video(video, CurateConfig(size=(64, 64), min_sharpness=0.0), io.BytesIO())


def answer(request: Mapping[str, Any], content: BinaryIO) -> tuple[bytes, bytes]:
    """Do the pass that was asked for: the record and the video."""
    settings: dict[str, Any] = dict(request["config"])
    settings["size"] = tuple(settings["size"])
    output = io.BytesIO()
    passage = curate_video(
        content,
        CurateConfig(**settings),
        output,
        start_seconds=request["start_seconds"],
        end_seconds=request["end_seconds"],
        limits=DecodeLimits(**request["limits"]),
    )
    return passage.to_json(), output.getvalue()
