"""The demo's first act, with a world that knows nothing but is of the right kind."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from worldline.data import read_video
from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.envs.pusht import pusht_action_spec
from worldline.eval.page import Page
from worldline.recipes.demo_first_act import find_bundled, in_words, play_first_act, write_first_act
from worldline.tokenizer import TokenizerConfig
from worldline.world import ActionSpace, World, WorldConfig

SPEC = pusht_action_spec()
PUSH = ActionSpace(spec=dataclasses.replace(SPEC, low=SPEC.low * 2, high=SPEC.high * 2, names=()), rate_hz=2.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of Push-T, two targets a frame, and of something else; saved in half precision."""
    torch.manual_seed(0)
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=32, grid=2, latent_dim=4, width=32, num_layers=1, head_dim=16, window=1),
        dynamics=DynamicsConfig(num_tokens=4, latent_dim=4, action_dim=5, width=32, num_layers=2, head_dim=16, context_frames=8),
        sampler=SamplerConfig(num_steps=1),
        action_spaces={"push": PUSH, "film": ActionSpace(rate_hz=10.0)},
    )
    return World(config).save_pretrained(tmp_path_factory.mktemp("bundle") / "nano", half=True)


def test_it_imagines_and_plans_and_says_how_well(folder: Path, tmp_path: Path) -> None:
    world = find_bundled(folder)
    assert world is not None
    assert world.action_spec == PUSH.spec
    act = play_first_act(world, seed=1)
    figures = act.figures
    assert len(figures["psnr_db"]) == len(figures["copy_last_psnr_db"]) == 8
    assert figures["planning"]["num_actions"] == 10
    assert figures["fingerprint"] == world.fingerprint()
    assert re.search(r"imagined 8 frames .* planned 10 actions", in_words(figures))
    page = Page("a page", "of one section")
    page.section("first", *write_first_act(act, tmp_path / "media"), anchor="first-act")
    text = page.write(tmp_path / "index.html").read_text(encoding="utf-8")
    names = re.findall(r'<video [^>]*src="([^"]+)"', text)
    assert names == ["media/first_rollout.mp4", "media/first_plan.mp4"]
    assert [len(read_video(tmp_path / name)) for name in names] == [12, 11]
    assert f"{figures['psnr_db'][0]:.1f}" in text


def test_without_a_world_there_is_no_first_act() -> None:
    assert find_bundled(None) is None
    assert find_bundled("no world of this name comes along") is None


def test_a_world_of_something_else_is_refused(folder: Path) -> None:
    film = World.load(folder).with_action_space("film")
    with pytest.raises(ValueError, match="act in Push-T"):
        play_first_act(film)
