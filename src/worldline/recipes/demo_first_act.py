"""The demo's first act: a world that comes with the package is shown an episode of Push-T that was filmed a moment ago, and acts in it.

It takes seconds; the second act trains a world from nothing. May import: data, envs, eval, recipes.planning, recipes.watch, world. Refuses
to know: what comes after.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldline.control import CEMConfig
from worldline.data import concatenate_actions, to_float, write_video
from worldline.envs.pusht import collect_pusht
from worldline.eval import copy_last, psnr
from worldline.eval.page import Html, paragraph, table, video
from worldline.recipes.planning import SIMULATOR_RATE_HZ, PlannedEpisode, plan_pusht_episode
from worldline.recipes.watch import side_by_side
from worldline.world import World, bundled_worlds

DOMAIN = "push"
PROMPT_FRAMES, NUM_FRAMES = 4, 8
PLANNER = CEMConfig(horizon=4, num_candidates=48, num_iterations=2, num_elites=6, correlation=0.5)
PLANNED_STEPS = 10
_FIRST_SEED = 900_000  # of scenes that no training of ours has filmed


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstAct:
    """What a bundled world did.

    Attributes:
        figures: JSON-able.
        rollout: (T, 3, 2 H, W), true above imagined, prompt included.
        planned: the episode that it planned.
    """

    figures: dict[str, Any]
    rollout: Tensor
    planned: PlannedEpisode


def find_bundled(name: str | Path | None) -> World | None:
    """The world for the first act, as it is in Push-T: one that comes with the package, or a folder; None if it is not there.

    Raises:
        ValueError: if it is damaged, or knows no Push-T.
    """
    if name is None or (str(name) not in bundled_worlds() and not Path(name).is_dir()):
        return None
    world = World.load(name)
    return world.with_action_space(DOMAIN) if world.config.action_spaces else world


@torch.no_grad()
def play_first_act(world: World, *, seed: int = 0) -> FirstAct:
    """Prompt with an episode, imagine how it goes on, plan: wall time, and the error beside that of copying the last frame.

    Args:
        world: of Push-T, at a whole fraction of the simulator's 10 Hz.
        seed: of the scenes and the plans.

    Raises:
        ValueError: if the world cannot act in Push-T.
    """
    began = time.perf_counter()
    frames, actions = _episode(world, _FIRST_SEED + seed)
    filmed = time.perf_counter()
    prompt, future = frames[:PROMPT_FRAMES], frames[PROMPT_FRAMES:]
    state = world.prompt(prompt, actions[: PROMPT_FRAMES - 1])
    imagined = world.decode(world.rollout(state, actions[None, PROMPT_FRAMES - 1 : -1], seed=seed))[0, 0]
    dreamt = time.perf_counter()
    planned = plan_pusht_episode(
        world.with_sampling(1), seed=_FIRST_SEED + seed, max_steps=PLANNED_STEPS, planner=PLANNER, prompt_frames=PROMPT_FRAMES, num_random=1
    )
    done = time.perf_counter()
    figures = {
        "prompt_frames": PROMPT_FRAMES,
        "psnr_db": psnr(imagined[None], future[None])[0].tolist(),
        "copy_last_psnr_db": psnr(copy_last(prompt[None], NUM_FRAMES), future[None])[0].tolist(),
        "planning": planned.to_dict(),
        "seconds": {"filming": filmed - began, "imagining": dreamt - filmed, "planning": done - dreamt},
        "num_parameters": sum(parameter.numel() for parameter in world.parameters()),
        "fingerprint": world.fingerprint(),
    }
    rollout = side_by_side(frames[None], torch.cat([prompt, imagined])[None])
    return FirstAct(figures=figures, rollout=rollout, planned=planned)


def in_words(figures: dict[str, Any]) -> str:
    """What happened, in a sentence or two."""
    seconds, planning = figures["seconds"], figures["planning"]
    gains = [a - b for a, b in zip(figures["psnr_db"], figures["copy_last_psnr_db"], strict=True)]
    return (
        f"imagined {len(gains)} frames of an episode filmed just now in {seconds['imagining']:.1f} s, {sum(gains) / len(gains):+.1f} dB "
        f"over copying the last frame; planned {planning['num_actions']} actions in {seconds['planning']:.1f} s, agent to goal "
        f"{planning['start']['agent_px']:.1f} px before, {planning['end']['agent_px']:.1f} px after"
    )


def write_first_act(act: FirstAct, media: Path) -> list[Html]:
    """The films of the act in `media`, and what the page says of it."""
    media.mkdir(parents=True, exist_ok=True)
    write_video(media / "first_rollout.mp4", act.rollout, rate_hz=act.planned.rate_hz)
    planned = act.planned
    frames = torch.cat([planned.frames, planned.imagined, planned.goal.expand_as(planned.frames)], dim=-1)
    enlarged = torch.nn.functional.interpolate(frames, scale_factor=max(1, 128 // frames.shape[-2]), mode="nearest")
    write_video(media / "first_plan.mp4", enlarged, rate_hz=planned.rate_hz)
    figures = act.figures
    rows = [
        (str(index + 1), f"{a:.1f}", f"{b:.1f}", f"{a - b:+.1f}")
        for index, (a, b) in enumerate(zip(figures["psnr_db"], figures["copy_last_psnr_db"], strict=True))
    ]
    return [
        paragraph(
            f"This world of {figures['num_parameters']:,} parameters comes with the package and was trained before. It "
            f"{in_words(figures)}. One window and one plan, so no intervals; its own card has figures on many. What follows below was "
            "trained from nothing on this machine."
        ),
        video(f"{media.name}/first_rollout.mp4", "Above: the true video; below: the prompt, then imagination.", poster=act.rollout[-1]),
        video(
            f"{media.name}/first_plan.mp4",
            "Left: the real simulator; middle: what the latest plan expected; right: the goal.",
            poster=enlarged[-1],
        ),
        table(("Frame", "PSNR, dB", "copying the last frame, dB", "gain, dB"), rows),
    ]


def _episode(world: World, seed: int) -> tuple[Tensor, Tensor]:
    """Frames (P + T, 3, H, W) in [0, 1] of a new episode at the world's rate, and the actions (P + T, A) of each."""
    rate, spec = world.config.rate_hz, world.action_spec
    if rate is None or spec is None or spec.dim % 2:
        raise ValueError("the first act needs a world that can act in Push-T: two actions or twice as many, and one frame rate")
    num_parts = spec.dim // 2
    steps = max(1, round(SIMULATOR_RATE_HZ / rate / num_parts))
    num_frames = PROMPT_FRAMES + NUM_FRAMES
    size = world.config.tokenizer.image_size
    (clip,) = collect_pusht(1, num_frames=num_frames * num_parts, size=size, seed=seed, frame_skip=steps, num_workers=1)
    assert clip.actions is not None
    return to_float(clip.frames[::num_parts]), concatenate_actions(clip.actions, num_parts)
