import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from worldline.data import lerobot_tables, lerobot_writer, probe, read_lerobot, write_lerobot
from worldline.interfaces import Clip

MakeClip = Callable[..., Clip]


@pytest.fixture
def clips(make_clip: MakeClip) -> list[Clip]:
    return [make_clip(6 + k, seed=k, text=("push the block", "pull it", None)[k % 3]) for k in range(5)]


def check(found: list[Clip], clips: list[Clip]) -> None:
    for expected, clip in zip(clips, found, strict=True):
        for name in ("actions", "states"):
            assert torch.equal(getattr(clip, name), getattr(expected, name)), name
        assert clip.rewards is not None
        assert expected.rewards is not None
        assert torch.equal(clip.rewards[1:], expected.rewards[1:])  # what the first frame earned has no place in the format
        assert clip.rewards[0] == 0
        assert (clip.text, clip.rate_hz) == (expected.text, expected.rate_hz)
        assert (clip.frames.float() - expected.frames.float()).abs().mean() < 6


def test_what_is_written_is_read_back(tmp_path: Path, clips: list[Clip]) -> None:
    write_lerobot(tmp_path / "set", iter(clips), robot_type="simulator", action_names=("seed", "time"))
    check(list(read_lerobot(tmp_path / "set")), clips)


def test_many_files_are_read_back(tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot_writer, "VIDEO_FILE_MEGABYTES", 1e-6)
    monkeypatch.setattr(lerobot_tables, "FILES_PER_CHUNK", 2)
    write_lerobot(tmp_path / "set", clips, camera="observation.images.top")
    videos = sorted(path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").rglob("*.mp4"))
    assert videos[:3] == [f"videos/observation.images.top/chunk-{k // 2:03d}/file-{k % 2:03d}.mp4" for k in range(3)]
    assert len(videos) == len(list((tmp_path / "set" / "data").rglob("*.parquet"))) == 5
    check(list(read_lerobot(tmp_path / "set")), clips)


def test_the_layout_is_that_of_version_3(tmp_path: Path, clips: list[Clip]) -> None:
    """Names and types as lerobot 0.4 writes and reads them."""
    root = tmp_path / "set"
    write_lerobot(root, clips, robot_type="simulator", action_names=("seed", "time"))
    info = json.loads((root / "meta" / "info.json").read_text())
    num_frames = sum(map(len, clips))
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 10, "simulator")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, num_frames, 3)
    assert info["splits"] == {"train": "0:5"}
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    assert info["video_path"] == "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["seed", "time"]}
    assert info["features"]["next.reward"] == {"dtype": "float32", "shape": [1], "names": None}
    assert info["features"]["observation.image"]["shape"] == [16, 24, 3]

    data = pq.read_table(root / "data/chunk-000/file-000.parquet")
    assert set(data.column_names) == set(info["features"]) - {"observation.image"}
    assert str(data.schema.field("action").type).endswith("[2]")
    assert str(data.schema.field("next.reward").type) == "float"
    assert data["index"].to_pylist() == list(range(num_frames))
    assert data["timestamp"].to_pylist()[:3] == pytest.approx([0, 0.1, 0.2])
    assert probe(root / "videos/observation.image/chunk-000/file-000.mp4").num_frames == num_frames

    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["length"] for row in episodes] == [len(clip) for clip in clips]
    assert [row["dataset_to_index"] for row in episodes][-1] == num_frames
    assert episodes[1]["videos/observation.image/from_timestamp"] == pytest.approx(0.6)
    assert episodes[1]["videos/observation.image/to_timestamp"] == pytest.approx(1.3)
    assert episodes[1]["tasks"] == ["pull it"]
    assert episodes[1]["stats/action/max"] == [1, 6]

    tasks = pq.read_table(root / "meta/tasks.parquet")
    assert dict(zip(tasks["__index_level_0__"].to_pylist(), tasks["task_index"].to_pylist(), strict=True)) == {
        "push the block": 0,
        "pull it": 1,
        "": 2,
    }
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["__index_level_0__"]


def test_labels_facts_and_source_come_back(tmp_path: Path, make_clip: MakeClip) -> None:
    steps = torch.arange(6)
    labels = {"event.contact": steps > 3, "score": steps / 7, "count": steps, "joints": torch.stack([steps, -steps], 1).float()}
    facts = [{"friction": 0.5, "seed": 3, "color": "red", "is_wet": True}, {"friction": 2, "note": "only here"}]
    clips = [dataclasses.replace(make_clip(6, seed=k), labels=labels, facts=facts[k], source=f"site_{k}/a b") for k in range(2)]
    write_lerobot(tmp_path / "set", clips)
    for clip, expected in zip(read_lerobot(tmp_path / "set"), clips, strict=True):
        assert clip.labels.keys() == labels.keys()
        for name, values in labels.items():
            assert torch.equal(clip.labels[name], values), name
            assert clip.labels[name].dtype == values.dtype, name
        assert clip.facts == expected.facts
        assert clip.source == expected.source
    info = json.loads((tmp_path / "set" / "meta" / "info.json").read_text())
    assert info["features"]["event.contact"] == {"dtype": "bool", "shape": [1], "names": None}


def test_a_video_without_labels_has_no_action_column(tmp_path: Path, make_clip: MakeClip) -> None:
    write_lerobot(tmp_path / "set", [make_clip(5, labelled=False)])
    columns = pq.read_schema(tmp_path / "set/data/chunk-000/file-000.parquet").names
    assert columns == ["timestamp", "frame_index", "episode_index", "index", "task_index"]
    (clip,) = read_lerobot(tmp_path / "set")
    assert (clip.actions, clip.states, clip.rewards, clip.labels, clip.facts) == (None, None, None, {}, {})


def test_statistics_are_those_of_the_data(tmp_path: Path, clips: list[Clip]) -> None:
    write_lerobot(tmp_path / "set", clips)
    stats = json.loads((tmp_path / "set" / "meta" / "stats.json").read_text())
    states = torch.cat([clip.states for clip in clips if clip.states is not None]).double()
    assert stats["observation.state"]["count"] == [len(states)]
    for name, expected in (
        ("min", states.amin(0)),
        ("max", states.amax(0)),
        ("mean", states.mean(0)),
        ("std", states.std(0, correction=0)),
        ("q50", states.quantile(0.5, 0)),
    ):
        torch.testing.assert_close(torch.tensor(stats["observation.state"][name], dtype=torch.float64), expected)
    mean = torch.tensor(stats["observation.image"]["mean"])
    assert mean.shape == (3, 1, 1)
    pixels = torch.cat([clip.frames for clip in clips]).float() / 255
    torch.testing.assert_close(mean.flatten(), pixels.mean((0, 2, 3)), atol=0.03, rtol=0)


def test_one_component_is_a_plain_number(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(5)
    assert clip.actions is not None
    clip = dataclasses.replace(clip, actions=clip.actions[:, 1:])
    write_lerobot(tmp_path / "set", [clip])
    assert str(pq.read_schema(tmp_path / "set/data/chunk-000/file-000.parquet").field("action").type) == "float"
    (found,) = read_lerobot(tmp_path / "set")
    torch.testing.assert_close(found.actions, clip.actions, rtol=0, atol=0)


def test_unlike_clips_are_refused_and_leave_nothing_behind(tmp_path: Path, make_clip: MakeClip) -> None:
    good = make_clip(5)
    bad = {
        "no clips": [],
        "rate_hz 5": [good, dataclasses.replace(good, rate_hz=5)],
        r"frames \(3, 16, 8\)": [good, dataclasses.replace(good, frames=good.frames[..., :8])],
        "action None": [good, dataclasses.replace(good, actions=None)],
        "score .* instead of None": [good, dataclasses.replace(good, labels={"score": torch.zeros(5)})],
        "labels called timestamp": [dataclasses.replace(good, labels={"timestamp": torch.zeros(5)})],
        "without frames": [make_clip(0, labelled=False)],
    }
    for reason, clips in bad.items():
        with pytest.raises(ValueError, match=reason):
            write_lerobot(tmp_path / "set", clips)
    with pytest.raises(ValueError, match="1 action_names for 2 action components"):
        write_lerobot(tmp_path / "set", [good], action_names=("x",))
    with pytest.raises(ValueError, match="hold a slash"):
        write_lerobot(tmp_path / "set", [good], camera="a/b")
    assert list(tmp_path.iterdir()) == []
    write_lerobot(tmp_path / "set", [good])
    with pytest.raises(FileExistsError, match="remove it or write"):
        write_lerobot(tmp_path / "set", [good])
