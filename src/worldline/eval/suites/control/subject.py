"""What is measured: a learned world that sees pictures, or the true simulator in its place, behind one face.

May import: envs, reward, world, torch, numpy, `tasks`, `pairs`. Refuses to know: planners, figures.

Shapes: P frames of a prompt, S tokens, C channels, A components of the world's action, a of the simulator's, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from worldline.envs.simulator import Simulator
from worldline.envs.simulator_world import SimulatorWorld
from worldline.eval.suites.control.pairs import Pair, goal_tensor
from worldline.eval.suites.control.tasks import StateGoal, Task
from worldline.interfaces import Objective, Rollout, State
from worldline.interfaces import World as AnyWorld
from worldline.reward import GoalPicture
from worldline.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How one action of a world becomes actions of a simulator that runs faster.

    Attributes:
        frame_skip: simulator frames per frame of the world.
        held: whether one action (a,) is held for all of them; else the world's action is all of theirs side by side.
        num_components: a, of one action of the simulator.
    """

    frame_skip: int
    held: bool
    num_components: int

    @property
    def actions_per_frame(self) -> int:
        """Actions (a,) that lie side by side in one of the world."""
        return 1 if self.held else self.frame_skip

    def unpack(self, action: np.ndarray) -> np.ndarray:
        """An action (A,) of the world -> (frame_skip, a)."""
        return np.repeat(action[None], self.frame_skip, axis=0) if self.held else action.reshape(self.frame_skip, self.num_components)

    def pack(self, actions: np.ndarray) -> np.ndarray:
        """Actions (n * frame_skip, a) -> (n, A); the mean of those that a world would have held."""
        groups = actions.reshape(-1, self.frame_skip, self.num_components)
        return groups.mean(1) if self.held else groups.reshape(len(groups), -1)

    def hold(self, action: np.ndarray, num_frames: int) -> Tensor:
        """An action (a,) of the simulator, done again and again for frames of the world: (num_frames, A), float32."""
        again = np.repeat(np.asarray(action, np.float32)[None], num_frames * self.frame_skip, axis=0)
        return torch.from_numpy(self.pack(again))


@dataclass(kw_only=True, slots=True)
class History:
    """What has happened in an attempt, at the simulator's rate: frames (3, H, W) and the actions (a,) between them, the context first."""

    pair: Pair
    frames: list[Tensor]
    actions: list[np.ndarray]
    taken: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, pair: Pair) -> "History":
        """At the start."""
        before = len(pair.context) - 1
        return cls(pair=pair, frames=list(pair.context), actions=list(pair.actions[len(pair.actions) - before :]))

    def add(self, action: np.ndarray, frame: Tensor) -> None:
        """One more frame, which `action` led to."""
        self.actions.append(action)
        self.taken.append(action)
        self.frames.append(frame)

    def hold(self, packing: Packing, num_frames: int) -> Tensor | None:
        """A first plan (num_frames, A): the latest action again and again; None if there is none.

        Where actions are places to go to, the middle of the bounds is a jump across the table; what was done last is near what comes next.
        """
        return packing.hold(self.actions[-1], num_frames) if self.actions else None


class Subject(Protocol):
    """A world that plans are made in, and how it looks at what really happens."""

    @property
    def world(self) -> AnyWorld:
        """In which plans are made."""
        ...

    @property
    def packing(self) -> Packing:
        """How its actions become the simulator's."""
        ...

    @property
    def can_batch(self) -> bool:
        """Whether plans of several attempts can be made together."""
        ...

    def look(self, *histories: History) -> State:
        """The state, a row each, after what has happened in attempts that are equally far on."""
        ...

    def objective(self, pairs: Sequence[Pair], state: State) -> Objective:
        """The distance to the goals of pairs, whose rows lie one after the other; `state` is that of their starts."""
        ...

    def objective_of(self, objective: Objective, rows: Sequence[int]) -> Objective:
        """What `objective` returned, for some of the pairs."""
        ...


class LearnedSubject:
    """A learned world, which sees the last `prompt_frames` frames and the picture of the goal.

    Raises:
        ValueError: if the world's actions or rate do not fit the simulator's.
    """

    def __init__(self, world: World, simulator: Simulator, *, prompt_frames: int) -> None:
        self.world: World = world
        self.packing = packing_of(world, simulator)
        self.prompt_frames = prompt_frames

    @property
    def can_batch(self) -> bool:
        """See `Subject.can_batch`."""
        return True

    @torch.no_grad()
    def look(self, *histories: History) -> State:
        """See `Subject.look`."""
        skip, length = self.packing.frame_skip, len(histories[0].frames)
        count = min(self.prompt_frames, (length - 1) // skip + 1)
        span = (count - 1) * skip
        frames = torch.stack([torch.stack(history.frames[length - 1 - span :: skip]) for history in histories])
        actions = None
        if count > 1:
            packed = [self.packing.pack(np.stack(history.actions[len(history.actions) - span :])) for history in histories]
            actions = torch.from_numpy(np.stack(packed).astype(np.float32))
        device = self.world.tokenizer.encoder_position.device
        return self.world.prompt(frames.to(device), None if actions is None else actions.to(device))

    @torch.no_grad()
    def objective(self, pairs: Sequence[Pair], state: State) -> Objective:
        """See `Subject.objective`: between pictures, of the frame that comes nearest, since a pair is solved by being there once."""
        return GoalPicture(torch.stack([self.goal_latent(pair) for pair in pairs]), state.latent, self.world.decode)

    def objective_of(self, objective: Objective, rows: Sequence[int]) -> Objective:
        """See `Subject.objective_of`."""
        assert isinstance(objective, GoalPicture)
        return objective.select(rows)

    @torch.no_grad()
    def goal_latent(self, pair: Pair) -> Tensor:
        """(S, C): the picture of the goal, as if nothing moved in it."""
        still = pair.goal_frame.expand(self.world.config.tokenizer.window, -1, -1, -1)
        return self.world.prompt(still[None].to(self.world.tokenizer.encoder_position.device)).latent[0]


class SimulatorSubject:
    """The true simulator, which is shown the truth: what its planners miss is their own fault.

    Args:
        task: what counts as solved; the objective is its continuous form.
        simulator: a second one beside that which is acted in.
        packing: as of the world that it stands in for.
        size: side of its pictures.
    """

    def __init__(self, task: Task, simulator: Simulator, packing: Packing, *, size: int) -> None:
        self.task, self.packing = task, packing
        self.world: SimulatorWorld = SimulatorWorld(
            simulator, size=size, frame_skip=packing.frame_skip, held=packing.held, nearly=True, read=lambda: task.read(simulator)
        )

    @property
    def can_batch(self) -> bool:
        """See `Subject.can_batch`."""
        return False

    def look(self, *histories: History) -> State:
        """See `Subject.look`."""
        (history,) = histories
        pair = history.pair
        return self.world.start(pair.seed, pair.attributes, np.concatenate([pair.actions, *(action[None] for action in history.taken)]))

    def objective(self, pairs: Sequence[Pair], state: State) -> Objective:
        """See `Subject.objective`."""
        (pair,) = pairs
        return StateGoal(task=self.task, start=goal_tensor(pair.start), goal=goal_tensor(pair.goal))

    def objective_of(self, objective: Objective, rows: Sequence[int]) -> Objective:
        """See `Subject.objective_of`."""
        assert list(rows) == [0], "there is one pair at a time"
        return objective


def packing_of(world: World, simulator: Simulator) -> Packing:
    """How a learned world's actions fit a simulator.

    Raises:
        ValueError: if they do not.
    """
    assert simulator.action_spec is not None
    dim, rate = simulator.action_spec.dim, world.config.rate_hz
    frame_skip = 1 if rate is None else round(simulator.rate_hz / rate)
    if rate is not None and (frame_skip < 1 or abs(frame_skip * rate - simulator.rate_hz) > 0.01 * simulator.rate_hz):
        raise ValueError(f"the world runs at {rate:g} Hz, {simulator.name} at {simulator.rate_hz:g} Hz or a whole fraction of it")
    if world.action_spec is None or world.action_spec.dim not in (dim, dim * frame_skip):
        has = 0 if world.action_spec is None else world.action_spec.dim
        raise ValueError(f"the world's actions have {has} components; {simulator.name} needs {dim}, held, or {dim * frame_skip}")
    held = world.action_spec.dim == dim and frame_skip > 1
    wanted = simulator.action_spec.low * (1 if held else frame_skip), simulator.action_spec.high * (1 if held else frame_skip)
    if not (np.allclose(wanted[0], world.action_spec.low) and np.allclose(wanted[1], world.action_spec.high)):
        raise ValueError(
            f"the world's actions are bounded by {world.action_spec.low} and {world.action_spec.high}, those of {simulator.name} by "
            f"{wanted[0]} and {wanted[1]}; choose the environment that the world was trained in"
        )
    return Packing(frame_skip=frame_skip, held=held, num_components=dim)


def plain_packing(simulator: Simulator) -> Packing:
    """One frame of the simulator per frame of the world."""
    assert simulator.action_spec is not None
    return Packing(frame_skip=1, held=False, num_components=simulator.action_spec.dim)


def costs_now(objective: Objective, latents: Tensor) -> list[float]:
    """The costs of latents (P, S, C), one of each problem: minus the objective's scores of them, each by itself."""
    now = Rollout(latents=latents[None, :, None], actions=None, state=State(latent=latents, position=0))
    with torch.no_grad():
        return (-objective(now)).tolist()
