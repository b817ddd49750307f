"""The conformance test of the `World` protocol: put any backend through it before a planner trusts it.

May import: torch and `worldline.interfaces`. Refuses to know: any particular world, pytest.

Shapes: B batch, M samples, T frames, S tokens, C channels, A action dimensions, H height, W width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from worldline.interfaces import State, World

_NUM_ROWS = 3
_NUM_DIRECTIONS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One measured promise: the largest deviation, what is allowed, and what was compared."""

    name: str
    measured: float
    allowed: float
    detail: str

    @property
    def passed(self) -> bool:
        """Whether the deviation is within what is allowed; a deviation that is not a number is not."""
        return self.measured <= self.allowed

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {self.measured:.3g} (allowed {self.allowed:.3g}); {self.detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldReport:
    """What `check_world` measured, and what it could not check and why."""

    checks: tuple[Check, ...]
    skipped: tuple[str, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.checks), *(f"skip {reason}" for reason in self.skipped)])


class WorldCheckError(AssertionError):
    """A world broke its contract. The message lists every failure with its figures; `report` holds all checks."""

    def __init__(self, report: WorldReport) -> None:
        super().__init__(f"{len(report.failures)} of {len(report.checks)} checks failed:\n" + "\n".join(map(str, report.failures)))
        self.report = report


def check_world(
    world: World,
    state: State,
    *,
    actions: Tensor | None = None,
    horizon: int = 4,
    seed: int = 0,
    tolerance: float | None = None,
    gradient_tolerance: float | None = None,
) -> WorldReport:
    """Check that `world` keeps the promises of `interfaces.World`, starting from `state`.

    Equalities are judged relative to the largest magnitude compared; purity, determinism and random state must hold to the bit.
    Gradients are compared with central differences in the dtype of `state`: give a float64 world and state for a sharp answer.

    Args:
        world: the backend.
        state: where to start, batch 1.
        actions: (3, T, A) in environment units, three different rows; drawn within the bounds if None.
        horizon: T, frames per rollout, when `actions` is None; at least 2.
        seed: of everything that the checks draw.
        tolerance: for equalities up to rounding; 1e-9 in float64 and 1e-4 in float32 if None.
        gradient_tolerance: relative error of gradients; 1e-5 in float64 and 3e-2 in float32 if None.

    Raises:
        WorldCheckError: if any promise is broken, or a call fails; it names them all.
        ValueError: if `state` or `actions` has the wrong shape.
    """
    if state.batch_size != 1:
        raise ValueError(f"state has {state.batch_size} rows; check_world starts from a state of batch 1")
    double = state.latent.dtype == torch.float64
    checker = _Checker(world, state, _make_actions(world, state, actions, horizon, seed), seed)
    checker.tolerance = tolerance if tolerance is not None else (1e-9 if double else 1e-4)
    checker.gradient_tolerance = gradient_tolerance if gradient_tolerance is not None else (1e-5 if double else 3e-2)
    for check in (
        checker.check_step,
        checker.check_fork,
        checker.check_determinism,
        checker.check_rollout,
        checker.check_decode,
        checker.check_gradients,
    ):
        try:
            check()
        except Exception as error:  # a backend may fail in any way, and the remaining checks still say something
            checker.add(f"{check.__name__.removeprefix('check_')} runs", float("inf"), 0.0, f"{type(error).__name__}: {error}")
    report = WorldReport(checks=tuple(checker.checks), skipped=tuple(checker.skipped))
    if report.failures:
        raise WorldCheckError(report)
    return report


class _Checker:
    """One run of the checks: the inputs they share and the figures they leave."""

    tolerance: float
    gradient_tolerance: float

    def __init__(self, world: World, state: State, actions: Tensor, seed: int) -> None:
        self.world, self.state, self.actions, self.seed = world, state, actions, seed
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.horizon = actions.shape[1]
        self.noise = self.draw(2, 1, self.horizon, *world.noise_shape)
        self.checks: list[Check] = []
        self.skipped: list[str] = []
        if world.action_spec is None:
            self.skipped.append("everything about actions: the world has no action_spec")

    def add(self, name: str, measured: float, allowed: float, detail: str) -> None:
        self.checks.append(Check(name=name, measured=measured, allowed=allowed, detail=detail))

    def equal(self, name: str, found: Tensor, expected: Tensor, detail: str, *, exact: bool = False) -> None:
        self.add(name, _deviation(found, expected), 0.0 if exact else self.tolerance, detail)

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.state.latent)

    def step(self, state: State, row: int, time: int) -> State:
        action = None if self.world.action_spec is None else self.actions[row : row + 1, time]
        return self.world.step(state, action, noise=self.noise[0, :, time])

    def check_step(self) -> None:
        """`step` is pure, and works without an action."""
        before = self.state.latent.clone()
        picture = self.world.decode(self.state).clone()
        first = self.step(self.state, 0, 0)
        second = self.step(first, 0, 1)
        kept = first.latent.clone()
        self.step(self.step(self.state, 1, 0), 1, 1)
        detail = "before against after two steps of another branch"
        self.equal("step keeps the old state", self.state.latent, before, detail, exact=True)
        self.equal("step keeps the old picture", self.world.decode(self.state), picture, detail, exact=True)
        self.equal("step keeps a branch", first.latent, kept, detail, exact=True)
        # Rewinding comes before repeating, which would put right a cache that the other branch overwrote.
        self.equal("rewind", self.step(first, 0, 1).latent, second.latent, "going on from a kept state, again", exact=True)
        self.equal("step can be repeated", self.step(self.state, 0, 0).latent, kept, "the same step twice", exact=True)
        self.add("step counts frames", abs(second.position - self.state.position - 2), 0.0, "position after two steps")
        null = self.world.step(self.state, None, noise=self.noise[0, :, 0])
        self.equal("step without an action", null.latent, null.latent, "finite latents under action=None")
        self.add("step keeps the shape", float(null.latent.shape != before.shape), 0.0, f"{tuple(before.shape)}")

    def check_fork(self) -> None:
        """A fork equals its parent, leaves it alone and shares the past."""
        before = self.step(self.state, 0, 0).latent.clone()
        forks = self.world.fork(self.state, _NUM_ROWS)
        expected = self.state.latent.expand(_NUM_ROWS, -1, -1)
        self.equal("fork equals its parent", forks.latent, expected, f"latents of {_NUM_ROWS} copies", exact=True)
        action = None if self.world.action_spec is None else self.actions[:, 0]
        stepped = self.world.step(forks, action, noise=self.noise[0, :, 0])
        alone = torch.cat([self.step(self.state, row, 0).latent for row in range(_NUM_ROWS)])
        self.equal("forks step like their parent", stepped.latent, alone, "each row against the same step from the parent")
        self.equal("fork leaves its parent", self.step(self.state, 0, 0).latent, before, "a step before and after", exact=True)
        pairs = self.world.fork(stepped, 2).latent
        self.equal("fork of a batch", pairs, stepped.latent.repeat_interleave(2, dim=0), "copies of a row are consecutive", exact=True)
        owned = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(self.state.memory)}
        if not sum(owned.values()):
            self.skipped.append("shared storage of forks: the state's memory holds no tensor that can be found")
            return
        forked = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(forks.memory)}
        copied = sum(size for pointer, size in forked.items() if pointer not in owned) / sum(owned.values())
        self.add("fork shares the past", copied, 0.5, f"new bytes in the memory of {_NUM_ROWS} forks, per byte of their parent's")

    def check_determinism(self) -> None:
        """A seed or a noise decides everything and leaves torch's global generator alone; without them that generator decides."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            generator_before = torch.random.get_rng_state()
            steps = [self.world.step(self.state, None, seed=self.seed).latent for _ in range(2)]
            rollouts = [self.world.rollout(self.state, self.actions, samples=2, seed=self.seed).latents for _ in range(2)]
            self.world.rollout(self.state, self.actions, noise=self.noise)
            touched = float(not torch.equal(torch.random.get_rng_state(), generator_before))
            self.add("seed leaves the global generator", touched, 0.0, "after step and rollout with a seed, rollout with noise")
            free = []
            for _ in range(2):
                torch.manual_seed(self.seed)
                free.append(self.world.rollout(self.state, self.actions).latents)
        self.equal("seed decides a step", steps[1], steps[0], "the same seed twice", exact=True)
        self.equal("seed decides a rollout", rollouts[1], rollouts[0], "the same seed twice", exact=True)
        self.equal("global generator decides", free[1], free[0], "torch.manual_seed and no seed, twice", exact=True)

    def check_rollout(self) -> None:
        """Rows and samples do not depend on their neighbours, and a rollout is what its steps are."""
        together = self.world.rollout(self.state, self.actions, samples=2, seed=self.seed)
        num_rows, horizon = self.actions.shape[:2]
        shape = (2, num_rows, horizon, *self.state.latent.shape[1:])
        self.add("rollout shape", float(together.latents.shape != shape), 0.0, f"{tuple(together.latents.shape)}, must be {shape}")
        alone = [self.world.rollout(self.state, row[None], samples=2, seed=self.seed).latents for row in self.actions]
        self.equal("batch invariance", together.latents, torch.cat(alone, dim=1), "rows together against alone, same seed")
        forked = self.world.rollout(self.world.fork(self.state, num_rows), self.actions, samples=2, seed=self.seed)
        self.equal("shared state", together.latents, forked.latents, "one state for all rows against its forks, same seed")

        given = self.world.rollout(self.state, self.actions, samples=2, noise=self.noise)
        single = [self.world.rollout(self.state, self.actions, noise=noise[None]).latents for noise in self.noise]
        self.equal("samples", given.latents, torch.cat(single), "two samples together against alone, same noise")
        end = given.latents[:, :, -1].flatten(0, 1)
        self.equal("end state", given.state.latent, end, "state of the rollout against its last frame, samples first")
        self.add("end position", abs(given.state.position - self.state.position - horizon), 0.0, "position after the rollout")
        state, frames = self.state, []
        for time in range(horizon):
            state = self.step(state, 0, time)
            frames.append(state.latent)
        if self.world.action_spec is None:
            self.skipped.append("steps against rollout: needs actions, and the world has none")
            return
        self.equal("steps equal rollout", torch.stack(frames, dim=1), given.latents[0, :1], "same noise, frame by frame")
        beyond = self.world.step(given.state, self.actions[:, 0].repeat(2, 1), noise=self.noise[0, :, 0]).latent[:1]
        self.equal("going on after a rollout", self.step(state, 0, 0).latent, beyond, "one step after the steps and after the rollout")

    def check_decode(self) -> None:
        """Pixels lie in [0, 1], have the right shape and depend on nothing but their own latent, and the state's detail if there is one."""
        rollout = self.world.rollout(self.state, self.actions, samples=2, noise=self.noise)
        if rollout.state.detail is not None:
            detailed = self.world.decode(rollout)
            end = detailed[:, :, -1].flatten(0, 1)
            self.equal("decode of a state with detail", self.world.decode(rollout.state), end, "end state against the rollout's last frame")
            outside = torch.maximum(-detailed.min(), detailed.max() - 1).detach().clamp_min(0).item()
            self.add("decode range with detail", outside, 1e-6, "how far pixels leave [0, 1]")
            rollout = replace(rollout, state=replace(rollout.state, detail=None))
        pixels = self.world.decode(rollout)
        outside = torch.maximum(-pixels.min(), pixels.max() - 1).detach().clamp_min(0).item()
        self.add("decode range", outside, 1e-6, "how far pixels leave [0, 1]")
        expected = (*rollout.latents.shape[:3], 3)
        right = pixels.ndim == 6 and pixels.shape[:4] == expected
        self.add("decode shape", float(not right), 0.0, f"{tuple(pixels.shape)}, must be {expected} and height, width")
        self.equal("decode of latents", self.world.decode(rollout.latents), pixels, "latents against their rollout")
        end = pixels[:, :, -1].flatten(0, 1)
        self.equal("decode of a state", self.world.decode(rollout.state), end, "end state against the rollout's last frame")
        single = self.world.decode(rollout.latents[0, 0, 0])
        self.equal("decode batch invariance", single, pixels[0, 0, 0], "one frame alone against among others")

    def check_gradients(self) -> None:
        """The derivative of a rollout along random directions agrees with central differences."""
        weights = self.draw(*self.state.latent.shape[1:])
        inputs = {"first latents": self.state.latent, "actions": self.actions[:1], "noise": self.noise[:1]}

        def value(name: str, changed: Tensor) -> Tensor:
            chosen = inputs | {name: changed}
            state = replace(self.state, latent=chosen["first latents"])
            rollout = self.world.rollout(state, chosen["actions"], noise=chosen["noise"])
            return (rollout.latents * weights).mean((0, 1)).sum()

        for name, point in inputs.items():
            directions = [self.draw(*point.shape) for _ in range(_NUM_DIRECTIONS)]
            if name == "actions":
                if self.world.action_spec is None:
                    continue
                low, high = point.new_tensor(self.world.action_spec.low), point.new_tensor(self.world.action_spec.high)
                directions = [direction * (high - low) / 2 for direction in directions]
            self.compare_gradient(name, partial(value, name), point.detach(), directions)

    def compare_gradient(self, name: str, function: Callable[[Tensor], Tensor], point: Tensor, directions: list[Tensor]) -> None:
        """Directional derivatives of `function` at `point` by autograd against central differences."""
        width = torch.finfo(point.dtype).eps ** (1 / 3)
        with torch.no_grad():
            size = function(point).abs().item()
            pairs = [function(point + width * direction) - function(point - width * direction) for direction in directions]
        differences = torch.stack(pairs).double() / (2 * width)
        variable = point.clone().requires_grad_()
        output = function(variable)
        gradient = torch.autograd.grad(output, variable, allow_unused=True)[0] if output.requires_grad else None
        if gradient is None:
            gradient = torch.zeros_like(point)
        found = torch.stack([(gradient * direction).sum() for direction in directions]).double()
        # Below this, differences are rounding: the output does not depend on the input at all.
        floor = 10 * torch.finfo(point.dtype).eps * (1 + size) / width
        scale = torch.maximum(found.norm(), differences.norm()).item()
        if scale <= floor:
            self.skipped.append(f"gradient to {name}: a rollout does not depend on it")
            return
        error = (found - differences).norm().item() / scale
        detail = f"{len(directions)} directions, {self.horizon} frames, {point.dtype}"
        self.add(f"gradient to {name}", error, self.gradient_tolerance, detail)


def _make_actions(world: World, state: State, actions: Tensor | None, horizon: int, seed: int) -> Tensor:
    num_components = 0 if world.action_spec is None else world.action_spec.dim
    if actions is not None:
        if actions.ndim != 3 or actions.shape[0] != _NUM_ROWS or actions.shape[1] < 2 or actions.shape[2] != num_components:
            raise ValueError(f"actions are {tuple(actions.shape)}; give ({_NUM_ROWS}, T, {num_components}) with T of at least 2")
        return actions
    if horizon < 2:
        raise ValueError(f"horizon is {horizon}; a rollout of at least 2 frames is needed to tell it from a step")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(_NUM_ROWS, horizon, num_components, generator=generator, dtype=torch.float64).to(state.latent) - 0.5
    return drawn if world.action_spec is None else world.action_spec.denormalize(drawn)


def _deviation(found: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest magnitude expected; infinite where shapes differ or a value is not finite."""
    if found.shape != expected.shape or not (found.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return ((found - expected).abs().max() / scale).detach().item()


def _tensors(value: Any) -> list[Tensor]:
    """Tensors reachable from `value` through records, mappings and sequences."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    elif is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value)]
    return [tensor for item in value for tensor in _tensors(item)] if isinstance(value, list | tuple) else []
