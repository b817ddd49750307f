"""Model predictive path integral control: average perturbed plans with weights that fall exponentially with their cost.

May import: torch, `worldline.interfaces` and `control.candidates`. Refuses to know: how a world or an objective works.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.control.candidates import Scorer, check_fraction, check_positive, correlated_noise, start_search
from worldline.interfaces import Objective, Plan, State, World


@dataclass(frozen=True, kw_only=True, slots=True)
class MPPIConfig:
    """Settings of `MPPI`. Deviations are in units of half the action bounds.

    Attributes:
        horizon: frames per plan, T.
        num_candidates: perturbed plans in each iteration.
        num_iterations: updates of the plan.
        temperature: lambda, in units of the objective: how much worse a plan may be and still count.
        noise_std: standard deviation of the perturbations.
        control_cost: charge each perturbation lambda * u' Sigma^-1 e as the information-theoretic derivation does; it pulls the plan
            towards the middle of the bounds. Needs `correlation` 0.
        correlation: of neighbouring frames of the perturbations, in [0, 1).
        num_samples: futures per candidate.
        batch_size: candidates that are rolled out at a time.

    Raises:
        ValueError: if a count, the temperature or the deviation is not positive, or `control_cost` meets correlated noise.
    """

    horizon: int = 12
    num_candidates: int = 512
    num_iterations: int = 6
    temperature: float = 1.0
    noise_std: float = 0.3
    control_cost: bool = False
    correlation: float = 0.0
    num_samples: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_positive(
            horizon=self.horizon,
            num_candidates=self.num_candidates,
            num_iterations=self.num_iterations,
            temperature=self.temperature,
            noise_std=self.noise_std,
            num_samples=self.num_samples,
            batch_size=self.batch_size,
        )
        check_fraction(correlation=self.correlation)
        if self.control_cost and self.correlation:
            raise ValueError(f"control_cost assumes white noise, but correlation is {self.correlation}; switch one of the two off")


class MPPI:
    """Planner by path integrals (Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning").

    The plan returned is the average, which no rollout has visited exactly; it is scored once after each iteration, and those scores
    are the trace.
    """

    def __init__(self, world: World, objective: Objective, config: MPPIConfig | None = None) -> None:
        self.world = world
        self.objective = objective
        self.config = config or MPPIConfig()

    @torch.no_grad()
    def plan(self, state: State, *, seed: int | None = None, initial: Tensor | None = None) -> Plan:
        """The plan after the last update, from `state`, batch 1, and from `initial` (T, A), in environment units, or mid-bounds.

        Raises:
            ValueError: if the world has no actions, the state has several rows, `initial` does not fit, or no score is finite.
        """
        config, like = self.config, state.latent
        scorer, mean, generator = start_search(
            self.world,
            self.objective,
            state,
            horizon=config.horizon,
            num_samples=config.num_samples,
            batch_size=config.batch_size,
            seed=seed,
            initial=initial,
        )
        trace = []
        for _ in range(config.num_iterations):
            noise = correlated_noise(config.num_candidates, *mean.shape, correlation=config.correlation, generator=generator, like=like)
            mean = self.update(scorer, mean, config.noise_std * noise)
            trace.append(scorer.score(mean[None]).item())
        num_evaluations = config.num_iterations * (config.num_candidates + 1)
        return Plan(actions=scorer.actions(mean), score=trace[-1], trace=tuple(trace), num_evaluations=num_evaluations)

    def update(self, scorer: Scorer, mean: Tensor, noise: Tensor) -> Tensor:
        """One information-theoretic update of the plan `mean` (T, A) by perturbations `noise` (N, T, A), all in [-1, 1] units.

            mean + sum over n of w[n] e[n],   w = softmax((score[n] - lambda sum over t of mean[t]' Sigma^-1 e[n, t]) / lambda)

        where e is what the bounds leave of the noise, and the charge on e is dropped unless `control_cost`.
        """
        config = self.config
        candidates = (mean + noise).clamp(-1, 1)
        noise = candidates - mean
        scores = scorer.score(candidates)
        if config.control_cost:
            scores = scores - config.temperature / config.noise_std**2 * (mean * noise).sum((1, 2))
        weights = torch.softmax(scores / config.temperature, dim=0)
        return mean + torch.einsum("n,nta->ta", weights, noise)
