"""Plan in a learned world, act in the real Push-T simulator: one episode towards a goal picture, with the floors beside it.

May import: agent, control, reward, envs, data, world. Refuses to know: the command line, pages, how the world was trained.

Distances are in pixels of the world's frames. Shapes: T actions, H = W the world's image size.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import torch
from torch import Tensor

from worldline.agent import Episode, WarmStartPlanner, run_episode
from worldline.control import CEM, MPPI, CEMConfig, MPPIConfig, RandomShooting, RandomShootingConfig
from worldline.data import VideoError, read_video, resize_frames, to_float
from worldline.data.decode import MAX_PIXELS
from worldline.envs.pusht import ARENA_SIZE, PushT, agent_pixel_position, find_agent
from worldline.interfaces import State
from worldline.reward import GoalPicture
from worldline.world import World

SIMULATOR_RATE_HZ = 10.0
_WALL = 40.0  # environment units that the agent's goal keeps from the walls
_BLOCK = 120.0  # and from the block's origin, so that it is not hidden
_JOURNEY = 150.0  # and from where the agent starts, so that there is something to do
_GOAL_STEPS = 12  # long enough for the agent to arrive
_GOAL_TRIES = 30  # points that are tried until one is reached without touching the block

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_PICTURE_FORMATS = "image2,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe"

PlannerConfig = CEMConfig | MPPIConfig | RandomShootingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalDistance:
    """How far a scene is from the goal; None where it is not known, which is the block's share of a goal that is only a picture."""

    agent_px: float
    block_px: float | None
    block_degrees: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedEpisode:
    """What came of planning: the real episode, what the world expected, and the distance to the goal beside its floors.

    Attributes:
        frames: (T + 1, 3, H, W) in [0, 1], the real simulator.
        imagined: (T + 1, 3, H, W); frame `t` is what the latest plan before `t` expected there, at most `replan_every` frames ahead; the
            real frame up to the first plan.
        goal: (3, H, W).
        actions: (T, A), environment units.
        rate_hz: frames per second.
        seed: of the scene, the goal, the plans and the random policy.
        start: distance before the first action.
        end: distance after the last one.
        random_end: the same of a random policy from the same start, averaged over `num_random` episodes.
        num_random: episodes of the random policy.
        num_plans: times that the agent planned.
        num_evaluations: imagined futures that the plans took.
        statuses: how the searches ended (`Plan.status`), and how many did so.
    """

    frames: Tensor
    imagined: Tensor
    goal: Tensor
    actions: Tensor
    rate_hz: float
    seed: int
    start: GoalDistance
    end: GoalDistance
    random_end: GoalDistance
    num_random: int
    num_plans: int
    num_evaluations: int
    statuses: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {
            "seed": self.seed,
            "num_actions": len(self.actions),
            "num_plans": self.num_plans,
            "num_evaluations": self.num_evaluations,
            "statuses": dict(self.statuses),
            "num_random": self.num_random,
            **{name: asdict(getattr(self, name)) for name in ("start", "end", "random_end")},
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Goal:
    """A picture (3, S, S), the pixel position (2,) of its agent, and the simulator's state (7,) where that is known."""

    frame: Tensor
    agent: Tensor
    state: np.ndarray | None

    def distance(self, state: np.ndarray) -> GoalDistance:
        """How far a state (7,) of the simulator is from here."""
        size = self.frame.shape[-1]
        agent_px = float((agent_pixel_position(torch.from_numpy(state), size) - self.agent).norm())
        if self.state is None:
            return GoalDistance(agent_px=agent_px, block_px=None, block_degrees=None)
        block_px = math.dist(state[2:4], self.state[2:4]) * size / ARENA_SIZE
        turn = math.degrees(state[4] - self.state[4])
        return GoalDistance(agent_px=agent_px, block_px=block_px, block_degrees=abs((turn + 180) % 360 - 180))


DEFAULT_PLANNER = CEMConfig(horizon=6, num_candidates=128, num_iterations=4, num_elites=13, correlation=0.5, covariance="diagonal")


@torch.no_grad()
def plan_pusht_episode(
    world: World,
    *,
    seed: int = 0,
    max_steps: int = 16,
    planner: PlannerConfig = DEFAULT_PLANNER,
    replan_every: int = 2,
    prompt_frames: int = 4,
    goal: Tensor | None = None,
    num_random: int = 5,
) -> PlannedEpisode:
    """Let a world's plans act in the real simulator for one episode.

    The agent holds still for `prompt_frames - 1` actions, so that the world sees that nothing moves, then plans, does the first
    `replan_every` actions of the plan, and plans again from what really happened.

    Args:
        world: trained on Push-T, at 10 Hz or a whole fraction of it; an action is the agent's target, or several targets side by side.
        seed: of the scene, the goal, the plans and the random policy.
        max_steps: actions, those of the warm-up included.
        planner: the settings of a planner, which say which planner it is.
        replan_every: actions of each plan that are done.
        prompt_frames: latest frames that the world is shown.
        goal: a picture (3, H, W) in [0, 1] of any size, whose agent tells the distance. By default the same scene after the simulator
            sent the agent elsewhere, about 30 % of the table away or more: a goal within reach, and not reached at the start.
        num_random: episodes of the floor, a policy that sends the agent to a new random point at each step.

    Raises:
        ImportError: if `gym-pusht` is not installed.
        ValueError: if the world is not one of Push-T, no agent is seen in `goal`, or a number makes no sense.
    """
    if max_steps <= prompt_frames - 1 or num_random < 1:
        raise ValueError(
            f"max_steps is {max_steps}, prompt_frames {prompt_frames}, num_random {num_random}; "
            "give at least as many steps as prompt frames, and one random episode or more"
        )
    size = world.config.tokenizer.image_size
    env = _pusht_of(world)
    _, info = env.reset(seed=seed)
    first = info["state"]
    target = _send_elsewhere(env, seed) if goal is None else _goal_of(resize_frames(goal[None], size)[0])
    goal_latent = world.prompt(target.frame.expand(world.config.tokenizer.window, -1, -1, -1)).latent[0]

    def observe(frames: list[np.ndarray], actions: list[np.ndarray]) -> State:
        return world.prompt(np.stack(frames), np.stack(actions) if actions else None)

    def make_planner(state: State) -> WarmStartPlanner:
        # Pictures and not latents: a disc that does not overlap its goal must still be told the way.
        return _planner(world, GoalPicture(goal_latent, state.latent[0], world.decode, over_time="mean"), planner)

    episode = run_episode(
        env,
        world,
        make_planner,
        observe=observe,
        max_steps=max_steps,
        prompt_frames=prompt_frames,
        replan_every=replan_every,
        warm_up=lambda _: np.tile(first[:2], env.num_parts),
        seed=seed,
    )

    random_ends = [target.distance(_act_randomly(env, seed, index, len(episode))) for index in range(num_random)]
    frames = _pictures(episode.frames)
    return PlannedEpisode(
        frames=frames,
        imagined=_expected(frames, episode),
        goal=target.frame,
        actions=torch.from_numpy(episode.actions),
        rate_hz=SIMULATOR_RATE_HZ / (env.frame_skip * env.num_parts),
        seed=seed,
        start=target.distance(first),
        end=target.distance(episode.infos[-1]["state"]),
        random_end=_mean(random_ends),
        num_random=num_random,
        num_plans=len(episode.imagined),
        num_evaluations=sum(imagination.plan.num_evaluations for imagination in episode.imagined),
        statuses=Counter(imagination.plan.status for imagination in episode.imagined),
    )


def read_goal(path: str | Path, *, size: int) -> Tensor:
    """A goal (3, size, size) in [0, 1]: a picture (png, jpg, webp, bmp), or the last frame of a video.

    Raises:
        VideoError: if the file cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in _PICTURES:
        return to_float(read_video(path, size=size).frames[-1])
    try:
        with av.open(f"file:{path.absolute()}", options={"format_whitelist": _PICTURE_FORMATS, "max_pixels": str(MAX_PIXELS)}) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError, StopIteration, ValueError, IndexError) as error:
        raise VideoError(f"{path}: not readable as a picture ({error})") from error
    return resize_frames(_pictures(picture[None]), size)[0]


class _PushTInParts(PushT):
    """Push-T whose action is several targets side by side, (2 * num_parts,), each held for as long as the others."""

    def __init__(self, *, size: int, frame_skip: int, num_parts: int) -> None:
        super().__init__(size=size, frame_skip=frame_skip // num_parts)
        self.num_parts = num_parts
        self.action_space = gymnasium.spaces.Box(0.0, ARENA_SIZE, (2 * num_parts,), np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Each target in turn; the result is that of the last."""
        first, *others = np.split(np.asarray(action), self.num_parts)
        result = super().step(first)
        for target in others:
            result = super().step(target)
        return result


def _pusht_of(world: World) -> _PushTInParts:
    """Push-T at the rate of the world, and with its actions."""
    rate_hz = world.config.rate_hz
    dim = 0 if world.action_spec is None else world.action_spec.dim
    if dim == 0 or dim % 2 or rate_hz is None:
        raise ValueError(
            "this world cannot act in Push-T: it needs two actions, or twice as many, and one frame rate; train one with `worldline train "
            "push`, or choose the action space `push` of a world that has it"
        )
    frame_skip = round(SIMULATOR_RATE_HZ / rate_hz)
    if frame_skip < 1 or abs(frame_skip * rate_hz - SIMULATOR_RATE_HZ) > 0.01 * SIMULATOR_RATE_HZ:
        raise ValueError(f"this world runs at {rate_hz:g} Hz; Push-T runs at {SIMULATOR_RATE_HZ:g} Hz or a whole fraction of it")
    if frame_skip % (dim // 2):
        raise ValueError(f"{dim // 2} targets do not fit evenly into the {frame_skip} steps of the simulator that a frame takes")
    return _PushTInParts(size=world.config.tokenizer.image_size, frame_skip=frame_skip, num_parts=dim // 2)


def _planner(world: World, objective: GoalPicture, config: PlannerConfig) -> WarmStartPlanner:
    match config:
        case CEMConfig():
            return CEM(world, objective, config)
        case MPPIConfig():
            return MPPI(world, objective, config)
        case RandomShootingConfig():
            return RandomShooting(world, objective, config)


def _goal_of(frame: Tensor) -> _Goal:
    """The goal that a picture shows."""
    agent = find_agent(frame)
    if not bool(agent.isfinite().all()):
        raise ValueError("no agent (the blue disc) is seen in the goal picture; give a frame of Push-T, as the simulator draws it")
    return _Goal(frame=frame, agent=agent, state=None)


def _send_elsewhere(env: _PushTInParts, seed: int) -> _Goal:
    """The scene of `seed` after the simulator has sent the agent far away, past the block if it can be."""
    generator = np.random.default_rng([seed, 1])
    _, info = env.reset(seed=seed)
    start = info["state"]
    points = generator.uniform(_WALL, ARENA_SIZE - _WALL, (1000, 2))
    far = (np.linalg.norm(points - start[:2], axis=1) > _JOURNEY) & (np.linalg.norm(points - start[2:4], axis=1) > _BLOCK)
    for target in points[far][:_GOAL_TRIES]:
        env.reset(seed=seed)
        for _ in range(_GOAL_STEPS):
            *_, info = env.step(np.tile(target, env.num_parts))
        if np.abs(info["state"][2:4] - start[2:4]).max() < 1:
            break
    state = info["state"]
    return _Goal(frame=_pictures(env.render()[None])[0], agent=agent_pixel_position(torch.from_numpy(state), env.size), state=state)


def _act_randomly(env: _PushTInParts, seed: int, index: int, num_steps: int) -> np.ndarray:
    """The state (7,) after `num_steps` of a policy that sends the agent to a new random point at each step."""
    generator = np.random.default_rng([seed, 2, index])
    _, info = env.reset(seed=seed)
    for _ in range(num_steps):
        *_, info = env.step(np.tile(generator.uniform(0, ARENA_SIZE, 2), env.num_parts))
    return info["state"]


def _mean(distances: list[GoalDistance]) -> GoalDistance:
    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return GoalDistance(
        agent_px=sum(distance.agent_px for distance in distances) / len(distances),
        block_px=mean([distance.block_px for distance in distances]),
        block_degrees=mean([distance.block_degrees for distance in distances]),
    )


def _expected(frames: Tensor, episode: Episode) -> Tensor:
    """What the latest plan before each frame expected there; the real frame where there was no plan yet."""
    expected = frames.clone()
    for imagination in episode.imagined:
        ahead = imagination.frames[: len(frames) - 1 - imagination.start]
        expected[imagination.start + 1 : imagination.start + 1 + len(ahead)] = ahead
    return expected


def _pictures(frames: np.ndarray) -> Tensor:
    """The simulator's drawings (T, H, W, 3) as (T, 3, H, W) in [0, 1]."""
    return to_float(torch.from_numpy(frames)).permute(0, 3, 1, 2).contiguous()
