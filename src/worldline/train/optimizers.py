"""Which optimiser trains which parameter: Muon for hidden matrices, AdamW for everything else.

Muon (Jordan 2024; Liu et al. 2025, arXiv 2502.16982) orthogonalises the momentum of a matrix. Its update is scaled to the RMS of an
AdamW update (`match_rms_adamw`, 0.2 sqrt(max(rows, columns))), so both optimisers take learning rates of the same order and the same
weight decay. torch's Newton-Schulz runs in bfloat16, on a CPU with native bfloat16 twice as fast as in float32: 0.7 ms for a 128 x 128
matrix, 3 ms for 256 x 256, 8 ms for 1024 x 256, once per step and independent of the batch. Where a processor has no instructions for
it, it runs in float32 (docs/log.md has what that saves).

May import: torch, scale. Refuses to know: models, beyond their modules' classes and the attribute `adamw`.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from worldline.scale import fast_bfloat16

_SMALLEST_MUON_SIDE = 32  # below, orthogonalising has little to equalise


def build_optimizers(model: nn.Module, *, learning_rate: float, muon_learning_rate: float | None, weight_decay: float) -> list[Optimizer]:
    """AdamW, and Muon where the model has matrices for it.

    Muon takes the weight of each `nn.Linear` with both sides at least 32, unless the module carries `adamw = True` (input and output
    layers). AdamW takes the rest, and decays only what has two or more dimensions: not biases, not norms.

    Args:
        model: parameters that do not require gradients are left out.
        learning_rate: peak rate of AdamW.
        muon_learning_rate: peak rate of Muon; None trains everything with AdamW.
        weight_decay: decoupled, multiplied by the rate.

    Raises:
        ValueError: if no parameter requires a gradient.
    """
    hidden = [] if muon_learning_rate is None else muon_parameters(model)
    taken = {id(parameter) for parameter in hidden}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in taken]
    if not hidden and not rest:
        raise ValueError(f"no parameter of {type(model).__name__} requires a gradient; there is nothing to train")
    optimizers: list[Optimizer] = []
    if rest:
        groups = [
            {"params": [parameter for parameter in rest if parameter.ndim >= 2], "weight_decay": weight_decay},
            {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
        ]
        optimizers.append(AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=(0.9, 0.99), fused=True))
    if hidden and muon_learning_rate is not None:
        muon = Muon if fast_bfloat16(hidden[0].device) else Float32Muon
        optimizers.append(muon(hidden, lr=muon_learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


class Float32Muon(Muon):
    """torch's Muon, with `match_rms_adamw`, whose Newton-Schulz iteration runs in float32. Its state is that of torch's."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; see `torch.optim.Muon.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        rate, momentum = float(group["lr"]), group["momentum"]
        buffer = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(gradient))
        buffer.lerp_(gradient, 1 - momentum)
        update = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
        update = orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.add_(update, alpha=-rate * 0.2 * math.sqrt(max(parameter.shape)))


def orthogonalized(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, least_norm: float) -> Tensor:
    """A matrix (R, C) with singular values near 1 and the same singular vectors, by Newton and Schulz's iteration (Jordan 2024)."""
    a, b, c = coefficients
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / x.norm().clamp_min(least_norm)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if len(matrix) > matrix.shape[1] else x


def muon_parameters(model: nn.Module) -> list[Tensor]:
    """The matrices that Muon trains, in the order of `model.modules()`, each once."""
    chosen: dict[Tensor, None] = {
        module.weight: None
        for module in model.modules()
        if isinstance(module, nn.Linear)
        and module.weight.requires_grad
        and min(module.weight.shape) >= _SMALLEST_MUON_SIDE
        and not getattr(module, "adamw", False)
    }
    return list(chosen)


def scale_learning_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Set every rate to its peak times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def optimizer_tensors(optimizers: list[Optimizer], model: nn.Module) -> dict[str, Tensor]:
    """Momenta and counts as `parameter name.kind`; rates and other settings are rebuilt from the configuration."""
    states = {parameter: state for optimizer in optimizers for parameter, state in optimizer.state.items()}
    return {f"{name}.{kind}": value for name, parameter in model.named_parameters() for kind, value in states.get(parameter, {}).items()}


def restore_optimizers(optimizers: list[Optimizer], model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; forgets everything the optimisers gathered since."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, kind = key.rsplit(".", 1)
        states.setdefault(name, {})[kind] = tensor
    for optimizer in optimizers:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state = {index: states[names[parameter]] for index, parameter in enumerate(parameters) if names[parameter] in states}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
