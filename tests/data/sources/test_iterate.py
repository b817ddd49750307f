import csv
import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldline.data import write_lerobot
from worldline.data.sandbox import Sandbox
from worldline.data.sources import Rejection, SourceItem, SourceOptions, iterate_sources
from worldline.interfaces import Clip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def folder(tmp_path: Path, square_video: Path) -> Path:
    """A folder with a video in each of two sub-folders."""
    for name in ("site_a/one.mp4", "site_b/two.gif"):
        path = tmp_path / "pile" / name
        path.parent.mkdir(parents=True)
        shutil.copy(square_video, path)
    return tmp_path / "pile"


def read(sandbox: Sandbox, *arguments: str | Path, options: SourceOptions | None = None) -> tuple[list[SourceItem], dict[str, str]]:
    found = list(iterate_sources(arguments, options, sandbox=sandbox))
    items = [item for item in found if isinstance(item, SourceItem)]
    return items, {rejection.name: rejection.reason for rejection in found if isinstance(rejection, Rejection)}


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_folders_patterns_files_and_lists_give_the_same_items(sandbox: Sandbox, folder: Path) -> None:
    listed = folder.parent / "list.txt"
    listed.write_text(f"# a comment\npile/site_a/one.mp4\n\n{folder / 'site_b' / 'two.gif'}\npile/missing.mp4\nhttp://nowhere/x.mp4\n")
    items, rejections = read(sandbox, folder)
    assert [(item.name, item.source) for item in items] == [
        ("pile/site_a/one.mp4", "pile/site_a/one"),
        ("pile/site_b/two.gif", "pile/site_b/two"),
    ]
    assert rejections == {}
    assert items[0].key == items[1].key  # Of the same bytes.
    for arguments in ([str(folder / "**" / "*.*")], [folder / "site_a" / "one.mp4", folder / "site_b" / "two.gif"], [listed]):
        others, rejections = read(sandbox, *arguments)
        assert [item.path for item in others] == [item.path for item in items]
    assert list(rejections.values()) == ["missing", "not a path"]
    assert sandbox.read_clip(items[0].path or b"", source=items[0].source)[0].frames.shape == (20, 3, 32, 48)


def test_an_argument_that_names_nothing_is_an_error_at_once(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        iterate_sources([folder, folder / "nowhere"])
    with pytest.raises(FileNotFoundError, match="nothing matches"):
        iterate_sources([str(folder / "*.mkv")])
    with pytest.raises(ValueError, match="an address"):
        iterate_sources(["https://nowhere/x.mp4"])
    (folder / "x.zip").touch()
    with pytest.raises(ValueError, match="not a kind of file"):
        iterate_sources([folder / "x.zip"])


def test_labels_lie_beside_a_video(sandbox: Sandbox, folder: Path) -> None:
    header = ["frame", "timestamp_ms", "steering", "throttle", "state.x", "reward", "caption", "weather"]
    rows = [[t, 50 * t, t / 100, -t, t * 2, t % 2, "drives on", "rain"] for t in range(20)]
    write_csv(folder / "site_a" / "one.csv", [header, *rows])
    (folder / "site_b" / "two.txt").write_text("a square\n")
    pq.write_table(pa.table({"action": [[float(t), 1.0] for t in range(20)]}), folder / "site_b" / "two.parquet")
    (folder / "site_b" / "two.json").write_text(json.dumps({"caption": "another", "seed": 7, "tags": ["red", "fast"], "deep": {"x": 1}}))
    (one, two), rejections = read(sandbox, folder)
    assert rejections == {}
    assert (one.caption, one.facts, one.action_names) == ("drives on", {"weather": "rain"}, ("steering", "throttle"))
    assert one.actions is not None
    assert one.states is not None
    assert one.rewards is not None
    assert np.allclose(one.actions, [[t / 100, -t] for t in range(20)])
    assert np.allclose(one.states[:, 0], np.arange(20) * 2)
    assert one.rewards.tolist() == [t % 2 for t in range(20)]
    assert two.actions is not None
    assert two.actions[:, 0].tolist() == list(range(20))
    assert two.caption == "another"
    assert two.facts == {"seed": 7, "tags": "red, fast", "other_caption": "a square"}
    copy = pickle.loads(pickle.dumps(one))
    assert copy.labels_key == one.labels_key != two.labels_key


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n1,2\n1\n", "row 1 has 1 cells"),
        (b"a,b\n1,2\nnan,2\n", "every frame needs finite numbers"),
        (b"a,b\n1,2\nfast,2\n", "begins with numbers"),
        (b"\xff\xfe\0", "not text in UTF-8"),
        (b"a,a\n1,2\n", "no header"),
        (b"a,b\n", "without rows"),
    ],
)
def test_labels_that_cannot_be_read_leave_the_video(sandbox: Sandbox, folder: Path, content: bytes, reason: str) -> None:
    (folder / "site_a" / "one.csv").write_bytes(content)
    items, rejections = read(sandbox, folder)
    assert len(items) == 2
    assert items[0].actions is None
    assert reason in rejections["pile/site_a/one.csv"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_describes_all_videos_of_a_folder(sandbox: Sandbox, folder: Path, kind: str) -> None:
    rows = [
        {"file_name": "site_a/one.mp4", "text": "one", "site": "kitchen", "speed": 1.5},
        {"file_name": "site_b/two.gif", "text": "two", "site": "street", "speed": 2.5},
        {"file_name": "missing.mp4", "text": "three", "site": "", "speed": 3.5},
        {"file_name": "../outside.mp4", "text": "four", "site": "", "speed": 4.5},
    ]
    path = folder / f"metadata.{kind}"
    if kind == "csv":
        write_csv(path, [list(rows[0]), *[list(row.values()) for row in rows]])
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    items, rejections = read(sandbox, folder, options=SourceOptions(source_column="site"))
    assert [(item.source, item.caption, item.facts["speed"]) for item in items] == [("kitchen", "one", 1.5), ("street", "two", 2.5)]
    assert rejections["pile/missing.mp4"] == "listed in a table, but missing"
    assert "leads out of its folder" in rejections[f"pile/metadata.{kind}"]


def test_nothing_outside_the_folder_is_read(sandbox: Sandbox, folder: Path, square_video: Path) -> None:
    (folder / "out.mp4").symlink_to(square_video)
    (folder / "in.mp4").symlink_to(folder / "site_a" / "one.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "up").symlink_to(folder.parent)
    (folder / "again").symlink_to(folder)
    (folder / "empty.mp4").touch()
    (folder / "list.m3u8").write_text("#EXTM3U\n/etc/passwd\n")
    (folder / "labels.csv").symlink_to("/etc/passwd")
    (folder / "in.csv").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.mp4")
    items, rejections = read(sandbox, folder)
    assert [item.name for item in items] == ["pile/in.mp4", "pile/site_a/one.mp4", "pile/site_b/two.gif"]
    assert rejections == {
        "pile/out.mp4": "a link that leads out of its folder",
        "pile/device.mp4": "a link that leads out of its folder",
        "pile/loop.mp4": "a link that leads nowhere",
        "pile/up": "a link that leads out of its folder",
        "pile/again": "a link to a folder that it lies in",
        "pile/empty.mp4": "the file is empty",
        "pile/list.m3u8": "a playlist, which is not followed",
        "pile/labels.csv": "table left out: a link that leads out of its folder",
        "pile/in.csv": "labels left out: a link that leads out of its folder",
        "pile/pipe.mp4": "not a regular file",
    }


def test_shards_are_streamed(sandbox: Sandbox, folder: Path, square_video: Path) -> None:
    rows = np.arange(40, dtype=np.float64).reshape(20, 2)
    array = io.BytesIO()
    np.save(array, rows)
    video = square_video.read_bytes()
    members = {
        "a/clip.json": b'{"text": "a square", "site": "lab"}',
        "a/clip.left.mp4": video,
        "a/clip.right.mp4": video[:-1],
        "a/clip.actions.npy": array.getvalue(),
        "a/picture.jpg": b"no video",
        "b.mp4": video,
        "b.csv": b"x\n" + b"1\n" * 20,
    }
    shard = folder / "site_a" / "shard-000.tar"
    for mode in ("w", "w:gz"):
        with tarfile.open(shard, mode) as archive:
            for name, content in members.items():
                header = tarfile.TarInfo(name)
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
        items, rejections = read(sandbox, shard, options=SourceOptions(source_column="site"))
        assert [(item.name, item.source) for item in items] == [
            ("shard-000.tar/a/clip.left.mp4", "lab"),
            ("shard-000.tar/a/clip.right.mp4", "lab"),
            ("shard-000.tar/b.mp4", "shard-000.tar/b"),
        ]
        assert items[0].content == video
        assert items[0].actions is not None
        assert np.array_equal(items[0].actions, rows)
        assert items[0].caption == "a square"
        assert items[2].action_names == ("x",)
        assert rejections == {"shard-000.tar/a/picture": "no video in it, only jpg"}
    items, _ = read(sandbox, folder)
    assert "pile/site_a/shard-000.tar/b.mp4" in [item.name for item in items]
    assert not (folder / "site_a" / "b.mp4").exists()


def test_robot_episodes_keep_their_place_in_packed_files(sandbox: Sandbox, tmp_path: Path, make_clip: Callable[..., Clip]) -> None:
    clips = [make_clip(6 + k, seed=k, text=f"task {k}") for k in range(3)]
    write_lerobot(tmp_path / "robot", clips)
    items, rejections = read(sandbox, tmp_path)
    assert rejections == {}
    assert [item.caption for item in items] == ["task 0", "task 1", "task 2"]
    assert len({item.path for item in items}) == 1
    assert len({item.key for item in items}) == 3
    for item, clip in zip(items, clips, strict=True):
        assert item.path is not None
        assert clip.actions is not None
        assert clip.states is not None
        assert clip.rewards is not None
        assert item.actions is not None
        assert item.states is not None
        assert item.rewards is not None
        assert np.array_equal(item.actions, clip.actions)
        assert np.allclose(item.states, clip.states)
        assert np.allclose(item.rewards[1:], clip.rewards[1:])
        read_back, _ = sandbox.read_clip(
            item.path, source=item.source, start_seconds=item.start_seconds or 0.0, end_seconds=item.end_seconds
        )
        assert len(read_back) == len(clip)
        assert (read_back.frames.float() - clip.frames.float()).abs().mean() < 4


def test_episodes_that_are_not_there_are_counted(sandbox: Sandbox, tmp_path: Path, make_clip: Callable[..., Clip]) -> None:
    root = tmp_path / "robot"
    write_lerobot(root, [make_clip(6)])
    next(root.glob("videos/*/*/*.mp4")).unlink()
    assert "no video files of" in read(sandbox, root)[1]["robot"]
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps(info | {"video_path": "{episode_index:>9999999999}"}))
    items, rejections = read(sandbox, root)
    assert items == []
    assert "no pattern of the format" in rejections["robot"]
    (root / "meta" / "info.json").write_text("[" * 100_000)
    assert "not readable as JSON" in read(sandbox, root)[1]["robot"]
