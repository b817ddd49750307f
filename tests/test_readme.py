"""The examples of the README and of the docs run as they stand, in a folder with a world and some videos."""

import re
from pathlib import Path

import pytest
import torch

from worldline.data import write_video
from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.envs.pusht import pusht_action_spec
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def python_of(page: Path) -> str:
    """All of a page's Python, one program, on the lines where the page has it."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line.strip() == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return "\n".join(lines)


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """A folder with what the examples speak of: a world of Push-T, a video, a folder of videos."""
    torch.manual_seed(0)
    world = World(
        WorldConfig(
            tokenizer=TokenizerConfig(image_size=64, grid=4, latent_dim=8, width=32, num_layers=1, head_dim=16),
            dynamics=DynamicsConfig(num_tokens=16, latent_dim=8, action_dim=2, width=32, num_layers=2, head_dim=16, context_frames=8),
            sampler=SamplerConfig(num_steps=2),
            rate_hz=5.0,
            action_spec=pusht_action_spec(),
        )
    )
    for parameter in world.parameters():
        torch.nn.init.normal_(parameter, std=0.3 * parameter.shape[-1] ** -0.5)
    world.save_pretrained(tmp_path / "demo" / "world")
    frames = torch.randint(0, 256, (12, 3, 48, 64), dtype=torch.uint8)
    (tmp_path / "my_videos").mkdir()
    for name in ("video.mp4", "my_videos/a.mp4", "my_videos/b.mp4", "my_videos/c.mp4"):
        write_video(tmp_path / name, frames, 5.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")], ids=lambda page: page.name)
def test_examples_run(page, desk, capsys):
    exec(compile(python_of(page), str(page), "exec"), {"__name__": "example"})


def test_the_example_that_everybody_sees_says_what_comes_out(desk, capsys):
    example: dict = {"__name__": "example"}
    exec(compile(python_of(ROOT / "README.md"), "README.md", "exec"), example)
    assert example["frame"].shape == (1, 3, 64, 64)
    assert example["future"].latents.shape[:3] == (4, 8, 6)
    assert example["score"].shape == (8,)
    assert example["plans"].grad.abs().amax((0, 2)).gt(0).all(), "every action of every plan has a say"
    assert "above the closed form" in capsys.readouterr().out


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_room_has_its_line_in_the_readme():
    tree = re.search(r"src/worldline/\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert tree is not None
    told = {line.split()[0].strip("/").removesuffix(".py") for line in tree.group(1).splitlines()}
    package = ROOT / "src" / "worldline"
    rooms = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert told == rooms - {"__init__", "__main__"}


def test_commands_are_the_ones_that_there_are():
    from worldline.cli import main

    told = set(re.findall(r"worldline (\w+)", "".join(re.findall(r"`[^`\n]+`", (ROOT / "README.md").read_text(encoding="utf-8")))))
    assert told == {"demo", "train", "predict", "plan", "eval", "ingest", "collect", "data", "code", "bench", "doctor"}
    for command in told:
        with pytest.raises(SystemExit) as leaving:
            main([command, "--help"])
        assert leaving.value.code == 0
