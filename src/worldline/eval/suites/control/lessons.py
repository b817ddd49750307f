"""Episodes that policies are regressed on, as a subject sees them: filmed for the purpose, or out of a store of recordings.

May import: data, envs, torch, its siblings. Refuses to know: what is learned from them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from worldline.data import EpisodeStore, to_float
from worldline.envs.record import draw_attributes, simulator_seed
from worldline.envs.simulator import Simulator
from worldline.eval.suites.control.subject import LearnedSubject, Subject
from worldline.eval.suites.control.tasks import Task

_NUM_FRAMES = 64  # of an episode
_POLICY = 7  # apart from the other randomness of an episode
_STILLS = 256  # encoded at once
_OTHERS_EVERY = 5  # episodes; the others are of the domain's most interesting policy


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """Episodes of the split `train` as a subject sees them.

    Attributes:
        latents: (T, S, C) of each.
        actions: (T - 1, A) of the world.
        goals: (T, S, C), the frames as goals are shown: as if nothing moved.
    """

    latents: list[Tensor] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)
    goals: list[Tensor] = field(default_factory=list)


def lessons(
    subject: Subject,
    task: Task,
    simulator: Simulator,
    *,
    num_episodes: int,
    size: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Lessons:
    """Film training episodes and look at them, four of five by the most interesting policy and the others by the other ones in turn.

    Where a world's action is held for several frames of the simulator, so it is here: the policy is asked once per frame of the world. What
    led to a frame is then known exactly.
    """
    found = Lessons()
    for episode in range(num_episodes):
        done, frames = _film(subject, simulator, episode, size)
        if isinstance(subject, LearnedSubject):
            _look(subject, found, frames)
        else:
            found.latents.append(_read_again(subject, task, simulator, episode, done))
            found.goals.append(found.latents[-1])
        found.actions.append(torch.from_numpy(subject.packing.pack(done).astype(np.float32)))
        progress(episode + 1)
    return found


def recorded_lessons(subject: LearnedSubject, store: EpisodeStore, *, progress: Callable[[int], None] = lambda count: None) -> Lessons:
    """Look at the episodes of a store that have actions, at the world's rate and of its size.

    Raises:
        ValueError: if there are none, or their actions are not the world's.
    """
    world, found = subject.world, Lessons()
    theirs, ours = (None if spec is None else (spec.low, spec.high) for spec in (store.action_spec, world.action_spec))
    if theirs != ours:
        raise ValueError(f"{store.folder}: its actions are bounded by {theirs}, the world's by {ours}; give recordings of its domain")
    rate, side = world.config.rate_hz, world.config.tokenizer.image_size
    if store.frame_size != (side, side):
        raise ValueError(f"{store.folder}: its frames are of {store.frame_size} pixels, the world's of {(side, side)}")
    for index, episode in enumerate(store.episodes):
        clip = store.episode(index)
        if clip.actions is None or len(clip) < 2 or rate not in (None, episode.rate_hz):
            continue
        _look(subject, found, to_float(clip.frames))
        found.actions.append(clip.actions[:-1].clone())
        progress(index + 1)
    if not found.actions:
        wanted = "" if rate is None else f" at {rate:g} Hz"
        raise ValueError(f"{store.folder}: none of {len(store)} episodes has two frames or more and actions{wanted}")
    return found


def _look(subject: LearnedSubject, found: Lessons, frames: Tensor) -> None:
    found.latents.append(_encoded(subject, frames[None])[0])
    stills = frames[:, None].expand(-1, subject.world.config.tokenizer.window, -1, -1, -1).split(_STILLS)
    found.goals.append(torch.cat([_encoded(subject, some)[:, -1] for some in stills]))


def _film(subject: Subject, simulator: Simulator, episode: int, size: int) -> tuple[np.ndarray, Tensor]:
    """Actions (n, a) of the simulator and the frames of the world (n / frame_skip + 1, 3, H, W) of one episode."""
    packing, spec, others = subject.packing, simulator.action_spec, simulator.policy_names[1:]
    assert spec is not None
    turn, rest = divmod(episode, _OTHERS_EVERY)
    name = others[turn % len(others)] if others and rest == _OTHERS_EVERY - 1 else simulator.policy_names[0]
    seed = simulator_seed(episode, "train")
    simulator.reset(seed, draw_attributes(simulator, seed=episode, split="train"))
    act = simulator.policy(name, np.random.default_rng([seed, _POLICY]))
    action, done, pictures = np.zeros(0), [], [simulator.render(size).copy()]
    for index in range((_NUM_FRAMES - 1) // packing.frame_skip * packing.frame_skip):
        if index % packing.frame_skip == 0 or not packing.held:
            action = np.clip(np.asarray(act(), np.float32), *(np.array(bound, np.float32) for bound in (spec.low, spec.high)))
        simulator.step(action)
        done.append(action)
        if (index + 1) % packing.frame_skip == 0:
            pictures.append(simulator.render(size).copy())
    return np.stack(done), to_float(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


@torch.no_grad()
def _encoded(subject: LearnedSubject, frames: Tensor) -> Tensor:
    """Latents (B, T, S, C) of films (B, T, 3, H, W), in half precision: thousands are kept."""
    like = subject.world.tokenizer.encoder_position
    return subject.world.tokenizer.encode(frames.to(like)).half().cpu()


def _read_again(subject: Subject, task: Task, simulator: Simulator, episode: int, done: np.ndarray) -> Tensor:
    """What the task reads at each frame of the world, (T, 1, D)."""
    simulator.reset(simulator_seed(episode, "train"), draw_attributes(simulator, seed=episode, split="train"))
    read = [task.read(simulator)]
    for index, action in enumerate(done):
        simulator.step(action)
        if (index + 1) % subject.packing.frame_skip == 0:
            read.append(task.read(simulator))
    return torch.from_numpy(np.stack(read)).float()[:, None]
