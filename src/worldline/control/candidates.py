"""What every sampling planner does with candidate plans: draw them, score them in batches, and start from an earlier plan.

May import: torch and `worldline.interfaces`. Refuses to know: how the next candidates are chosen.

Shapes: N candidates, T frames, A action components. Candidates live in [-1, 1], half the width of the environment's bounds, so
that one setting of a planner fits pixels, metres and newtons.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.interfaces import ActionSpec, Objective, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """Scores candidates from one state of one world with common random numbers, so that scores can be compared.

    Attributes:
        world: rolls the candidates out.
        objective: judges the rollouts.
        state: where all candidates start, batch 1; its memory is shared, not copied.
        seed: of the world's randomness, the same for every candidate and every call.
        num_samples: futures per candidate, averaged by the objective.
        batch_size: candidates that are rolled out at a time; bounds the memory.

    Raises:
        ValueError: if the world has no actions, or the state more than one row.
    """

    world: World
    objective: Objective
    state: State
    seed: int
    num_samples: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.world.action_spec is None:
            raise ValueError("this world was trained without actions, so there is nothing to plan; use a world with an action_spec")
        if self.state.batch_size != 1:
            raise ValueError(f"the state has {self.state.batch_size} rows; plan from a state of batch 1, one call per row")

    @property
    def action_spec(self) -> ActionSpec:
        """The world's bounds."""
        assert self.world.action_spec is not None
        return self.world.action_spec

    def actions(self, candidates: Tensor) -> Tensor:
        """Candidates (..., A) in environment units, inside the bounds up to the last bit."""
        return self.action_spec.clamp(self.action_spec.denormalize(candidates))

    def score(self, candidates: Tensor) -> Tensor:
        """(N,) scores of candidates (N, T, A) in [-1, 1]; minus infinity, the worst, where the score is not finite.

        Raises:
            ValueError: if the objective does not return one score per candidate, or no score is finite.
        """
        parts = []
        for chunk in self.actions(candidates).split(self.batch_size):
            rollout = self.world.rollout(self.state, chunk, samples=self.num_samples, seed=self.seed)
            scores = self.objective(rollout)
            if scores.shape != (len(chunk),):
                raise ValueError(f"the objective returned scores {tuple(scores.shape)} for {len(chunk)} candidates; it must return (N,)")
            parts.append(scores)
        scores = torch.cat(parts)
        finite = scores.isfinite()
        if not finite.any():
            raise ValueError(
                f"none of {len(candidates)} candidates has a finite score; check that the state and the goal hold no NaN, and shorten "
                "the horizon if the world diverges"
            )
        return scores.masked_fill(~finite, -math.inf)


def correlated_noise(
    num_candidates: int,
    horizon: int,
    num_components: int,
    *,
    correlation: float,
    generator: torch.Generator,
    like: Tensor,
) -> Tensor:
    """Standard normal noise (N, T, A) whose neighbouring frames are correlated: e[t] = c e[t-1] + sqrt(1 - c^2) w[t], AR(1).

    White noise averages out over a few frames; correlated noise moves things, which is what a plan has to do. `like` gives dtype
    and device.
    """
    shape = (horizon, num_candidates, num_components)
    white = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
    frames = [white[0]]
    for innovation in white[1:]:
        frames.append(correlation * frames[-1] + math.sqrt(1 - correlation**2) * innovation)
    return torch.stack(frames, dim=1)


def start_search(
    world: World,
    objective: Objective,
    state: State,
    *,
    horizon: int,
    num_samples: int,
    batch_size: int,
    seed: int | None,
    initial: Tensor | None,
) -> tuple[Scorer, Tensor, torch.Generator]:
    """What a search begins with: its scorer, the plan (T, A) in [-1, 1] to start from, and the generator of its proposals.

    The plan is `initial`, in environment units, or the middle of the bounds. Without a seed, the search is seeded from torch's
    global generator.

    Raises:
        ValueError: if `initial` is not (horizon, A) or not finite, the world has no actions, or the state more than one row.
    """
    like = state.latent
    generator = torch.Generator(like.device).manual_seed(int(torch.randint(2**31, ())) if seed is None else seed)
    # The world draws from a seed of its own: the same one would repeat the proposals' numbers in the world's noise.
    world_seed = int(torch.randint(2**31, (), generator=generator, device=like.device))
    scorer = Scorer(world=world, objective=objective, state=state, seed=world_seed, num_samples=num_samples, batch_size=batch_size)
    shape = (horizon, scorer.action_spec.dim)
    if initial is None:
        return scorer, like.new_zeros(shape), generator
    if initial.shape != shape:
        raise ValueError(f"the initial plan is {tuple(initial.shape)}; this planner needs (horizon, actions) = {shape}")
    if not initial.isfinite().all():
        raise ValueError("the initial plan holds values that are not finite; pass the actions of an earlier plan, or None")
    return scorer, scorer.action_spec.normalize(initial.to(like)).clamp(-1, 1), generator


def check_positive(**values: float) -> None:
    """Raise ValueError naming the first setting that is not positive."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be positive")


def check_fraction(**values: float) -> None:
    """Raise ValueError naming the first setting that is not in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 0 and below 1")
