"""Which optimiser trains which parameter: Muon for hidden matrices, AdamW for everything else.

Muon (Jordan 2024; Liu et al. 2025, arXiv 2502.16982) orthogonalises the momentum of a matrix. Its update is scaled to the RMS of an
AdamW update (`match_rms_adamw`, 0.2 sqrt(max(rows, columns))), so both optimisers take learning rates of the same order and the same
weight decay. torch's Newton-Schulz runs in bfloat16, on a CPU with native bfloat16 twice as fast as in float32: 0.7 ms for a 128 x 128
matrix, 3 ms for 256 x 256, 8 ms for 1024 x 256, once per step and independent of the batch.

May import: torch. Refuses to know: models, beyond their modules' classes and the attribute `adamw`.
"""

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

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
        optimizers.append(Muon(hidden, lr=muon_learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


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
