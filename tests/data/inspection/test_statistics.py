import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldline.data import EpisodeStore, write_lerobot, write_video
from worldline.data.inspection import describe_actions, describe_contents, measure_statistics, read_actions, read_clips
from worldline.interfaces import Clip

BuildClips = Callable[..., list[Clip]]


@pytest.fixture
def dataset(tmp_path: Path, steered_clips: BuildClips) -> Path:
    write_lerobot(tmp_path / "set", steered_clips(lag=2, idle=1), action_names=("x", "y", "gripper"))
    return tmp_path / "set"


def spoil(dataset: Path, row: int) -> None:
    """Puts a NaN into one row of the actions."""
    path = next((dataset / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    actions = np.array(table["action"].to_pylist(), dtype=np.float32)
    actions[row, 1] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(actions.reshape(-1)), actions.shape[1])
    pq.write_table(table.set_column(table.column_names.index("action"), "action", column), path)


def test_statistics_of_a_data_set_and_what_is_wrong_with_it(dataset: Path) -> None:
    spoil(dataset, row=45)
    statistics = measure_statistics(dataset)
    assert [component.name for component in statistics.components] == ["x", "y", "gripper"]
    assert [component.num_missing for component in statistics.components] == [0, 1, 0]
    assert [component.is_constant for component in statistics.components] == [False, False, True]
    assert statistics.alignment is not None
    assert statistics.alignment.joint.lag == 2
    text = "\n".join(statistics.warnings)
    assert "y: 1 of 480 rows are NaN, infinite or missing, in 1 episode(s) such as episode_000001" in text
    assert "gripper: constant at 0" in text
    assert "misaligned actions: lag +2: the picture answers 2 frames (0.2 s) after its action" in text
    assert "move the actions 2 rows down" in text
    assert "1 episode(s) cannot be read" in text


def test_aligned_actions_raise_no_warning(tmp_path: Path, steered_clips: BuildClips) -> None:
    EpisodeStore.build(tmp_path / "store", steered_clips())
    statistics = measure_statistics(tmp_path / "store")
    assert statistics.alignment is not None
    assert statistics.alignment.joint.lag == 0
    assert statistics.warnings == ()


def test_a_folder_of_videos_with_tables(tmp_path: Path, steered_clips: BuildClips) -> None:
    for number, clip in enumerate(steered_clips(lag=-1)):
        assert clip.actions is not None
        write_video(tmp_path / f"{number:02d}.mp4", clip.frames, clip.rate_hz)
        rows = [f"{time},{100 * time},{x},{y}" for time, (x, y) in enumerate(clip.actions.tolist())]
        (tmp_path / f"{number:02d}.csv").write_text("\n".join(["frame,timestamp_ms,steering,throttle", *rows]))
    (tmp_path / "unlabelled.mp4").write_bytes((tmp_path / "00.mp4").read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    statistics = measure_statistics(tmp_path)
    assert [component.name for component in statistics.components] == ["steering", "throttle"]
    assert statistics.alignment is not None
    assert statistics.alignment.joint.lag == -1
    assert any("which no latency explains; move the actions 1 row up" in warning for warning in statistics.warnings)
    contents = describe_contents(tmp_path)
    assert (contents.num_episodes, contents.num_labelled, list(contents.skipped)) == (13, 12, ["broken.mp4"])
    assert contents.action_names == ("steering", "throttle")


def test_contents_are_the_same_whatever_holds_them(tmp_path: Path, dataset: Path) -> None:
    ours = describe_contents(dataset)
    assert ours.kind == "LeRobotDataset v3"
    assert (ours.num_episodes, ours.num_frames, ours.lengths, ours.num_sources) == (12, 480, (40, 40, 40), 12)
    assert ours.shapes == {"48 x 48 @ 10 Hz": 12}
    assert ours.texts == {"move the disc": 12}
    assert ours.action_names == ("x", "y", "gripper")
    assert ours.hours == pytest.approx(480 / 10 / 3600)
    EpisodeStore.build(tmp_path / "store", read_clips(dataset))
    store = describe_contents(tmp_path / "store")
    different = {field.name for field in dataclasses.fields(ours) if getattr(ours, field.name) != getattr(store, field.name)}
    assert different == {"kind", "cameras", "num_bytes", "action_names"}


def test_columns_of_numbers_and_of_lists_are_read(tmp_path: Path, steered_clips: BuildClips) -> None:
    one = [dataclasses.replace(clip, actions=None if clip.actions is None else clip.actions[:, :1]) for clip in steered_clips(num_clips=2)]
    write_lerobot(tmp_path / "one", one)
    table = read_actions(tmp_path / "one")
    assert table.names == ("action 0",)
    (component,) = describe_actions(table)
    assert one[0].actions is not None
    assert component.low <= float(one[0].actions.min())
    assert list(table.episodes) == ["episode_000000", "episode_000001"]


def test_no_actions_and_no_data(tmp_path: Path, steered_clips: BuildClips) -> None:
    write_video(tmp_path / "a.mp4", steered_clips(num_clips=1)[0].frames, 10.0)
    assert measure_statistics(tmp_path).warnings == ("no actions: a world of this data set cannot be steered",)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        measure_statistics(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="a file; give the folder"):
        describe_contents(tmp_path / "a.mp4")
