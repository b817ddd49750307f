"""The real lerobot package reads what we write, and we read what it writes. Skipped where it is not installed.

It pins an older torch, so it gets an environment of its own, for this file only:

    python -m venv lerobot_environment && . lerobot_environment/bin/activate
    pip install -e ".[test]" --constraint constraints.txt
    pip install --no-deps lerobot==0.4.4 torchvision==0.28.0
    pip install "datasets<5" draccus==0.10.0 accelerate jsonlines deepdiff termcolor einops --constraint constraints.txt
    pip install "numpy<2.4"    # later ones refuse the vectors of one component that lerobot 0.4.4 stores as numbers
    pytest tests/data/test_lerobot_conformance.py

lerobot decodes through torchvision, of which two things are given here: the names of operators, which its compiled part lacks beside a
torch of the CPU, and `VideoReader`, which it no longer has. The latter is PyAV without our decoder; files, seconds and tables are
looked up by lerobot.
"""

import dataclasses
import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from worldline.data import action_spec_of, read_lerobot, write_lerobot, write_video
from worldline.interfaces import Clip

pytest.importorskip("lerobot", reason="conformance needs the lerobot package; this file's first lines say how to get it")
pytestmark = pytest.mark.filterwarnings("ignore")

MakeClip = Callable[..., Clip]
LOSSY = 4 / 255  # mean over a frame; lerobot encodes at quality 30, in which these frames lose 1.5 to 2 of 255


class PyAVReader:
    """What lerobot uses of `torchvision.io.VideoReader`, as torchvision had it."""

    def __init__(self, path: str, stream: str) -> None:
        self.container = av.open(path)
        self._frames: Iterator[Any] = self.container.decode(video=0)

    def seek(self, seconds: float, *, keyframes_only: bool) -> None:
        self.container.seek(int(seconds * 1_000_000), any_frame=not keyframes_only, backward=True)
        self._frames = self.container.decode(video=0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for frame in self._frames:
            yield {"data": torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1), "pts": float(frame.pts * frame.time_base)}


@pytest.fixture(scope="module")
def lerobot_dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`LeRobotDataset`, without network and with its caches in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                operators.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        patch.setattr(importlib.import_module("torchvision.io"), "VideoReader", PyAVReader, raising=False)
        yield importlib.import_module("lerobot.datasets.lerobot_dataset").LeRobotDataset


def check_alike(dataset: Any, clips: list[Clip], camera: str) -> None:
    """Every frame that lerobot gives is the one in our clips, with all that belongs to it."""
    assert (dataset.num_episodes, len(dataset), dataset.fps) == (len(clips), sum(map(len, clips)), clips[0].rate_hz)
    index = itertools.count()
    for episode, clip in enumerate(clips):
        columns = {"action": clip.actions, "observation.state": clip.states, **clip.labels}
        frames = clip.frames.float() / 255
        for step in range(len(clip)):
            item = dataset[next(index)]
            assert (item["episode_index"].item(), item["frame_index"].item()) == (episode, step)
            assert item["timestamp"].item() == pytest.approx(step / clip.rate_hz, abs=1e-5)
            assert item["task"] == (clip.text or "")
            for name, values in columns.items():
                assert (name in item) == (values is not None), name
                if values is not None:
                    torch.testing.assert_close(item[name].reshape(values[step].shape), values[step], rtol=0, atol=0)
            assert torch.equal(item[camera], frames[step])  # both decode the same file


def test_lerobot_reads_what_we_write(tmp_path: Path, make_clip: MakeClip, lerobot_dataset: Any) -> None:
    clips = []
    for seed, task in enumerate(("push the block", "pull it", "push the block", None)):
        clip = make_clip(7 + seed, seed=seed, text=task)
        steps = torch.arange(len(clip))
        labels = {"event.contact": steps > 3, "count": steps, "joints": torch.stack([steps, -steps], 1).float()}
        facts = {"friction": 0.5, "color": "red"} if seed else {"seed": 3, "is_wet": True}
        clips.append(dataclasses.replace(clip, labels=labels, facts=facts))
    root = tmp_path / "ours"
    write_lerobot(root, clips, robot_type="simulator", action_names=("seed", "time"))

    dataset = lerobot_dataset("local/ours", root=root)
    check_alike(dataset, list(read_lerobot(root)), "observation.image")
    rewards = torch.stack([dataset[step]["next.reward"].reshape(()) for step in range(7)])
    assert rewards.tolist() == [1, 2, 3, 4, 5, 6, 6]
    assert dataset.meta.stats["action"]["max"].tolist() == [3, 9]
    assert dataset.meta.names["action"] == ["seed", "time"]
    assert dataset.meta.robot_type == "simulator"
    assert dataset.meta.total_tasks == 3
    for index, clip in enumerate(clips):
        row = dataset.meta.episodes[index]
        assert (row["source"], row["tasks"], row["length"]) == (clip.source, [clip.text or ""], len(clip))
        assert {name: row[f"facts/{name}"] for name in clip.facts} == clip.facts

    some = lerobot_dataset("local/ours", root=root, episodes=[2], delta_timestamps={"action": [0, 0.1], "observation.image": [-0.1, 0]})
    assert some[3]["action"].tolist() == [[2, 3], [2, 4]]
    assert some[3]["observation.image"].shape == (2, 3, 16, 24)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=len(dataset))))
    assert batch["observation.image"].shape == (len(dataset), 3, 16, 24)


def test_lerobot_reads_video_without_labels(tmp_path: Path, make_clip: MakeClip, lerobot_dataset: Any) -> None:
    clips = [dataclasses.replace(make_clip(6, seed=seed, labelled=False), rate_hz=30) for seed in range(3)]
    write_lerobot(tmp_path / "ours", clips, camera="observation.images.top")
    dataset = lerobot_dataset("local/ours", root=tmp_path / "ours")
    check_alike(dataset, list(read_lerobot(tmp_path / "ours")), "observation.images.top")


def test_lerobot_reads_what_ingest_makes(tmp_path: Path, make_clip: MakeClip, lerobot_dataset: Any) -> None:
    for name in ("scenedetect", "faiss", "cv2"):
        pytest.importorskip(name, reason="ingest needs the extra curate")
    from worldline.cli import main

    videos = tmp_path / "videos"
    videos.mkdir()
    for seed in range(2):
        write_video(videos / f"{seed}.mp4", make_clip(30, seed=seed).frames, 10)
        (videos / f"{seed}.txt").write_text(f"square number {seed}")
        (videos / f"{seed}.csv").write_text("gas,wheel\n" + "".join(f"{step},{seed}\n" for step in range(30)))
    command = ["ingest", str(videos), "--out", str(tmp_path / "out"), "--size", "32", "--workers", "1", "--keep-all", "--keep-duplicates"]
    assert main([*command, "--json"]) == 0
    (root,) = (folder for folder in (tmp_path / "out" / "datasets").iterdir() if folder.is_dir())
    clips = list(read_lerobot(root))
    assert {clip.text for clip in clips} == {"square number 0", "square number 1"}
    assert all(clip.actions is not None for clip in clips)
    check_alike(lerobot_dataset("local/ingested", root=root), clips, clip_camera(root))


def clip_camera(root: Path) -> str:
    """The only camera of a data set."""
    (folder,) = (root / "videos").iterdir()
    return folder.name


@pytest.mark.parametrize("codec", ["libsvtav1", "h264"])
def test_we_read_what_lerobot_writes(tmp_path: Path, make_clip: MakeClip, lerobot_dataset: Any, codec: str) -> None:
    camera, root = "observation.images.front", tmp_path / "theirs"
    features = {
        camera: {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    }
    dataset = lerobot_dataset.create("local/theirs", fps=10, features=features, root=root, vcodec=codec, robot_type="arm")
    made = [make_clip(6 + seed, seed=seed, text=("push", "pull")[seed % 2]) for seed in range(3)]
    for clip in made:
        for step in range(len(clip)):
            labels = {"action": pick(clip.actions, step), "observation.state": pick(clip.states, step)}
            more = {"next.reward": pick(clip.rewards, step)[None], "next.done": torch.tensor([step == len(clip) - 1])}
            image = enlarged(clip.frames[step]).permute(1, 2, 0).numpy()
            dataset.add_frame({camera: image, "task": clip.text, **{name: values.numpy() for name, values in {**labels, **more}.items()}})
        dataset.save_episode()
    dataset.finalize()

    clips = list(read_lerobot(root))
    for expected, clip in zip(made, clips, strict=True):
        assert torch.equal(pick(clip.actions), pick(expected.actions))
        assert torch.equal(pick(clip.states), pick(expected.states))
        assert torch.equal(pick(clip.rewards), torch.cat([torch.zeros(1), pick(expected.rewards)[:-1]]))
        assert clip.labels["next.done"].tolist() == [False] * (len(clip) - 1) + [True]
        assert (clip.text, clip.rate_hz) == (expected.text, 10)
        difference = (clip.frames.float() - torch.stack([enlarged(frame) for frame in expected.frames]).float()).abs() / 255
        assert difference.mean((1, 2, 3)).max() < LOSSY
    spec = action_spec_of(root)
    assert spec is not None
    assert (spec.low, spec.high, spec.names) == ((0, 0), (2, 7), ("x", "y"))
    check_alike(lerobot_dataset("local/theirs", root=root), clips, camera)


def pick(values: Tensor | None, step: int | None = None) -> Tensor:
    """Labels that are there: all of them, or those of one step."""
    assert values is not None
    return values if step is None else values[step]


def enlarged(frame: Tensor) -> Tensor:
    """AV1's encoder takes no side below 64 pixels."""
    return frame.repeat_interleave(4, 1).repeat_interleave(4, 2)
