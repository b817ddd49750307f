import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from worldline.data import DatasetError, ReadReport, action_spec_of, read_lerobot, write_lerobot, write_video
from worldline.interfaces import Clip

MakeClip = Callable[..., Clip]
CAMERAS = ("observation.images.wrist", "observation.images.top")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_json_lines(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_info(root: Path, changes: Mapping[str, Any]) -> None:
    path = root / "meta" / "info.json"
    write_json(path, json.loads(path.read_text()) | changes)


@pytest.fixture
def clips(make_clip: MakeClip) -> list[Clip]:
    return [make_clip(6 + k, seed=k, text="push" if k else "pull") for k in range(4)]


@pytest.fixture
def single(tmp_path: Path, clips: list[Clip]) -> Path:
    """A v2.1 data set of four episodes, chunks of two; only the second of its two cameras has files."""
    root = tmp_path / "single"
    features: dict[str, Any] = {camera: {"dtype": "video", "shape": [16, 24, 3]} for camera in CAMERAS}
    features["action"] = {"dtype": "float32", "shape": [2], "names": [["seed", "time"]]}
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "chunks_size": 2,
        "features": features,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    write_json(root / "meta" / "info.json", info)
    write_json_lines(
        root / "meta" / "episodes.jsonl",
        [{"episode_index": k, "tasks": [clip.text], "length": len(clip)} for k, clip in enumerate(clips)],
    )
    for k, clip in enumerate(clips):
        assert clip.actions is not None
        assert clip.states is not None
        # Two ways in which data sets in the wild store vectors.
        actions = pa.array(clip.actions.tolist(), pa.list_(pa.float32(), 2) if k % 2 else pa.list_(pa.float64()))
        table = pa.table({"action": actions, "observation.state": pa.array(clip.states.tolist(), pa.list_(pa.float32()))})
        data = root / f"data/chunk-{k // 2:03d}/episode_{k:06d}.parquet"
        video = root / f"videos/chunk-{k // 2:03d}/{CAMERAS[1]}/episode_{k:06d}.mp4"
        for path in (data, video):
            path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, data)
        write_video(video, clip.frames, 10)
    return root


def test_single_file_episodes_are_read(single: Path, clips: list[Clip]) -> None:
    report = ReadReport()
    found = list(read_lerobot(single, report=report))
    assert (report.num_clips, report.skipped) == (4, {})
    assert [clip.source for clip in found] == [f"single/episode_{k:06d}" for k in range(4)]
    for expected, clip in zip(clips, found, strict=True):
        torch.testing.assert_close(clip.actions, expected.actions, rtol=0, atol=0)
        torch.testing.assert_close(clip.states, expected.states, rtol=0, atol=0)
        assert (clip.rewards, clip.text, clip.rate_hz) == (None, expected.text, 10)
        assert (clip.frames.float() - expected.frames.float()).abs().mean() < 6


def test_the_other_spelling_of_chunks_is_understood(single: Path) -> None:
    edit_info(single, {"data_path": "data/chunk-{chunk_index:03d}/episode_{episode_index:06d}.parquet"})
    assert len(list(read_lerobot(single, size=(8, 12)))) == 4


def test_frames_are_resized(single: Path) -> None:
    assert {tuple(clip.frames.shape[1:]) for clip in read_lerobot(single, size=8, fit="crop")} == {(3, 8, 8)}


def test_missing_and_broken_episodes_are_skipped_and_counted(single: Path, clips: list[Clip]) -> None:
    (single / "data/chunk-000/episode_000000.parquet").unlink()
    (single / f"videos/chunk-000/{CAMERAS[1]}/episode_000001.mp4").unlink()
    (single / "data/chunk-001/episode_000002.parquet").write_bytes(b"PAR1 and nothing else")
    report = ReadReport()
    (left,) = read_lerobot(single, report=report)
    assert left.source == "single/episode_000003"
    assert report.num_clips == 1
    reasons = ["missing", "no such file", "not readable as parquet"]
    assert all(reason in skipped for reason, skipped in zip(reasons, report.skipped.values(), strict=True)), report.skipped
    (single / "data/chunk-001/episode_000003.parquet").unlink()
    with pytest.raises(DatasetError, match="none of its 4 episodes"):
        list(read_lerobot(single))


def test_a_video_that_ends_early_cuts_the_episode(single: Path, clips: list[Clip]) -> None:
    write_video(single / f"videos/chunk-000/{CAMERAS[1]}/episode_000000.mp4", clips[0].frames[:4], 10)
    first = next(read_lerobot(single))
    assert first.actions is not None
    assert clips[0].actions is not None
    assert len(first) == 4
    assert torch.equal(first.actions, clips[0].actions[:4])


def test_labels_that_are_not_finite_skip_the_episode(single: Path) -> None:
    path = single / "data/chunk-000/episode_000000.parquet"
    pq.write_table(pa.table({"action": pa.array([[1.0, None]] * 6)}), path)
    report = ReadReport()
    assert len(list(read_lerobot(single, report=report))) == 3
    assert "missing, NaN or infinite" in report.skipped["episode_000000"]


@pytest.mark.parametrize("packed", [False, True])
def test_bounds_come_from_statistics_or_data(single: Path, tmp_path: Path, clips: list[Clip], packed: bool) -> None:
    root = single
    if packed:
        root = tmp_path / "packed"
        write_lerobot(root, clips, action_names=("seed", "time"))
    else:
        rows = [{"episode_index": k, "stats": {"action": {"min": [k, 0.0], "max": [k, 5.0 + k]}}} for k in range(4)]
        write_json_lines(root / "meta" / "episodes_stats.jsonl", rows)
    spec = action_spec_of(root)
    assert spec is not None
    assert (spec.low, spec.high, spec.names) == ((0.0, 0.0), (3.0, 8.0), ("seed", "time"))
    for name in ("stats.json", "episodes_stats.jsonl"):
        (root / "meta" / name).unlink(missing_ok=True)
    spec = action_spec_of(root)
    assert spec is not None
    assert spec.names == ("seed", "time")
    assert spec.low[1] < 0.5
    assert 7.5 < spec.high[1] < 9


def test_a_data_set_without_actions_has_no_bounds(tmp_path: Path, make_clip: MakeClip) -> None:
    write_lerobot(tmp_path / "plain", [make_clip(4, labelled=False)])
    assert action_spec_of(tmp_path / "plain") is None


def test_what_is_no_data_set_says_so(tmp_path: Path, single: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no LeRobotDataset here"):
        list(read_lerobot(tmp_path / "missing"))
    with pytest.raises(DatasetError, match=r"no video feature 'eye'; it has observation\.images\.wrist"):
        list(read_lerobot(single, camera="eye"))
    with pytest.raises(FileNotFoundError, match=r"no video files of observation\.images\.wrist"):
        list(read_lerobot(single, camera=CAMERAS[0]))
    edit_info(single, {"codebase_version": "v1.6"})
    with pytest.raises(DatasetError, match=r"version v1\.6; versions 2\.x and 3\.x are read"):
        list(read_lerobot(single))


def test_broken_meta_is_an_error_not_a_crash(single: Path) -> None:
    meta = single / "meta"
    write_json_lines(meta / "episodes.jsonl", [{"tasks": ["no index"]}])
    with pytest.raises(DatasetError, match="does not describe its episodes"):
        list(read_lerobot(single))
    (meta / "episodes.jsonl").write_text("{")
    with pytest.raises(DatasetError, match="not readable as JSON lines"):
        list(read_lerobot(single))
    (meta / "episodes.jsonl").unlink()
    with pytest.raises(DatasetError, match="lists no episodes"):
        list(read_lerobot(single))
    for content, reason in (("[]", "holds a list"), ("{}", "lacks codebase_version"), ("{", "not readable as JSON")):
        (meta / "info.json").write_text(content)
        with pytest.raises(DatasetError, match=reason):
            list(read_lerobot(single))


@pytest.mark.parametrize("template", ["../outside/{episode_index}.mp4", "/outside/{episode_index}.mp4"])
def test_meta_cannot_lead_out_of_the_folder(single: Path, template: str) -> None:
    edit_info(single, {"video_path": template})
    with pytest.raises(DatasetError, match="points outside of it"):
        list(read_lerobot(single))
