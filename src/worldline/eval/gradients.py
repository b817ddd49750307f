"""Are a world's gradients right: autograd against central differences, through prompt, rollout and decoder, in float64.

May import: eval.video, world. Refuses to know: what the gradients are used for.

Shapes: P prompt frames, T predicted frames, S tokens per frame, C latent channels, A action.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from worldline.eval.video import Windows
from worldline.world import World

_STEP, _ACTION_STEP = 1e-3, 1e-4
"""Half the distance of a difference, in units of the input (noise or latent; a normalised action, whose Fourier features turn quickly): at
float64 and a fourth-order formula truncation stays far below 1e-6 of the derivative, and so does rounding unless the derivative is next to
nothing, as that by the noise is in a world hardly trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientRow:
    """One derivative: by autograd, by differences, and how far they are apart relative to the larger."""

    name: str
    analytic: float
    numeric: float
    relative_error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientReport:
    """Derivatives of the squared distance between the last imagined and the true frame, `num_frames` steps into a rollout."""

    num_frames: int
    rows: tuple[GradientRow, ...]

    @property
    def worst_relative_error(self) -> float:
        """The largest relative error of all rows."""
        return max(row.relative_error for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "worst_relative_error": self.worst_relative_error}


def check_gradients(world: World, windows: Windows, *, num_components: int = 2, seed: int = 0) -> GradientReport:
    """Check the gradient of a whole rollout with respect to its actions, its noise and the latents of its prompt.

    The function is the mean squared difference of the last decoded frame and the true one, on the first window, by a float64 copy of the
    world. For each input the derivative along a random direction is compared, and those by the components that matter most.

    Args:
        world: is copied, not changed.
        windows: the first one is used: prompt, actions, and true future.
        num_components: components of each input that are looked at one by one.
        seed: of the noise and of the directions.

    Raises:
        ValueError: if the windows have no future.
    """
    num_frames = windows.future.shape[1]
    if num_frames < 1:
        raise ValueError("the windows hold no frames to come; sample them with num_frames of at least 1")
    exact = copy.deepcopy(world).double()
    generator = torch.Generator().manual_seed(seed)
    truth = windows.future[0, -1].double()
    spec, first = exact.action_spec, windows.prompt.shape[1] - 1
    with torch.no_grad():
        latents = exact.tokenizer.encode(windows.prompt[:1].double())
    noise = torch.randn(1, num_frames, *exact.noise_shape, generator=generator, dtype=torch.float64)
    inputs = {"noise": noise, "first latents": latents}
    actions = None if spec is None or windows.actions is None else spec.normalize(windows.actions[:1].double())
    if actions is not None:
        inputs = {"actions": actions[:, first:], **inputs}

    def distances(values: dict[str, Tensor]) -> Tensor:
        """(B,) of inputs with B rows each."""
        known, rows = None, len(values["noise"])
        future = torch.zeros(rows, num_frames, 0 if spec is None else spec.dim, dtype=torch.float64)
        if spec is not None and actions is not None:
            known, future = spec.denormalize(actions[:, :first].expand(rows, -1, -1)), spec.denormalize(values["actions"])
        state = exact.prompt_latents(values["first latents"], known)
        rollout = exact.rollout(state, future, noise=values["noise"][None])
        return (exact.decode(rollout.latents[0, :, -1]) - truth).square().mean((1, 2, 3))

    names = () if spec is None else spec.names
    rows = [row for name in inputs for row in _compare(name, distances, inputs, num_components, generator, names=names)]
    return GradientReport(num_frames=num_frames, rows=tuple(rows))


def _compare(
    name: str,
    function: Callable[[dict[str, Tensor]], Tensor],
    inputs: dict[str, Tensor],
    num_components: int,
    generator: torch.Generator,
    *,
    names: tuple[str, ...],
) -> list[GradientRow]:
    """The derivative of `function` by one of its inputs, along a random direction and by its steepest components."""
    point = inputs[name]
    variable = point.clone().requires_grad_()
    gradient = torch.autograd.grad(function({**inputs, name: variable}).sum(), variable)[0]
    direction = torch.randn(point.shape, generator=generator, dtype=point.dtype)
    directions = {f"{name}, all along a random direction": direction / direction.norm()}
    for index in gradient.flatten().abs().topk(min(num_components, gradient.numel())).indices.tolist():
        single = torch.zeros_like(point).flatten()
        single[index] = 1
        directions[f"{name}, {_position(name, index, point, names)}"] = single.view_as(point)
    step = _ACTION_STEP if name == "actions" else _STEP
    moves = step * torch.cat(list(directions.values()))
    moved = {name: torch.cat([point + times * moves for times in (1, -1, 2, -2)])}
    others = {other: value.expand(len(moved[name]), *value.shape[1:]) for other, value in inputs.items() if other != name}
    with torch.no_grad():
        near_up, near_down, far_up, far_down = function({**others, **moved}).view(4, -1)
    numeric = (8 * (near_up - near_down) - (far_up - far_down)) / (12 * step)
    rows = []
    for (label, towards), difference in zip(directions.items(), numeric.tolist(), strict=True):
        analytic = float((gradient * towards).sum())
        error = abs(analytic - difference) / max(abs(analytic), abs(difference), torch.finfo(torch.float64).tiny)
        rows.append(GradientRow(name=label, analytic=analytic, numeric=difference, relative_error=error))
    return rows


def _position(name: str, index: int, point: Tensor, names: tuple[str, ...]) -> str:
    place = [int(i) for i in torch.unravel_index(torch.tensor(index), point.shape)]
    if name == "actions":
        component = names[place[-1]] if names else f"component {place[-1]}"
        return f"{component} at step {place[-2] + 1}"
    return f"frame {place[-3] + 1}, token {place[-2]}, channel {place[-1]}"
