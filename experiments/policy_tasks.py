"""The two tasks of `policy_in_imagination.py`: what is rewarded, which recordings contexts come from, and the simulator behind them.

Shapes: E episodes, T frames of the world, S tokens, C channels, A action components, K numbers that the reward is computed from.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from worldline.data import EpisodeStore
from worldline.envs.pusht import ARENA_SIZE, GOAL_POSE, block_pixel_pose, collect_pusht, pusht_action_spec
from worldline.envs.pusht.policies import MARGIN, Pusher
from worldline.envs.record import Split, draw_attributes, simulator_seed
from worldline.envs.seen_world import PushTScene, Scene, SharedScene, SimulatorScene
from worldline.envs.zoo import load_domain
from worldline.interfaces import ActionSpec, Policy, State
from worldline.world import World

HALF = ARENA_SIZE / 2


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Episodes of one length: latents (E, T, S, C), frames (E, T, 3, H, W) uint8, actions (E, T, A), known (E, T, K), where a simulator
    can begin, `places[episode][frame]`, and which episodes show somebody at the task, (E,) bool."""

    latents: Tensor
    frames: Tensor
    actions: Tensor
    known: Tensor
    places: Any
    shown: Tensor


class Task(Protocol):
    """A reward of what a probe can read off latents, and everything that has it."""

    action_spec: ActionSpec
    names: tuple[str, ...]
    """Of pairs of the K numbers, for the probe's errors."""
    scale: float
    """What an error of the probe is divided by; about half of what is in the picture."""
    up: int
    """1 if y is upwards, else -1."""

    def known(self, truth: Tensor) -> Tensor:
        """(..., K) of a simulator's ground truth (..., D)."""
        ...

    def reward(self, known: Tensor) -> Tensor:
        """Of (..., K)."""
        ...

    def away(self, known: Tensor) -> Tensor:
        """How far from the goal, (...)."""
        ...

    def scenes(self, count: int) -> Sequence[Scene]:
        """Rows of simulators."""
        ...

    def recordings(self, world: World, count: int, *, held_out: bool, first: int = 0) -> Recordings:
        """Episodes that latents, probe, clone and contexts are made of, or others that policies are run from."""
        ...

    def still(self, state: State) -> Tensor:
        """The action that changes least."""
        ...

    def scripted(self) -> Policy:
        """The recordings' own way to the goal, which knows the truth."""
        ...


class PushTask:
    """Bring Push-T's block to the middle of the table, whatever its angle, and stay at it:

    reward = 1 - |block's centre - goal| / 256 - 1/4 max(0, |disc - block's centre| - 60) / 256

    The recordings are filmed here and kept below `films`: in turn one of the mixture of pushers that the package's world was trained on,
    and one of the pusher that brings the block to the goal, which is the task shown. Both have seeds of their own.
    """

    action_spec: ActionSpec = pusht_action_spec()
    names: tuple[str, ...] = ("disc", "block")
    scale: float = HALF
    up: int = -1

    num_frames = 40
    _SHOWN: tuple[Literal["mixture", "goal"], ...] = ("mixture", "goal")

    def __init__(self, films: Path, world: World) -> None:
        self._films = films
        skip = round(10 / float(world.config.rate_hz or 2.5))
        self._options = {"size": world.config.tokenizer.image_size, "frame_skip": skip}
        self._goal = self.known(torch.tensor([0.0, 0.0, *GOAL_POSE, 0.0, 0.0]))[2:]

    def known(self, truth: Tensor) -> Tensor:
        """Disc x, y and block's centre x, y."""
        return torch.cat([truth[..., :2], block_pixel_pose(truth[..., :7], int(ARENA_SIZE))[..., :2] + 0.5], -1)

    def reward(self, known: Tensor) -> Tensor:
        """See `Task.reward`."""
        away = (known[..., 2:] - self._goal.to(known)).square().sum(-1).add(1).sqrt()
        apart = (known[..., :2] - known[..., 2:]).square().sum(-1).add(1).sqrt()
        return 1 - away / HALF - 0.25 * (apart - 60).clamp_min(0) / HALF

    def away(self, known: Tensor) -> Tensor:
        """See `Task.away`."""
        return (known[..., 2:] - self._goal).norm(dim=-1)

    def scenes(self, count: int) -> Sequence[Scene]:
        """See `Task.scenes`."""
        return [PushTScene(**self._options) for _ in range(count)]

    @torch.no_grad()
    def recordings(self, world: World, count: int, *, held_out: bool, first: int = 0) -> Recordings:
        """Filmed under other seeds where they are held out."""
        stores = [self._store(policy, held_out, -(-(first + count) // len(self._SHOWN))) for policy in self._SHOWN]
        chosen = [(stores[number % 2], stores[number % 2].episodes[number // 2]) for number in range(first, first + count)]

        def rows(name: str) -> Tensor:
            return torch.stack([store.arrays[name][e.start : e.start + e.num_frames] for store, e in chosen])

        frames, states = rows("frames"), rows("states").float()
        return Recordings(
            latents=_encoded(world, frames),
            frames=frames,
            actions=rows("actions").float(),
            known=self.known(states),
            places=states.double().numpy(),
            shown=torch.tensor([self._SHOWN[number % 2] == "goal" for number in range(first, first + count)]),
        )

    def _store(self, policy: Literal["mixture", "goal"], held_out: bool, count: int) -> EpisodeStore:
        seed = 1000 + 2 * held_out + self._SHOWN.index(policy)
        folder = self._films / f"{policy}-{seed}-{count}"
        if (folder / "store.json").is_file():
            return EpisodeStore.open(folder)
        clips = collect_pusht(count, num_frames=self.num_frames, seed=seed, policy=policy, **self._options)
        return EpisodeStore.build(folder, clips, action_spec=self.action_spec)

    def still(self, state: State) -> Tensor:
        """See `Task.still`: the disc's own place."""
        return state.heads["truth"][:, :2]

    def scripted(self) -> Policy:
        """See `Task.scripted`."""
        pushers: list[Pusher] = []
        position = 0

        def policy(state: State) -> Tensor:
            nonlocal pushers, position
            if not pushers or state.position <= position:  # new episodes
                pushers = [Pusher(np.random.default_rng(row), to_goal=True) for row in range(state.batch_size)]
            position = state.position
            targets = [pusher(row[:7]) for pusher, row in zip(pushers, state.heads["truth"].double().numpy(), strict=True)]
            return torch.tensor([[target.real, target.imag] for target in targets]).float().clamp(MARGIN, ARENA_SIZE - MARGIN)

        return policy


class ReacherTask:
    """Bring the finger of a two-link arm to its target and keep it there, by torques: reward = 1 - |finger - target| / 0.24 m.

    The recordings are filmed here, three quarters of the zoo's policy `swing` and one of `reach`; a frame of the world is `frame_skip`
    frames of 0.05 s, with a torque for each. What was filmed is kept below `films`.
    """

    names: tuple[str, ...]
    scale: float = 0.24
    up: int = 1
    num_frames = 20

    def __init__(self, films: Path, world: World, *, elbow: bool = False) -> None:
        self._films = films
        self.names = ("finger", "target", "elbow") if elbow else ("finger", "target")
        self._size = world.config.tokenizer.image_size
        kind = load_domain("reacher")
        assert kind.action_spec is not None
        self._frame_skip = round(kind.rate_hz / float(world.config.rate_hz or kind.rate_hz))
        low, high = (np.tile(bound, self._frame_skip) for bound in (kind.action_spec.low, kind.action_spec.high))
        self.action_spec = ActionSpec(low=tuple(low.tolist()), high=tuple(high.tolist()))

    def known(self, truth: Tensor) -> Tensor:
        """Finger x, y and target x, y; then the elbow's, if asked for: a finger's place does not say which way the arm bends."""
        if len(self.names) == 2:
            return truth[..., 4:8]
        return torch.cat([truth[..., 4:8], 0.12 * torch.stack([truth[..., 0].cos(), truth[..., 0].sin()], -1)], -1)

    def reward(self, known: Tensor) -> Tensor:
        """See `Task.reward`."""
        return 1 - (known[..., :2] - known[..., 2:4]).square().sum(-1).add(1e-6).sqrt() / self.scale

    def away(self, known: Tensor) -> Tensor:
        """See `Task.away`."""
        return (known[..., :2] - known[..., 2:4]).norm(dim=-1)

    def scenes(self, count: int) -> Sequence[Scene]:
        """See `Task.scenes`: all of one simulator."""
        simulator = load_domain("reacher")()
        return [SharedScene(simulator, size=self._size, frame_skip=self._frame_skip) for _ in range(count)]

    def recordings(self, world: World, count: int, *, held_out: bool, first: int = 0) -> Recordings:
        """Of the zoo's split `train` or `validation`."""
        split: Split = "validation" if held_out else "train"
        scene = SimulatorScene(load_domain("reacher")(), size=self._size, frame_skip=self._frame_skip)
        path = self._films / f"{split}-{first}-{count}-{self._size}-{self._frame_skip}.pickle"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps([self._film(scene, first + number, split) for number in range(count)]))
        films = pickle.loads(path.read_bytes())
        frames, actions, truth, moments = zip(*films, strict=True)
        scene.simulator.close()
        seen = torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3)
        return Recordings(
            latents=_encoded(world, seen),
            frames=seen,
            actions=torch.from_numpy(np.stack(actions)).float(),
            known=self.known(torch.from_numpy(np.stack(truth)).float()),
            places=moments,
            shown=torch.tensor([_goes_to_target(first + number) for number in range(count)]),
        )

    def _film(self, scene: SimulatorScene, number: int, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Any]]:
        simulator, seed = scene.simulator, simulator_seed(number, split)
        attributes = draw_attributes(simulator, seed=number, split=split)
        simulator.reset(seed, attributes)
        act = simulator.policy("reach" if _goes_to_target(number) else "swing", np.random.default_rng([seed, 1]))
        frames, actions, truth, moments = [], [], [], []
        for _ in range(self.num_frames):
            frames.append(scene.picture().copy())
            truth.append(scene.truth())
            moments.append(scene.moment(seed, attributes))
            done = []
            for _ in range(self._frame_skip):
                done.append(np.asarray(act(), np.float32))
                simulator.step(done[-1])
            actions.append(np.concatenate(done))
        return np.stack(frames), np.stack(actions), np.stack(truth), moments

    def still(self, state: State) -> Tensor:
        """See `Task.still`: no torque, so the arm coasts."""
        return torch.zeros(state.batch_size, self.action_spec.dim)

    def scripted(self) -> Policy:
        """See `Task.scripted`: the joint angles of the target, and a spring to them, held for a frame of the world."""

        def policy(state: State) -> Tensor:
            angle, speed, target = (state.heads["truth"][:, part].double() for part in (slice(0, 2), slice(2, 4), slice(6, 8)))
            distance = target.norm(dim=-1).clamp_max(0.239)
            elbow = (distance.square() / (2 * 0.12**2) - 1).clamp(-1, 1).acos() * torch.where(angle[:, 1] >= 0, 1, -1)
            shoulder = torch.atan2(target[:, 1], target[:, 0]) - elbow / 2
            error = torch.stack([(shoulder - angle[:, 0] + torch.pi) % (2 * torch.pi) - torch.pi, elbow - angle[:, 1]], -1)
            return (0.6 * error - 0.22 * speed).clamp(-1, 1).float().repeat(1, self._frame_skip)

        return policy


def _goes_to_target(number: int) -> bool:
    return number % 4 == 0


@torch.no_grad()
def _encoded(world: World, frames: Tensor) -> Tensor:
    return torch.cat([world.tokenizer.encode(some.float() / 255) for some in frames.split(4)])
