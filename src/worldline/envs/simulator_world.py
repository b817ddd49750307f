"""A true simulator as a `World`, so that planners plan in it as they do in a learned one: what is left is the planner's own error.

    world = SimulatorWorld(start_domain("reacher"))
    state = world.start(seed=3, attributes=draw_attributes(...))
    plan = CEM(world, objective).plan(state)

May import: interfaces, envs.simulator, numpy, torch. Refuses to know: which simulator it is, objectives, planners.

Shapes: B batch, M samples, T frames, D components of the simulator's state, A action components.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldline.envs.simulator import Simulator, Value
from worldline.interfaces import ActionSpec, Rollout, State, evaluations_per_frame

_KEPT = 1024
"""States that a `SimulatorWorld` keeps to go on from."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Branch:
    """Where one row is: an episode, and all actions since its start (num_frames, A), as the simulator was given them.

    `parent` is the branch that it went on from, if it was made by `then`.
    """

    seed: int
    attributes: Mapping[str, Value]
    actions: tuple[np.ndarray, ...] = ()
    parent: "Branch | None" = None

    def then(self, actions: Sequence[np.ndarray]) -> "Branch":
        """The branch that goes on with `actions`."""
        return replace(self, actions=(*self.actions, *actions), parent=self)

    def before(self, count: int) -> "Branch":
        """The branch without its last `count` actions."""
        return replace(self, actions=self.actions[: len(self.actions) - count], parent=None)


class SimulatorWorld:
    """`World` whose frames are a simulator's. One latent token per frame, (1, D): the ground truth, float64, as `state_names` says.

    Deterministic: noise and seeds change nothing, and all samples are alike. **Not differentiable**: gradients do not reach the actions;
    wrap it in `FiniteDifferences` for planners that need them. A frame in which the simulator diverges is NaN, and all that follow it.

    Each row of a batch is run in turn from where its state is: by `Simulator.load` where that is exact, else by running the episode again
    from its seed, whose cost grows with the frames behind the state. The last thousand states that rows went on from, or ended in, are
    kept, so that what lies behind a tree's node is run once, and restored for each of its children.

    Args:
        simulator: of which the world becomes the owner.
        size: side of decoded pictures, in pixels.
        frame_skip: simulator frames per frame of the world.
        held: whether an action (A,) is held for `frame_skip` simulator frames; else an action of the world is `frame_skip` actions side by
            side, (frame_skip * A,), as in `WorldConfig`.
        nearly: also use `load` where it restores nearly, which is quick and a little wrong.
        read: what a latent is, (D,) float64, in place of the ground truth; for what a simulator knows besides.

    Raises:
        ValueError: if the domain has no actions, or a number is not positive.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        size: int = 64,
        frame_skip: int = 1,
        held: bool = False,
        nearly: bool = False,
        read: Callable[[], np.ndarray] | None = None,
    ) -> None:
        spec = simulator.action_spec
        if spec is None:
            raise ValueError(f"{simulator.name} has no actions, so there is nothing to plan; choose a domain that has")
        if size < 1 or frame_skip < 1:
            raise ValueError(f"size is {size} and frame_skip {frame_skip}; both must be at least 1")
        self.simulator, self.size = simulator, size
        self.frame_skip, self.held = frame_skip, held
        copies = 1 if held else frame_skip
        self.action_spec: ActionSpec | None = ActionSpec(low=spec.low * copies, high=spec.high * copies)
        self.noise_shape = (1, len(simulator.state_names))  # of noise that changes nothing
        self._read_state = read or simulator.state
        self._restores = simulator.restores == "exactly" or (nearly and simulator.restores == "nearly")
        self._num_components = self.noise_shape[1]
        self._episode: tuple[int, Mapping[str, Value]] | None = None
        self._saved: OrderedDict[Branch, Any] = OrderedDict()

    def start(self, seed: int, attributes: Mapping[str, Value], actions: np.ndarray | None = None) -> State:
        """The state of an episode, batch 1, after `actions` (T, A), each for one simulator frame; see `Simulator.reset`."""
        branch = Branch(seed=seed, attributes=attributes).then([] if actions is None else list(np.asarray(actions, np.float32)))
        self._go(branch)
        latent = torch.from_numpy(self._read())
        self._num_components = len(latent)
        return State(latent=latent[None, None], position=1 + len(branch.actions) // self.frame_skip, memory=(branch,))

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """The next state under `action` (B, A); no action is the middle of the bounds. See `interfaces.World.step`."""
        assert self.action_spec is not None
        if action is None:
            action = self.action_spec.denormalize(state.latent.new_zeros(state.batch_size, self.action_spec.dim))
        return self.rollout(state, action[:, None]).state

    def rollout(
        self,
        state: State,
        actions: Tensor,
        *,
        samples: int = 1,
        noise: Tensor | None = None,
        seed: int | None = None,
    ) -> Rollout:
        """Futures under `actions` (B, T, A), in float32 as simulators take them; see `interfaces.World.rollout`.

        Raises:
            ValueError: if the shapes do not fit, or an action is not finite.
        """
        assert self.action_spec is not None
        if actions.ndim != 3 or actions.shape[1] < 1 or actions.shape[2] != self.action_spec.dim or not actions.isfinite().all():
            raise ValueError(f"actions are {tuple(actions.shape)}; give finite (B, T, {self.action_spec.dim}) with at least one frame")
        batch, horizon, _ = actions.shape
        if state.batch_size not in (1, batch):
            raise ValueError(f"state has {state.batch_size} rows and actions have {batch}; give as many, or a state of one row")
        branches = state.memory * batch if state.batch_size == 1 else state.memory
        given = self._split(self.action_spec.clamp(actions.detach()))
        ends = tuple(branch.then(list(row.reshape(-1, row.shape[-1]))) for branch, row in zip(branches, given, strict=True))
        rows = [self._run(branch, row, end) for branch, row, end in zip(branches, given, ends, strict=True)]
        samples = samples if noise is None else noise.shape[0]
        latents = torch.from_numpy(np.stack(rows))[None, :, :, None].to(state.latent).expand(samples, -1, -1, -1, -1)
        end = State(latent=latents[:, :, -1].flatten(0, 1), position=state.position + horizon, memory=ends * samples)
        return Rollout(latents=latents, actions=actions, state=end)

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """The simulator's own pictures, of a state (B, 3, H, W) or a rollout (M, B, T, 3, H, W), in [0, 1].

        Raises:
            ValueError: for latents alone: colours and shapes are not part of the ground truth.
        """
        if isinstance(source, State):
            return torch.stack([self._pictures(branch, 1)[0] for branch in source.memory]).to(source.latent)
        if isinstance(source, Rollout):
            samples, batch, horizon = source.latents.shape[:3]
            films = [self._pictures(branch, horizon) for branch in source.state.memory[:batch]]
            return torch.stack(films)[None].to(source.latents).expand(samples, -1, -1, -1, -1, -1)
        raise ValueError("a simulator draws states and rollouts; latents alone do not say what the scene looks like")

    def fork(self, state: State, count: int) -> State:
        """`count` copies of each row, consecutive."""
        memory = tuple(branch for branch in state.memory for _ in range(count))
        return replace(state, latent=state.latent.repeat_interleave(count, dim=0), memory=memory)

    def select(self, state: State, rows: Tensor) -> State:
        """The state of rows (N,) of `state`, which may repeat; see `interfaces.SelectableWorld`."""
        return replace(state, latent=state.latent[rows], memory=tuple(state.memory[row] for row in rows.tolist()))

    def close(self) -> None:
        """Release the simulator."""
        self.simulator.close()

    def _split(self, actions: Tensor) -> np.ndarray:
        """Actions of the world (B, T, A') -> of the simulator (B, T, frame_skip, A)."""
        values = actions.float().cpu().numpy()
        if self.held:
            return np.repeat(values[:, :, None], self.frame_skip, axis=2)
        return values.reshape(*values.shape[:2], self.frame_skip, -1)

    def _run(self, branch: Branch, actions: np.ndarray, end: Branch) -> np.ndarray:
        """States (T, D) from `branch` on under `actions` (T, frame_skip, A), which lead to `end`."""
        states: list[np.ndarray] = []
        try:
            self._go(branch)
            for several in actions:
                for action in several:
                    self.simulator.advance(action)
                states.append(self._read())
            self._keep(end)
        except FloatingPointError:
            self._episode = None  # a simulation that diverged is no place to go on from
            self._saved.clear()
        missing = np.full((len(actions) - len(states), self._num_components), np.nan)
        return np.concatenate([np.stack(states), missing]) if states else missing

    def _pictures(self, branch: Branch, count: int) -> Tensor:
        """The last `count` frames (count, 3, size, size) on the way to the end of `branch`, that of its end last."""
        first = (count - 1) * self.frame_skip
        self._go(branch.before(first))
        taken = [self.simulator.render(self.size).copy()]
        for index, action in enumerate(branch.actions[len(branch.actions) - first :]):
            self.simulator.step(action)
            if (index + 1) % self.frame_skip == 0:
                taken.append(self.simulator.render(self.size).copy())
        return torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).float() / 255

    def _go(self, branch: Branch) -> None:
        """Bring the simulator to the end of `branch`."""
        if self._episode != (branch.seed, branch.attributes):
            self._saved.clear()
        behind: Branch | None = branch
        while behind is not None and behind not in self._saved:
            behind = behind.parent
        if behind is None:
            self.simulator.reset(branch.seed, branch.attributes)
            self._episode = (branch.seed, branch.attributes)
        else:
            self._saved.move_to_end(behind)
            self.simulator.load(self._saved[behind])
            if behind is branch:
                return
        for action in branch.actions[0 if behind is None else len(behind.actions) :]:
            self.simulator.advance(action)
        self._keep(branch)

    def _keep(self, branch: Branch) -> None:
        """Remember the simulator as it is, at the end of `branch`."""
        if self._restores:
            self._saved[branch] = self.simulator.save()
            if len(self._saved) > _KEPT:
                self._saved.popitem(last=False)

    def _read(self) -> np.ndarray:
        return np.asarray(self._read_state(), np.float64)


class FiniteDifferences:
    """`World` whose rollouts have gradients to their actions by central differences: 2 T A rollouts of the wrapped world per backward pass.

        d z / d a[t, i] = (z(a + h e[t, i]) - z(a - h e[t, i])) / 2h,   h = width * half the bounds of component i

    At a bound, which a simulator does not leave, the difference is one-sided.

    For worlds that have no gradient of their own, such as `SimulatorWorld`. No gradient reaches the state or the noise.

    Args:
        world: with actions.
        width: in units of half the action bounds; wide enough to be felt, since contacts make a simulator's outcome jump.

    Raises:
        ValueError: if the world has no actions, or the width is not positive.
    """

    def __init__(self, world: Any, *, width: float = 0.02) -> None:
        if world.action_spec is None or not width > 0:
            raise ValueError(f"width is {width} and action_spec {world.action_spec}; give a world with actions, and a positive width")
        self.world, self.width = world, width
        self.action_spec: ActionSpec | None = world.action_spec
        self.noise_shape: tuple[int, ...] = world.noise_shape

    @property
    def evaluations_per_frame(self) -> int:
        """Of the world inside."""
        return evaluations_per_frame(self.world)

    def backward_passes(self, num_frames: int) -> int:
        """Rollouts of the world inside that a gradient takes beside the one that it is of; see `interfaces.backward_passes`."""
        assert self.action_spec is not None
        return 2 * num_frames * self.action_spec.dim

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """See `interfaces.World.step`."""
        if action is None:
            return self.world.step(state, None, noise=noise, seed=seed)
        more = None if noise is None else noise[None, :, None]
        return self.rollout(state, action[:, None], noise=more, seed=seed).state

    def rollout(
        self,
        state: State,
        actions: Tensor,
        *,
        samples: int = 1,
        noise: Tensor | None = None,
        seed: int | None = None,
    ) -> Rollout:
        """See `interfaces.World.rollout`."""
        if noise is None and seed is None:
            seed = int(torch.randint(2**31, ()))  # the same noise on both sides of a difference
        with torch.no_grad():
            rollout = self.world.rollout(state, actions, samples=samples, noise=noise, seed=seed)
        if not (torch.is_grad_enabled() and actions.requires_grad):
            return rollout

        def again(changed: Tensor) -> Tensor:
            return self.world.rollout(state, changed, samples=samples, noise=noise, seed=seed).latents

        assert self.action_spec is not None
        half = actions.new_tensor([(high - low) / 2 for low, high in zip(self.action_spec.low, self.action_spec.high, strict=True)])
        latents = _Differences.apply(actions, rollout.latents, (again, self.action_spec), self.width * half)
        end = replace(rollout.state, latent=latents[:, :, -1].flatten(0, 1))
        return replace(rollout, latents=latents, state=end)

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """See `interfaces.World.decode`."""
        return self.world.decode(source)

    def fork(self, state: State, count: int) -> State:
        """See `interfaces.World.fork`."""
        return self.world.fork(state, count)


class _Differences(torch.autograd.Function):
    """Latents as they are, with a backward pass by differences."""

    @staticmethod
    def forward(ctx: Any, actions: Tensor, latents: Tensor, world: tuple[Any, ActionSpec], widths: Tensor) -> Tensor:
        ctx.save_for_backward(actions, widths)
        ctx.again, ctx.action_spec = world
        return latents.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # ty: ignore[incompatible-method-override]
        actions, widths = ctx.saved_tensors
        found = torch.zeros_like(actions)
        with torch.no_grad():
            for time in range(actions.shape[1]):
                for component in range(actions.shape[2]):
                    shift = torch.zeros_like(actions)
                    shift[:, time, component] = widths[component]
                    # An action changes nothing before it, so the frames before it add nothing, not even rounding.
                    up, down = (ctx.action_spec.clamp(actions + sign * shift) for sign in (1, -1))
                    change = (ctx.again(up) - ctx.again(down))[:, :, time:]
                    apart = (up - down)[:, time, component].clamp_min(torch.finfo(actions.dtype).tiny)
                    found[:, time, component] = (change * gradient[:, :, time:]).sum((0, 2, 3, 4)) / apart
        return found, None, None, None
