"""`worldline code` from end to end, and what `worldline eval` makes of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from worldline.cli import main
from worldline.cli.load import frame_code_of
from worldline.data import EpisodeStore, cache_latents
from worldline.interfaces import Clip
from worldline.world import World

STATES = ("square_x", "square_y")


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    """Twelve episodes of a square that creeps to the right, with its place."""
    clips, generator = [], torch.Generator().manual_seed(0)
    for index in range(12):
        left, top = torch.randint(0, 16, (2,), generator=generator).tolist()
        frames = torch.full((20, 3, 32, 32), 200, dtype=torch.uint8)
        places = torch.tensor([[left + time // 4, top] for time in range(20)])
        for time, (x, y) in enumerate(places.tolist()):
            frames[time, :, y : y + 8, x : x + 8] = 30
        clips.append(Clip(frames=frames, rate_hz=5.0, source=f"square_{index}", states=places.float()))
    return EpisodeStore.build(tmp_path / "squares", clips, action_spec=None)


@pytest.fixture
def run_folder(store: EpisodeStore, world_folder: Path, tmp_path: Path) -> Path:
    """What training leaves: a world and the latents of its episodes."""
    folder = tmp_path / "run"
    shutil.copytree(world_folder, folder / "world")
    tokenizer = World.load(folder / "world").tokenizer
    cache_latents(store, tokenizer.encode, key="random", folder=folder / "latents", progress=False)
    return folder


def report_of(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_code_is_trained_and_probed(run_folder: Path, store: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["code", str(run_folder), "--steps", "3", "--near-seconds", "0.4", "2"]
    report = report_of(capsys, words)
    assert Path(report["path"]) == run_folder / "world" / "frame_code.safetensors"
    assert report["steps"] == 3
    assert report["chance"] == 1 / report["pairs"]
    card = (run_folder / "world" / "README.md").read_text()
    assert f"finds {report['found']:.3f} of them among {report['pairs']:.0f} episodes" in card
    assert report_of(capsys, words)["found"] == report["found"]
    assert (run_folder / "world" / "README.md").read_text() == card
    measured = ["eval", str(run_folder), "--data", str(store.folder), "--suite", "physics", "--windows", "4", "--state-names", *STATES]
    figures = report_of(capsys, [*measured, "--out", str(tmp_path / "eval")])["suites"]["physics"]["figures"]
    named = {figure["name"]: figure for figure in figures}
    both = named["probe r with the frame code of square_x"]
    assert both["floors"]["probe of the latents"] == named["probe r of square_x"]["value"]
    assert both["value"] > 0.5
    assert "features of their code" in named["probe r with the frame code, mean of 2 position components"]["note"]


def test_a_code_of_another_tokenizer_is_refused(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(run_folder, other)
    world = World.load(other / "world")
    world.tokenizer.encoder_position.data.add_(1)
    world.save_pretrained(other / "world")
    assert main(["code", str(run_folder), str(other), "--steps", "2"]) == 2
    assert "different tokenizers" in capsys.readouterr().err
    assert (
        main(["code", str(run_folder), "--steps", "2", "--near-seconds", "0.4", "2", "--out", str(other / "world/frame_code.safetensors")])
        == 0
    )
    assert main(["eval", str(other), "--data", str(tmp_path / "squares"), "--suite", "physics", "--out", str(tmp_path / "eval")]) == 2
    assert "another tokenizer" in capsys.readouterr().err


def test_the_package_brings_a_code_of_its_push() -> None:
    world = World.load("push")
    code = frame_code_of("push", world)
    assert code is not None
    latents = world.prompt(torch.rand(3, 64, 64, 3)).latent
    assert code.features(latents).isfinite().all()
    assert frame_code_of("tiny", World.load("tiny")) is None


def test_a_readme_that_is_no_card_is_left_alone(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    words = ["code", str(run_folder), "--steps", "2", "--near-seconds", "0.4", "2", "--out", str(tmp_path / "code.safetensors")]
    assert main(words) == 0
    assert (tmp_path / "code.safetensors").is_file()
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_code_comes_with_its_world_from_the_hub(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["code", str(run_folder), "--steps", "2", "--near-seconds", "0.4", "2"]) == 0

    def fetched(name: str, *, allow_patterns: list[str]) -> str:
        assert name == "someone/squares"
        for path in (run_folder / "world").iterdir():
            if path.name not in {*allow_patterns, "README.md"}:
                path.unlink()
        return str(run_folder / "world")

    monkeypatch.setattr("worldline.world.storage.snapshot_download", fetched)
    assert frame_code_of("someone/squares", World.load("someone/squares")) is not None


@pytest.mark.parametrize(
    ("words", "why"),
    [(["--steps", "0"], "at least 1"), (["--near-seconds", "2", "1"], "in order"), (["--near-seconds", "9", "20"], "longer than 9 s")],
)
def test_mistakes_are_explained(run_folder: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["code", str(run_folder), *words]) == 2
    assert why in capsys.readouterr().err


def test_a_folder_without_latents_is_refused(world_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["code", str(world_folder)]) == 2
    assert "has no latents" in capsys.readouterr().err
    assert main(["code"]) == 2
    assert "no run given" in capsys.readouterr().err
