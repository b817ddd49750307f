"""A linear world with a quadratic cost: rollouts, gradients and optimal plans in closed form.

    x[t+1] = A x[t] + B u[t] + sigma w[t],        w[t] standard normal

May import: torch and `worldline.interfaces`. Refuses to know: planners, rewards and learned models.

Shapes: n state components, m action components (A in `interfaces`), T frames, S tokens, C channels with S * C = n.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.interfaces import ActionSpec, Rollout, State


@dataclass(frozen=True, kw_only=True, slots=True)
class QuadraticObjective:
    """Minus the quadratic cost of a rollout, which regulates the state to the origin.

        cost = sum over t of u[t]' R u[t] + x[t+1]' Q x[t+1],   with Q replaced by Q_final at the last frame

    The first state is not part of a rollout, so its own cost, which no action changes, is left out.

    Attributes:
        state_cost: (n, n), Q.
        action_cost: (m, m), R.
        final_cost: (n, n), Q_final.
    """

    state_cost: Tensor
    action_cost: Tensor
    final_cost: Tensor

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, higher is better, mean over samples; differentiable.

        Raises:
            ValueError: if the rollout has no actions to charge for.
        """
        if rollout.actions is None:
            raise ValueError("the rollout has no actions, and a quadratic cost charges for them; roll out with actions (B, T, A)")
        states, actions = rollout.latents.flatten(-2), rollout.actions
        running = _quadratic(states[:, :, :-1], self.state_cost).sum(-1) + _quadratic(states[:, :, -1], self.final_cost)
        return -(running.mean(0) + _quadratic(actions, self.action_cost).sum(-1))


class LinearQuadraticWorld:
    """`World` of linear dynamics with additive noise, whose answers are known exactly. Follows the dtype and device of the state.

    Args:
        dynamics: (n, n), A. By default a slightly unstable oscillator beside a slow drift, n = 4.
        control: (n, m), B. By default m = 2, and every state can be reached.
        state_cost: (n, n) positive semi-definite, Q; the identity by default.
        action_cost: (m, m) positive definite, R; a tenth of the identity by default.
        final_cost: (n, n) positive semi-definite, Q_final; Q by default.
        noise_scale: sigma, standard deviation of the noise on each state component.
        action_limit: bounds of each action component are [-action_limit, action_limit]; the dynamics do not clip.
        num_tokens: S, how the n state components are cut into latent tokens.

    Raises:
        ValueError: if a matrix has the wrong shape or `num_tokens` does not divide n.
    """

    def __init__(
        self,
        dynamics: Tensor | None = None,
        control: Tensor | None = None,
        *,
        state_cost: Tensor | None = None,
        action_cost: Tensor | None = None,
        final_cost: Tensor | None = None,
        noise_scale: float = 0.0,
        action_limit: float = 5.0,
        num_tokens: int = 1,
    ) -> None:
        self.dynamics = _DEFAULT_DYNAMICS if dynamics is None else dynamics.double()
        self.control = _DEFAULT_CONTROL if control is None else control.double()
        num_states, num_actions = self.control.shape
        self.state_cost = torch.eye(num_states, dtype=torch.float64) if state_cost is None else state_cost.double()
        self.action_cost = 0.1 * torch.eye(num_actions, dtype=torch.float64) if action_cost is None else action_cost.double()
        self.final_cost = self.state_cost if final_cost is None else final_cost.double()
        for name, size in (("dynamics", num_states), ("state_cost", num_states), ("final_cost", num_states), ("action_cost", num_actions)):
            shape = tuple(getattr(self, name).shape)
            if shape != (size, size):
                raise ValueError(f"{name} is {shape}, but control is {(num_states, num_actions)}; {name} must be {(size, size)}")
        if num_states % num_tokens:
            raise ValueError(f"{num_states} state components cannot be cut into {num_tokens} tokens; num_tokens must divide them")
        self.noise_scale = noise_scale
        self.noise_shape = (num_tokens, num_states // num_tokens)
        self.action_spec: ActionSpec | None = ActionSpec(low=(-action_limit,) * num_actions, high=(action_limit,) * num_actions)

    def state(self, values: Tensor) -> State:
        """The world's state at `values` (B, n)."""
        return State(latent=values.unflatten(-1, self.noise_shape), position=1)

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """The next state; see `interfaces.World.step`. No action is the zero action."""
        if noise is None:
            noise = self._draw((state.batch_size if seed is None else 1,), state.latent, _at(seed, state.position))
        values = self._advance(state.latent.flatten(-2), action, noise.flatten(-2))
        return State(latent=values.unflatten(-1, self.noise_shape), position=state.position + 1)

    def rollout(
        self,
        state: State,
        actions: Tensor,
        *,
        samples: int = 1,
        noise: Tensor | None = None,
        seed: int | None = None,
    ) -> Rollout:
        """Futures under `actions` (B, T, m); see `interfaces.World.rollout`.

        Raises:
            ValueError: if `actions` is not (B, T, m) with T >= 1, or its rows do not match the state's.
        """
        if actions.ndim != 3 or actions.shape[1] < 1 or actions.shape[2] != self.control.shape[1]:
            raise ValueError(f"actions are {tuple(actions.shape)}; give (B, T, {self.control.shape[1]}) with at least one frame")
        batch, horizon, _ = actions.shape
        if state.batch_size not in (1, batch):
            raise ValueError(f"state has {state.batch_size} rows and actions have {batch}; give as many, or a state of one row")
        if noise is None:
            shape = (samples, batch if seed is None else 1)
            noise = torch.stack([self._draw(shape, state.latent, _at(seed, state.position + t)) for t in range(horizon)], dim=2)
        samples = noise.shape[0]
        values = state.latent.flatten(-2).expand(samples, batch, -1)
        frames = []
        for t in range(horizon):
            values = self._advance(values, actions[:, t], noise[:, :, t].flatten(-2))
            frames.append(values)
        latents = torch.stack(frames, dim=2).unflatten(-1, self.noise_shape)
        end = State(latent=latents[:, :, -1].flatten(0, 1), position=state.position + horizon)
        return Rollout(latents=latents, actions=actions, state=end)

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """A picture (..., 3, 8, n) in [0, 1]: one grey column per state component, its brightness the component's logistic."""
        brightness = torch.sigmoid(latents_of(source).flatten(-2))
        return brightness[..., None, None, :].expand(*brightness.shape[:-1], 3, 8, -1)

    def fork(self, state: State, count: int) -> State:
        """`count` copies of each row, consecutive."""
        return State(latent=state.latent.repeat_interleave(count, dim=0), position=state.position)

    def select(self, state: State, rows: Tensor) -> State:
        """The state of rows (N,) of `state`, which may repeat; see `interfaces.SelectableWorld`."""
        return State(latent=state.latent[rows], position=state.position)

    def restart(self, latents: Tensor) -> State:
        """The state at latents (B, S, C): there is no past to know; see `interfaces.RestartableWorld`."""
        return State(latent=latents, position=1)

    def objective(self) -> QuadraticObjective:
        """The cost that `optimal_cost` and `optimal_actions` answer for."""
        return QuadraticObjective(state_cost=self.state_cost, action_cost=self.action_cost, final_cost=self.final_cost)

    def rollout_end(self, start: Tensor, actions: Tensor) -> Tensor:
        """Where `actions` (..., T, m) lead from `start` (..., n) without noise: A^T x + sum over t of A^(T-1-t) B u[t]; (..., n)."""
        horizon = actions.shape[-2]
        drift = start.double() @ torch.linalg.matrix_power(self.dynamics, horizon).T
        return drift + torch.einsum("ntm,...tm->...n", self.end_gradient(horizon), actions.double())

    def end_gradient(self, horizon: int) -> Tensor:
        """Gradient (n, T, m) of the last state with respect to each action: A^(T-1-t) B."""
        powers = [torch.linalg.matrix_power(self.dynamics, horizon - 1 - t) for t in range(horizon)]
        return torch.stack([power @ self.control for power in powers], dim=1)

    def optimal_cost(self, start: Tensor, horizon: int) -> Tensor:
        """Least possible cost (B,) from `start` (B, n) in `horizon` frames without noise, ignoring the action bounds.

        Additive noise adds the same constant to the expected cost of every plan, so it does not move the optimal plan.
        """
        return _quadratic(start.double(), self._riccati(horizon)[1])

    def optimal_actions(self, start: Tensor, horizon: int) -> Tensor:
        """The plan (B, T, m) that costs `optimal_cost`: u[t] = -K[t] x[t] with the Riccati gains K."""
        states, actions = start.double(), []
        for gain in self._riccati(horizon)[0]:
            actions.append(-states @ gain.T)
            states = states @ self.dynamics.T + actions[-1] @ self.control.T
        return torch.stack(actions, dim=1)

    def soft_value(self, start: Tensor, horizon: int, *, temperature: float, action_std: float) -> Tensor:
        """Soft value (B,) of `start` (B, n): what soft backups of an exhaustive tree over a Gaussian prior give, differentiable in `start`.

            V = temperature * log E[exp(-cost(u) / temperature)],   every component of u normal with deviation `action_std`, no noise

        The cost of a plan is quadratic, u'Hu + 2f'u + c, so the expectation is a Gaussian integral:

            V = -c + f' P^-1 f - temperature / 2 * log det(2 action_std^2 P / temperature),
            P = H + temperature / (2 action_std^2)

        It ignores the action bounds. Soft backups from the last frame to the first compose to the same (Todorov 2009; Levine 2018).
        """
        size = self.control.shape[1]
        drift = torch.eye(len(self.dynamics), dtype=torch.float64)
        response = drift.new_zeros(len(drift), horizon * size)
        hessian = torch.block_diag(*[self.action_cost] * horizon)
        cross, constant = torch.zeros_like(response), torch.zeros_like(self.dynamics)
        for t in range(horizon):
            drift, response = self.dynamics @ drift, self.dynamics @ response
            response = torch.cat([response[:, : t * size], self.control, response[:, (t + 1) * size :]], dim=1)
            weight = self.final_cost if t == horizon - 1 else self.state_cost
            hessian = hessian + response.T @ weight @ response
            cross = cross + drift.T @ weight @ response
            constant = constant + drift.T @ weight @ drift
        ridge = temperature / (2 * action_std**2)
        precision = hessian + ridge * torch.eye(len(hessian), dtype=torch.float64)
        gain = cross @ torch.linalg.solve(precision, cross.T)
        volume = torch.linalg.slogdet(precision / ridge)[1]
        return -_quadratic(start.double(), constant - gain) - temperature / 2 * volume

    def _riccati(self, horizon: int) -> tuple[list[Tensor], Tensor]:
        """Gains (m, n) for each frame, and the matrix (n, n) of the optimal cost; backward Riccati recursion."""
        cost_to_go, future, gains = self.final_cost, self.final_cost, []
        for _ in range(horizon):
            cross = self.control.T @ cost_to_go @ self.dynamics
            gain = torch.linalg.solve(self.action_cost + self.control.T @ cost_to_go @ self.control, cross)
            future = self.dynamics.T @ cost_to_go @ self.dynamics - cross.T @ gain
            cost_to_go = self.state_cost + future
            gains.append(gain)
        return gains[::-1], future

    def _advance(self, values: Tensor, action: Tensor | None, noise: Tensor) -> Tensor:
        values_next = values @ self.dynamics.to(values).T + self.noise_scale * noise
        return values_next if action is None else values_next + action.to(values) @ self.control.to(values).T

    def _draw(self, shape: tuple[int, ...], like: Tensor, seed: int | None) -> Tensor:
        generator = None if seed is None else torch.Generator(like.device).manual_seed(seed)
        return torch.randn(*shape, *self.noise_shape, generator=generator, dtype=like.dtype, device=like.device)


def _at(seed: int | None, position: int) -> int | None:
    """The seed of one frame: with it seeded steps are a seeded rollout, as in a learned world."""
    return None if seed is None else seed * 1_000_003 + position


def latents_of(source: State | Rollout | Tensor) -> Tensor:
    """The latents (..., S, C) of anything that can be decoded."""
    if isinstance(source, Tensor):
        return source
    return source.latent if isinstance(source, State) else source.latents


def _quadratic(values: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("...i,ij,...j->...", values, matrix.to(values), values)


_DEFAULT_DYNAMICS = torch.tensor(
    [[1.0, 0.2, 0.0, 0.0], [-0.2, 1.0, 0.1, 0.0], [0.0, 0.0, 0.9, 0.2], [0.0, 0.1, 0.0, 1.0]], dtype=torch.float64
)
_DEFAULT_CONTROL = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.2], [0.0, 0.5]], dtype=torch.float64)
