import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldline.data import (
    BatchStream,
    EpisodeStore,
    Loader,
    VideoIndex,
    VideoLoader,
    index_videos,
    load_videos,
    read_lerobot,
    to_float,
    write_lerobot,
    write_video,
)
from worldline.interfaces import Batch, BatchSource, Clip

MakeClip = Callable[..., Clip]


@pytest.fixture
def dataset(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Episodes of 3, 10, 11 and 12 frames in one file; two tasks."""
    clips = [make_clip(length, seed=seed, text=f"task {seed == 3}") for seed, length in enumerate((3, 10, 11, 12))]
    write_lerobot(tmp_path / "dataset", clips)
    return tmp_path / "dataset"


def same(one: Batch, other: Batch) -> bool:
    assert one.frames is not None
    assert other.frames is not None
    assert one.actions is not None
    assert other.actions is not None
    return torch.equal(one.frames, other.frames) and torch.equal(one.actions, other.actions) and one.dataset == other.dataset


@pytest.mark.parametrize(("size", "frame_skip"), [(None, 1), ((8, 12), 1), (None, 2)])
def test_windows_are_those_that_reading_everything_gives(dataset: Path, size: tuple[int, int] | None, frame_skip: int) -> None:
    clips = list(read_lerobot(dataset, size=size))
    loader = VideoLoader(index_videos(dataset), batch_size=8, num_frames=4, size=size, frame_skip=frame_skip)
    assert isinstance(loader, BatchSource)
    assert loader.action_spec is not None
    assert loader.action_spec.dim == 2 * frame_skip
    for batch in itertools.islice(loader, 5):
        assert batch.frames is not None
        assert batch.actions is not None
        assert batch.rewards is not None
        assert batch.action_mask is not None
        assert batch.action_mask.all()
        for row in range(8):
            seed, start = int(batch.actions[row, 0, 0]), int(batch.actions[row, 0, 1])
            clip = clips[seed]
            assert clip.actions is not None
            stop = start + 4 * frame_skip
            assert torch.equal(batch.frames[row], to_float(clip.frames[start:stop:frame_skip]))
            assert torch.equal(batch.actions[row].flatten(), clip.actions[start:stop].flatten())


def test_it_agrees_with_the_loader_of_a_store(tmp_path: Path, dataset: Path) -> None:
    store = EpisodeStore.build(tmp_path / "store", read_lerobot(dataset))
    ours, theirs = VideoLoader(index_videos(dataset), batch_size=4, num_frames=3, seed=5), Loader(store, batch_size=4, num_frames=3, seed=5)
    for index in range(4):
        one, other = ours.batch(index), theirs.batch(index)
        assert same(one, other)
        assert one.rewards is not None
        assert other.rewards is not None
        assert torch.equal(one.rewards, other.rewards)


def test_the_stream_resumes_exactly_whatever_the_number_of_workers(dataset: Path) -> None:
    index = index_videos(dataset)
    expected = [VideoLoader(index, batch_size=3, num_frames=4, seed=1).batch(number) for number in range(8)]
    loader: BatchStream = VideoLoader(index, batch_size=3, num_frames=4, seed=1, num_workers=2)
    assert all(same(a, b) for a, b in zip(expected, itertools.islice(loader, 4), strict=False))
    saved = json.loads(json.dumps(loader.state_dict()))
    resumed = VideoLoader(index_videos(dataset), batch_size=3, num_frames=4, seed=1)
    resumed.load_state_dict(saved)
    assert all(same(a, b) for a, b in zip(expected[4:], itertools.islice(resumed, 4), strict=True))
    with pytest.raises(ValueError, match="size was"):
        VideoLoader(index, batch_size=3, num_frames=4, seed=1, size=8).load_state_dict(saved)


def test_tasks_can_be_equally_likely(dataset: Path) -> None:
    loader = VideoLoader(index_videos(dataset), batch_size=100, num_frames=2, balance="tasks")
    _, episodes, _ = loader.decode(0)
    share = (episodes == 3).mean()
    assert 0.3 < share < 0.7, "its windows are 11 of 32"


def test_sources_are_split_and_never_clips(dataset: Path) -> None:
    train, held_out = index_videos(dataset).split_by_source(0.25, seed=3)
    assert len(train.episodes) == 3
    assert not set(train.sources) & set(held_out.sources)
    assert train.fingerprint != held_out.fingerprint


@pytest.fixture
def folder(tmp_path: Path, make_clip: MakeClip) -> Path:
    """Two videos of one shape, one of another rate, one of another size, one that is cut short, one that is none."""
    folder = tmp_path / "videos"
    folder.mkdir()
    frames = make_clip(30).frames
    for name, content, rate_hz in (("a", frames, 10.0), ("b", frames, 10.0), ("fast", frames, 20.0), ("small", frames[..., :16], 10.0)):
        write_video(folder / f"{name}.mp4", content, rate_hz)
    (folder / "a.csv").write_text("steering\n" + "\n".join(str(value) for value in range(30)))
    (folder / "none.mp4").write_bytes(b"not a video")
    return folder


def test_each_batch_has_one_shape_and_one_rate(folder: Path) -> None:
    index = index_videos(folder, action_columns=("steering",))
    assert list(index.report.skipped) == ["none.mp4"]
    assert {name: len(view.episodes) for name, view in index.buckets().items()} == {"16x24@10": 2, "16x24@20": 1, "16x16@10": 1}
    with pytest.raises(ValueError, match="do not fit one batch"):
        VideoLoader(index, batch_size=2, num_frames=4)
    loader = load_videos(index, batch_size=2, num_frames=4, num_workers=1)
    shapes: Counter[tuple[str | None, int]] = Counter()
    for batch in itertools.islice(loader, 40):
        assert batch.frames is not None
        shapes[batch.dataset, batch.frames.shape[-1]] += 1
    assert set(shapes) == {("16x24@10", 24), ("16x24@20", 24), ("16x16@10", 16)}
    assert shapes["16x24@10", 24] in (19, 20, 21), "half of the windows are there"


def test_a_damaged_file_costs_draws_and_not_the_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (folder / "b.mp4").read_bytes()
    # The index is in front, so the file opens and lies about what follows.
    (folder / "b.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    index = index_videos(folder).buckets()["16x24@10"]
    loader = VideoLoader(index, batch_size=8, num_frames=8)
    first = [loader.decode(number) for number in range(3)]
    assert loader.num_damaged > 0
    assert "another window is drawn" in caplog.text
    again = VideoLoader(index, batch_size=8, num_frames=8)
    for number in (2, 0, 1):
        frames, episodes, offsets = again.decode(number)
        assert torch.equal(frames, first[number][0])
        assert (episodes == first[number][1]).all()
        assert (offsets == first[number][2]).all()


def test_missing_episodes_are_counted(dataset: Path, tmp_path: Path) -> None:
    (next(dataset.rglob("*.mp4"))).unlink()
    with pytest.raises(FileNotFoundError, match="no video files"):
        index_videos(dataset)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        index_videos(tmp_path / "nothing")


def test_too_short_episodes_say_what_to_change(dataset: Path) -> None:
    index: VideoIndex = index_videos(dataset)
    with pytest.raises(ValueError, match="the longest of 4 episodes has 12"):
        VideoLoader(index, batch_size=1, num_frames=13)
    with pytest.raises(ValueError, match="the longest of 4 episodes has 12"):
        load_videos(index, batch_size=1, num_frames=13)
