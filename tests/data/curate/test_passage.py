"""One pass over real encoded files: cut, judged, encoded, and what the record says of it."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("scenedetect", reason="shots need scenedetect; extra curate")

from worldline.data import Fit, read_video, write_video
from worldline.data.curate.config import CurateConfig
from worldline.data.curate.isolated import curate
from worldline.data.curate.passage import curate_video
from worldline.data.curate.record import Passage, passage_from_json
from worldline.data.media import VideoError
from worldline.data.sandbox import Sandbox

RATE_HZ = 20.0
CONFIG = CurateConfig(size=(48, 64), rate_hz=10.0, max_seconds=2.0)


def shot(seed: int, num_frames: int) -> torch.Tensor:
    """(T, 3, 96, 128) float: blobs that wander over uneven ground."""
    generator = torch.Generator().manual_seed(seed)
    ground = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 5, generator=generator), (96, 128), mode="bilinear")[0]
    frames = ground.repeat(num_frames, 1, 1, 1)
    for time in range(num_frames):
        left = (10 * seed + 2 * time) % 100
        frames[time, :, 30:60, left : left + 25] = (seed % 3) / 3 + 0.2
    return frames


def through_codec(frames: torch.Tensor, folder: Path) -> torch.Tensor:
    """What is left of frames after encoding: colours of half the resolution."""
    write_video(folder / "again.mp4", frames, 10.0)
    return read_video(folder / "again.mp4").frames


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shots of 3 s, 0.4 s of black, 1.5 s and 0.5 s, at 20 Hz."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, torch.cat([shot(1, 60), torch.zeros(8, 3, 96, 128), shot(5, 30), shot(9, 10)]), RATE_HZ)
    return path


def passage_of(path: Path, config: CurateConfig = CONFIG, **arguments: Any) -> tuple[Passage, bytes]:
    output = io.BytesIO()
    with path.open("rb") as file:
        passage = curate_video(file, config, output, **arguments)
    return passage, output.getvalue()


def test_a_film_is_cut_judged_and_encoded(film: Path, tmp_path: Path) -> None:
    passage, video = passage_of(film)
    assert (passage.width, passage.height, passage.num_decoded, passage.damage) == (128, 96, 108, None)
    # The first shot is longer than two seconds; what is left of it is one.
    assert [(clip.verdict, len(clip.frame_indices)) for clip in passage.clips] == [
        ("kept", 20),
        ("kept", 10),
        ("short", 4),
        ("kept", 15),
        ("short", 5),
    ]
    assert [clip.first_frame for clip in passage.clips] == [0, 20, -1, 30, -1]
    assert passage.clips[3].frame_indices[0] in (68, 69)
    (tmp_path / "kept.mp4").write_bytes(video)
    kept = read_video(tmp_path / "kept.mp4")
    assert (tuple(kept.frames.shape), kept.rate_hz) == ((45, 3, 48, 64), 10.0)
    # The same frames by the other way: whole file decoded, resized.
    for clip in (passage.clips[0], passage.clips[3]):
        expected = read_video(film, size=(48, 64)).frames[list(clip.frame_indices)]
        found = kept.frames[clip.first_frame : clip.first_frame + len(clip.frame_indices)]
        assert (found.float() - through_codec(expected, tmp_path).float()).abs().mean() < 4


def test_the_strip_shows_frames_of_the_clip_in_their_colours(film: Path) -> None:
    import cv2

    for clip in passage_of(film)[0].clips:
        picture = cv2.imdecode(np.frombuffer(clip.strip, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        strip = picture[..., ::-1]
        assert strip.shape == (64, 4 * 64, 3)
        chosen = [clip.frame_indices[round(at)] for at in np.linspace(0, len(clip.frame_indices) - 1, 4)]
        frames = read_video(film, size=(64, 64)).frames[chosen].permute(0, 2, 3, 1)
        expected = np.concatenate(list(frames.numpy()), axis=1)
        assert np.abs(strip.astype(float) - expected).mean() < 5  # Of other colours, such as red and blue swapped, 40 and more.


def test_the_same_file_gives_the_same_bytes(film: Path) -> None:
    (first, video), (second, again) = passage_of(film), passage_of(film)
    assert video == again
    assert replace(first, stage_seconds={}).to_json() == replace(second, stage_seconds={}).to_json()


def test_the_sandbox_gives_what_the_pass_gives(film: Path) -> None:
    passage, video = passage_of(film)
    with Sandbox() as sandbox:
        record, encoded = curate(sandbox, film, CONFIG)
        assert encoded == video
        assert replace(passage_from_json(record), stage_seconds={}).to_json() == replace(passage, stage_seconds={}).to_json()
        with pytest.raises(VideoError, match="not readable as video"):
            curate(sandbox, b"no video at all", CONFIG)
        assert curate(sandbox, film.read_bytes(), CONFIG)[1] == video


def test_a_stretch_is_counted_from_its_start(film: Path) -> None:
    passage, _ = passage_of(film, start_seconds=3.4, end_seconds=4.9)
    assert [len(clip.frame_indices) for clip in passage.clips] == [15]
    assert passage.clips[0].frame_indices[0] == 0
    assert passage.clips[0].start_seconds == pytest.approx(3.4)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_other_shapes_fit(film: Path, fit: Fit, tmp_path: Path) -> None:
    config = replace(CONFIG, size=(64, 64), fit=fit, max_bars=1.0)
    _, video = passage_of(film, config)
    (tmp_path / "kept.mp4").write_bytes(video)
    frames = read_video(tmp_path / "kept.mp4").frames
    expected = read_video(film, size=(64, 64), fit=fit, rate_hz=10.0).frames
    assert (frames[:10].float() - through_codec(expected[:10], tmp_path).float()).abs().mean() < 4


def test_a_broken_file_gives_what_came_before_and_nothing_gives_an_error(film: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError):
        passage_of(Path(__file__))
    content = bytearray(film.read_bytes())
    content[len(content) // 2 :] = b"\0" * (len(content) - len(content) // 2)
    (tmp_path / "broken.mp4").write_bytes(content)
    passage, _ = passage_of(tmp_path / "broken.mp4")
    assert 0 < passage.num_decoded <= 108


def test_records_are_read_back_and_nonsense_is_refused(film: Path) -> None:
    passage, _ = passage_of(film)
    content = passage.to_json()
    again = passage_from_json(content)
    assert again.to_json() == content
    assert np.frombuffer(again.clips[0].pictures, np.uint8).size == 8 * 32 * 32
    for old, new in (
        (b'"kept"', b'"fine"'),
        (b'"num_decoded": 108', b'"num_decoded": -1'),
        (b'"frame_indices": [0', b'"frame_indices": [9'),
    ):
        assert old in content
        with pytest.raises(ValueError, match="not the record"):
            passage_from_json(content.replace(old, new))
    with pytest.raises(ValueError, match="not the record"):
        passage_from_json(b"[" * 100_000)


def test_settings_that_make_no_sense() -> None:
    mistakes: tuple[dict[str, Any], ...] = (
        {"size": (63, 64)},
        {"rate_hz": 0.0},
        {"min_seconds": 3.0, "max_seconds": 2.0},
        {"keyframe_interval": 0},
    )
    for wrong in mistakes:
        with pytest.raises(ValueError, match="give"):
            CurateConfig(**wrong)
    assert CurateConfig().key == CurateConfig().key != CurateConfig(rate_hz=5.0).key
