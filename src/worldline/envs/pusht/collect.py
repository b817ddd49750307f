"""Films scripted policies in Push-T.

May import: interfaces, numpy, torch. Refuses to know: files, models.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal, get_args

import numpy as np
import torch

from worldline.envs.pusht.policies import MARGIN, Aimer, Prober, Pusher, Wanderer
from worldline.envs.pusht.simulator import ARENA_SIZE, RATE_HZ, PushT, make_pusht
from worldline.interfaces import Clip

PolicyName = Literal["push", "goal", "wander", "probe", "aim", "mixture", "broad", "deft"]

MIXTURE = {"push": 0.6, "goal": 0.25, "wander": 0.15}
BROAD = {"push": 0.2, "goal": 0.15, "wander": 0.1, "probe": 0.55}
DEFT = {"push": 0.4, "goal": 0.1, "wander": 0.05, "aim": 0.45}
_SHARES: Mapping[str, Mapping[str, float]] = {"mixture": MIXTURE, "broad": BROAD, "deft": DEFT}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recording:
    """How every episode of one collection is filmed."""

    num_frames: int
    size: int
    seed: int
    policy: PolicyName
    frame_skip: int
    acts_per_frame: int


def collect_pusht(
    num_episodes: int,
    *,
    num_frames: int,
    size: int = 64,
    seed: int,
    policy: PolicyName = "mixture",
    frame_skip: int = 1,
    acts_per_frame: int = 1,
    num_workers: int = 1,
) -> Iterator[Clip]:
    """Film episodes of Push-T from random starts, one clip each.

    Episode `i` is a function of (seed, i) alone: bit-reproducible on one machine, whatever the number of workers or episodes.
    Episodes go on after success.

    Args:
        num_episodes: clips to yield, in order.
        num_frames: frames per clip, T.
        size: side of the square pictures in pixels.
        seed: start of all randomness; different seeds give disjoint episodes.
        policy: `push` (random pushes through the block), `goal` (pushes the block to the goal pose), `wander` (smooth noise that
            ignores the block), `probe` (pushes, and bursts of what a planner would try), `aim` (puts the block in one place after
            another, with corrections, and strolls in between), `mixture` (one of the first three per episode,
            60, 25 and 15 %), `broad` (push, goal, wander or probe, 20, 15, 10 and 55 %), for worlds that are planned in, or `deft`
            (push, goal, wander or aim, 40, 10, 5 and 45 %), for policies that are to reach goals, too.
        frame_skip: simulator steps of 0.1 s per frame.
        acts_per_frame: actions per frame, side by side, each held for as many steps; divides `frame_skip`.
        num_workers: processes that simulate; above 1, the calling script needs the usual `if __name__ == "__main__"`.

    Yields:
        Clips with frames (T, 3, size, size), actions (T, 2 acts_per_frame) in environment units, states (T, 7) as in `STATE_NAMES`,
        rewards (T,) the goal's coverage in that very frame, `rate_hz` 10 / frame_skip and source `pusht/<seed>/<episode>`.

    Raises:
        ImportError: if `gym-pusht` is not installed.
        ValueError: if an argument is out of range.
    """
    if policy not in get_args(PolicyName):
        raise ValueError(f"policy {policy!r} is unknown; choose one of {', '.join(get_args(PolicyName))}")
    if num_frames < 2 or num_workers < 1 or num_episodes < 0 or seed < 0:
        raise ValueError(
            f"got num_episodes={num_episodes}, num_frames={num_frames}, seed={seed}, num_workers={num_workers}; "
            "episodes and seed must be at least 0, frames at least 2, workers at least 1"
        )
    if acts_per_frame < 1 or frame_skip % acts_per_frame:
        raise ValueError(f"acts_per_frame is {acts_per_frame}; give a divisor of the {frame_skip} simulator steps of a frame")
    recording = _Recording(num_frames=num_frames, size=size, seed=seed, policy=policy, frame_skip=frame_skip, acts_per_frame=acts_per_frame)
    env = make_pusht(size, frame_skip=frame_skip // acts_per_frame)  # built before the iterator, so that errors come at the call
    if num_workers == 1:
        return (_to_clip(recording, episode, _film(env, recording, episode)) for episode in range(num_episodes))
    return _film_in_parallel(recording, num_episodes, num_workers)


def _film_in_parallel(recording: _Recording, num_episodes: int, num_workers: int) -> Iterator[Clip]:
    # Spawned, because a fork of a process in which torch has threads may hang.
    with ProcessPoolExecutor(num_workers, get_context("spawn"), _use_one_thread) as executor:
        pending: deque[tuple[int, Future[dict[str, np.ndarray]]]] = deque()
        try:
            for episode in range(num_episodes):
                pending.append((episode, executor.submit(_film_alone, recording, episode)))
                if len(pending) > 4 * num_workers:  # enough to keep everyone busy, few enough to bound memory
                    first, future = pending.popleft()
                    yield _to_clip(recording, first, future.result())
            for remaining, future in pending:
                yield _to_clip(recording, remaining, future.result())
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _use_one_thread() -> None:
    import cv2  # noqa: PLC0415  (comes with gym-pusht)

    cv2.setNumThreads(1)


def _film_alone(recording: _Recording, episode: int) -> dict[str, np.ndarray]:
    env = make_pusht(recording.size, frame_skip=recording.frame_skip // recording.acts_per_frame)
    return _film(env, recording, episode)


def _film(env: PushT, recording: _Recording, episode: int) -> dict[str, np.ndarray]:
    """One episode as arrays with T rows each; frames are HWC."""
    generator = np.random.default_rng([recording.seed, episode])
    frame, info = env.reset(seed=int(generator.integers(2**31)))
    act = _make_policy(recording.policy, generator)
    rows: dict[str, list[np.ndarray]] = {"frames": [], "actions": [], "states": [], "rewards": []}
    for step in range(recording.num_frames):
        before, last, actions = info, step + 1 == recording.num_frames, []
        for index in range(recording.acts_per_frame):
            target = act(info["state"])
            actions.append(np.array([target.real, target.imag], dtype=np.float32).clip(MARGIN, ARENA_SIZE - MARGIN))
            if not last or index + 1 < recording.acts_per_frame:
                info = env.advance(actions[-1])
        shown = ("frames", frame), ("actions", np.concatenate(actions)), ("states", before["state"]), ("rewards", before["coverage"])
        for name, value in shown:
            rows[name].append(value)
        frame = frame if last else env.render()
    return {name: np.stack(values) for name, values in rows.items()}


def _make_policy(name: PolicyName, generator: np.random.Generator) -> Callable[[np.ndarray], complex]:
    if name in _SHARES:
        shares = _SHARES[name]
        name = generator.choice(list(shares), p=list(shares.values()))
    if name == "wander":
        return Wanderer(generator)
    if name == "probe":
        return Prober(generator)
    if name == "aim":
        return Aimer(generator)
    return Pusher(generator, to_goal=name == "goal")


def _to_clip(recording: _Recording, episode: int, rows: dict[str, np.ndarray]) -> Clip:
    return Clip(
        frames=torch.from_numpy(rows["frames"]).permute(0, 3, 1, 2).contiguous(),
        rate_hz=RATE_HZ / recording.frame_skip,
        source=f"pusht/{recording.seed}/{episode}",
        actions=torch.from_numpy(rows["actions"]),
        states=torch.from_numpy(rows["states"]).float(),
        rewards=torch.from_numpy(rows["rewards"]).float(),
    )
