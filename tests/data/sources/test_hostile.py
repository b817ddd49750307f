"""The small version of `experiments/hostile_media.py`: a few damaged files of each format, and archives that lie or lead astray."""

import hashlib
import importlib
import random
from pathlib import Path
from types import ModuleType

import pytest

from worldline.data import VideoError
from worldline.data.sandbox import Sandbox
from worldline.data.sandbox_process import Usage
from worldline.data.sources import ArchiveLimits, Rejection, SourceItem, SourceOptions, iterate_sources

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


@pytest.fixture
def hostile_videos(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXPERIMENTS)
    return importlib.import_module("hostile_videos")


@pytest.fixture
def hostile_archives(hostile_videos: ModuleType) -> ModuleType:
    return importlib.import_module("hostile_archives")


def frames_hash(sandbox: Sandbox, video: bytes) -> str:
    return hashlib.sha256(sandbox.read_clip(video, source="x", size=32)[0].frames.contiguous().numpy().data).hexdigest()


def test_damaged_files_of_ten_formats_end_with_themselves(hostile_videos: ModuleType) -> None:
    used: list[Usage] = []
    outcomes = {"frames": 0, "refused": 0}
    with Sandbox(on_end=used.append) as sandbox:
        for number, name in enumerate(hostile_videos.FORMATS):
            whole = hostile_videos.encode(name)
            expected = frames_hash(sandbox, whole)
            damages = list(hostile_videos.DAMAGES.values())
            for damage in (damages[number], damages[number - 4], damages[number - 7]):
                try:
                    frames_hash(sandbox, damage(bytearray(whole), random.Random(number)))
                    outcomes["frames"] += 1
                except VideoError:
                    outcomes["refused"] += 1
            assert frames_hash(sandbox, whole) == expected, name
    assert sum(outcomes.values()) == 30
    assert min(outcomes.values()) > 3
    assert max(usage.cpu_seconds for usage in used) < 10
    assert max(usage.peak_bytes for usage in used) < 1024**3


def test_a_gif_without_an_end_ends(hostile_videos: ModuleType) -> None:
    content = hostile_videos.endless_gif(3000, 1, 1)
    with Sandbox() as sandbox:
        assert len(sandbox.read_clip(content, source="x")[0]) <= 3000
        with pytest.raises(VideoError):
            sandbox.read_clip(hostile_videos.endless_gif(5, 65535, 65535), source="x")


def test_archives_that_lie_or_lead_astray_leave_their_good_members(
    hostile_archives: ModuleType, hostile_videos: ModuleType, tmp_path: Path
) -> None:
    video = hostile_videos.encode("mp4_h264")
    outside = tmp_path / "outside"
    inside = tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "secret.mp4").write_bytes(hostile_videos.encode("mp4_h264", seed=2))
    secret = hashlib.sha256((outside / "secret.mp4").read_bytes()).hexdigest()
    builders = hostile_archives.astray(video, outside / "secret.mp4") | hostile_archives.lying(outside / "secret.mp4")
    del builders["many"]
    with Sandbox() as sandbox:
        for name, build in builders.items():
            shard = inside / f"{name}.tar"
            shard.write_bytes(hostile_archives.pack(build, video))
            found = list(iterate_sources([shard], sandbox=sandbox))
            items = [item for item in found if isinstance(item, SourceItem)]
            assert items[0].name.endswith("good_before.mp4"), name
            assert all(item.content == video for item in items if "good" in item.name), name
            assert all(item.key != secret for item in items), name
            # What is odd about it has been said, unless it is harmless: a deep name, or attributes that concern nobody.
            assert name in {"deep", "attributes_global"} or any(isinstance(one, Rejection) for one in found), name
            shard.unlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inside", "outside", "secret.mp4"]


def test_an_archive_of_nothing_useful_is_given_up(hostile_archives: ModuleType, tmp_path: Path) -> None:
    shard = tmp_path / "pictures.tar"
    shard.write_bytes(b"".join(hostile_archives.block(f"{number}.mp4", 0) for number in range(200)))
    found = list(iterate_sources([shard], SourceOptions(archives=ArchiveLimits(max_rejections=50))))
    assert len(found) == 51
    assert isinstance(found[-1], Rejection)
    assert "given up after 50 members" in found[-1].reason


def test_an_archive_expands_only_so_far(hostile_archives: ModuleType, tmp_path: Path) -> None:
    import gzip

    shard = tmp_path / "bomb.tar.gz"
    shard.write_bytes(gzip.compress(hostile_archives.block("huge.mp4", 8**11 - 1) + bytes(10_000_000)))
    found = list(iterate_sources([shard], SourceOptions(archives=ArchiveLimits(free_bytes=1_000_000))))
    assert isinstance(found[-1], Rejection)
    assert "not read on" in found[-1].reason
