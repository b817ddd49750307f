"""Planners by name, sized to a budget of frame evaluations per decision: candidates x frames x passes per frame.

May import: control, envs.simulator_world. Refuses to know: objectives, and of worlds all but whether they have gradients.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from worldline.control import (
    CEM,
    GRASP,
    ICEM,
    MPPI,
    CEMConfig,
    GradientConfig,
    GradientPlanner,
    GRASPConfig,
    ICEMConfig,
    MPPIConfig,
    RandomShooting,
    RandomShootingConfig,
    SoftTree,
    SoftTreeConfig,
)
from worldline.control.noise import CorrelatedNoise, PowerLawNoise, SideBySide
from worldline.control.sizing import sized
from worldline.envs.simulator_world import SimulatorWorld
from worldline.interfaces import Objective, Planner, RestartableWorld, World


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What a planner is sized to.

    Attributes:
        horizon: frames per plan.
        num_rollouts: that may be paid for.
        batch_size: candidates rolled out at a time.
        actions_per_frame: actions of the simulator that lie side by side in one of the world.
    """

    horizon: int
    num_rollouts: int
    batch_size: int
    actions_per_frame: int = 1


Build = Callable[[World, Objective, Sizes], Planner]

CORRELATION = 0.8
"""From one action of the simulator to the next, of the proposals of planners without a colour of their own."""

_WIDE_SHARE, _WIDE_FROM = 0.25, 300
"""Where contacts make the way rough, a tree by samples needs plans that stay wide, and enough others beside them (docs/log.md)."""


def passes_per_frame(world: World) -> int:
    """Passes of a network that an imagined frame takes: what the world says, else a learned world's denoising steps, else 1."""
    said = getattr(world, "evaluations_per_frame", None)
    return int(getattr(getattr(world, "sampler", None), "num_steps", 1) if said is None else said)


@dataclass(frozen=True, kw_only=True, slots=True)
class Iterations:
    """A number of rollouts split into iterations of a search.

    Attributes:
        num_candidates: rollouts per iteration.
        num_iterations: iterations.
    """

    num_candidates: int
    num_iterations: int


def split_into_iterations(num_rollouts: int) -> Iterations:
    """As many candidates as iterations would be too narrow a search and too long a one: four times as many, and at most ten iterations.

    Raises:
        ValueError: if there is nothing to split.
    """
    if num_rollouts < 1:
        raise ValueError(f"{num_rollouts} rollouts; give a budget of at least one")
    iterations = max(1, min(10, round(math.sqrt(num_rollouts / 4))))
    return Iterations(num_candidates=num_rollouts // iterations, num_iterations=iterations)


def _correlated(sizes: Sizes) -> SideBySide:
    """The noise that planners share, so that what is compared are searches."""
    return SideBySide(CorrelatedNoise(CORRELATION), sizes.actions_per_frame)


def _limit(world: World, sizes: Sizes) -> int:
    """The budget in frame evaluations."""
    return sizes.num_rollouts * sizes.horizon * passes_per_frame(world)


def _random(world: World, objective: Objective, sizes: Sizes) -> Planner:
    config = RandomShootingConfig(horizon=sizes.horizon, num_candidates=sizes.num_rollouts, batch_size=sizes.batch_size)
    return RandomShooting(world, objective, config, noise=_correlated(sizes))


def _cem(world: World, objective: Objective, sizes: Sizes) -> Planner:
    split = split_into_iterations(sizes.num_rollouts)
    config = CEMConfig(
        horizon=sizes.horizon,
        num_candidates=split.num_candidates,
        num_iterations=split.num_iterations,
        # A fifth, as in `control.sizing`: a tenth of the candidates of a small budget is one or two, which is no Gaussian.
        num_elites=max(1, split.num_candidates // 5),
        initial_std=1.0,  # many a plan is best at its bounds, and a learned world's picture is flat in between
        batch_size=sizes.batch_size,
    )
    return CEM(world, objective, config, noise=_correlated(sizes))


def _mppi(world: World, objective: Objective, sizes: Sizes) -> Planner:
    """Noise as wide as CEM's at first, and a temperature that follows the spread of the scores, whatever the objective's units."""
    config = sized(MPPIConfig(horizon=sizes.horizon, batch_size=sizes.batch_size, noise_std=1.0), sizes.num_rollouts)
    return MPPI(world, objective, config, noise=_correlated(sizes))


def _icem(world: World, objective: Objective, sizes: Sizes) -> Planner:
    config = sized(ICEMConfig(horizon=sizes.horizon, batch_size=sizes.batch_size), sizes.num_rollouts)
    return ICEM(world, objective, config, noise=SideBySide(PowerLawNoise(config.noise_exponent), sizes.actions_per_frame))


def _adam(world: World, objective: Objective, sizes: Sizes) -> Planner:
    """In a simulator, which has no gradients, by central differences: few steps, each of 2 T A + 1 rollouts."""
    config = GradientConfig(horizon=sizes.horizon, batch_size=sizes.batch_size, max_frame_evaluations=_limit(world, sizes))
    if isinstance(world, SimulatorWorld):
        assert world.action_spec is not None
        steps = max(1, sizes.num_rollouts // (2 * sizes.horizon * world.action_spec.dim + 1))
        return GradientPlanner(
            world, objective, replace(config, gradient="differences", num_starts=1, num_iterations=steps, difference=0.05)
        )
    return GradientPlanner(world, objective, sized(config, sizes.num_rollouts))


def _grasp(world: World, objective: Objective, sizes: Sizes) -> Planner:
    config = GRASPConfig(horizon=sizes.horizon, batch_size=sizes.batch_size, max_frame_evaluations=_limit(world, sizes))
    return GRASP(world, objective, sized(config, sizes.num_rollouts))


def _soft_tree(world: World, objective: Objective, sizes: Sizes, *, by_samples: bool = False) -> Planner:
    """In a simulator, which has no gradients, by samples alone."""
    chunk = sizes.horizon // 2 if sizes.horizon % 2 == 0 else next(size for size in (5, 3, 1) if sizes.horizon % size == 0)
    config = SoftTreeConfig(
        horizon=sizes.horizon,
        chunk=chunk,
        refine_steps=0 if by_samples or isinstance(world, SimulatorWorld) else SoftTreeConfig().refine_steps,
        batch_size=sizes.batch_size,
        max_frame_evaluations=_limit(world, sizes),
        wide_share=_WIDE_SHARE if sizes.num_rollouts >= _WIDE_FROM else 0.0,
    )
    noise = PowerLawNoise(ICEMConfig().noise_exponent)  # on pairs of seed 1 in push better than what CEM has, for which it is worse
    return SoftTree(world, objective, sized(config, sizes.num_rollouts), noise=SideBySide(noise, sizes.actions_per_frame))


PLANNERS: dict[str, Build] = {
    "random": _random,
    "cem": _cem,
    "mppi": _mppi,
    "icem": _icem,
    "adam": _adam,
    "grasp": _grasp,
    "soft_tree": _soft_tree,
    "soft_tree_sampled": partial(_soft_tree, by_samples=True),
}
"""Planners that search, by name."""


def why_not(name: str, world: World) -> str | None:
    """Why a planner cannot run in a world; None if it can."""
    if name == "grasp" and isinstance(world, SimulatorWorld):
        return "GRASP starts in the middle of a plan from latents that nobody has reached and needs gradients; a simulator has neither"
    if name == "grasp" and not isinstance(world, RestartableWorld):
        return f"GRASP starts in the middle of a plan from latents that nobody has reached; {type(world).__name__} has no restart"
    return None


def what_it_is(name: str, world: World) -> str:
    """What has to be known of a planner in a world to read its figures; empty where its name says it all."""
    if name == "adam" and isinstance(world, SimulatorWorld):
        return "; Adam on central differences of the scores, 2 T A + 1 rollouts a step, for want of gradients"
    if name == "soft_tree" and isinstance(world, SimulatorWorld):
        return "; by samples alone, for want of gradients"
    if name == "soft_tree_sampled":
        return "; by samples alone"
    return ""


POLICIES = ("inverse", "clone", "inverse+cem", "flow", "flow+cem", "flow+mppi")
"""What does not search, or starts from what a policy proposes; see `policies`."""

PLANS_MANY = ("random", "cem", "mppi", "icem", "adam", "flow", "flow+cem", "flow+mppi")
"""What searches for the plans of several problems in one batch."""


def make_planner(
    name: str,
    world: World,
    objective: Objective,
    *,
    horizon: int,
    frame_evaluations: int,
    batch_size: int,
    actions_per_frame: int = 1,
) -> Planner:
    """A planner within a budget: it imagines at most `frame_evaluations` frames, passes counted, per plan, but one rollout at least.

    Args:
        name: of `PLANNERS`.
        world: in which is planned.
        objective: of the plan.
        horizon: frames per plan.
        frame_evaluations: the budget.
        batch_size: candidates rolled out at a time.
        actions_per_frame: actions of the simulator that lie side by side in one of the world.

    Raises:
        ValueError: if there is no such planner, or it cannot run in this world.
    """
    if name not in PLANNERS:
        raise ValueError(f"planner {name!r} is unknown; choose one of {', '.join(PLANNERS)}")
    if (reason := why_not(name, world)) is not None:
        raise ValueError(reason)
    num_rollouts = max(1, frame_evaluations // (horizon * passes_per_frame(world)))
    sizes = Sizes(horizon=horizon, num_rollouts=num_rollouts, batch_size=batch_size, actions_per_frame=actions_per_frame)
    return PLANNERS[name](world, objective, sizes)


def settings_of(planner: Planner) -> str:
    """All of a planner's settings and of its noise's, for the record: attempts under others are other attempts."""
    search = getattr(planner, "search", None)  # of a policy's proposals; a method of planners that search themselves
    inner = "" if search is None or callable(search) else f" around {settings_of(search)}"
    return f"{type(planner).__name__} {getattr(planner, 'config', '')!r} {_described(getattr(planner, 'noise', None))}{inner}"


def _described(noise: object) -> str:
    if not hasattr(noise, "__dict__"):
        return repr(noise)
    return f"{type(noise).__name__}({', '.join(f'{name}={_described(value)}' for name, value in sorted(vars(noise).items()))})"
