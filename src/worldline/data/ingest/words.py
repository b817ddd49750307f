"""Captions for kept clips that came without words: asked for once, kept with the results.

May import: data.curate.captions, data.decode, data.ingest, numpy. Refuses to know: how the question is put.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from worldline.data.curate.captions import CaptionConfig, CaptionError, caption
from worldline.data.ingest.publish import Entry
from worldline.data.media import VideoError

_WAITING_REQUESTS = 4
_SETTINGS = ("model", "prompt", "num_frames", "max_tokens")


def add_captions(entries: Sequence[Entry], config: CaptionConfig, folder: Path, rate_hz: float) -> dict[str, str]:
    """Give every kept entry without words a caption; returns clip -> why it stays without.

    Answers are kept under `folder` by clip and question, so no clip is paid for twice, and a later run gives the same data set.
    """
    question = hashlib.sha256(json.dumps([asdict(config)[name] for name in _SETTINGS]).encode()).hexdigest()[:16]
    failures: dict[str, str] = {}
    silent = [entry for entry in entries if entry.verdict == "kept" and not entry.caption]
    with ThreadPoolExecutor(_WAITING_REQUESTS) as pool:
        for entry, answer in zip(silent, pool.map(lambda entry: _caption(entry, config, folder / question, rate_hz), silent), strict=True):
            if isinstance(answer, str):
                entry.caption = answer
            else:
                failures[entry.key] = str(answer)
    return failures


def _caption(entry: Entry, config: CaptionConfig, folder: Path, rate_hz: float) -> str | Exception:
    from worldline.data.decode import read_video  # noqa: PLC0415 - imports torch, for which a run that asks nobody should not wait

    path = folder / entry.key[:2] / f"{entry.key}.txt"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    assert entry.result.video is not None
    num_frames = len(entry.clip.frame_indices)
    try:
        clip = read_video(entry.result.video, start_seconds=entry.clip.first_frame / rate_hz, max_frames=num_frames)
        chosen = np.linspace(0, len(clip) - 1, min(config.num_frames, len(clip))).round().astype(int)
        line = caption([clip.frames[index].permute(1, 2, 0).numpy() for index in chosen.tolist()], config)
    except (CaptionError, VideoError) as error:
        return error
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(line, encoding="utf-8")
    partial.replace(path)
    return line
