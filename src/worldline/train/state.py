"""Everything that a training run is at one moment, and one step from there to the next.

May import: the other files of train. Refuses to know: files, clocks, signals, logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from worldline.interfaces import Batch, BatchSource, Trainable
from worldline.train.balance import LossBalance
from worldline.train.ema import WeightAverage
from worldline.train.guard import SpikeGuard
from worldline.train.optimizers import optimizer_tensors, restore_optimizers, scale_learning_rates


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one step came to: the terms of the loss, the gradient norm before clipping, and whether the step was taken."""

    terms: dict[str, float]
    gradient_norm: float
    accepted: bool


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """Model, optimisers and the statistics around them.

    `tensors` and `json_state` hold all of it, `restore` takes it back; between the two nothing is lost, to the bit.
    """

    model: nn.Module
    source: BatchSource
    optimizers: list[Optimizer]
    average: WeightAverage
    balance: LossBalance
    guard: SpikeGuard
    device: torch.device
    step: int = 0
    num_frames: int = 0

    def advance(self, batch: Batch, *, rate_factor: float, clip_norm: float | None, bf16: bool) -> StepResult:
        """One optimiser step on `batch`, or none if the guard refuses it; either way the batch counts as a step."""
        before = [(buffer, buffer.clone()) for buffer in self.model.buffers()]  # a forward pass may write into them, such as BatchNorm's
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            terms = cast(Trainable, self.model).loss(batch)
        self.balance.total(terms).backward()
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        *values, gradient_norm = torch.stack([*(term.detach().float() for term in terms.values()), norm.float()]).tolist()
        values = dict(zip(terms, values))
        active = "+".join(sorted(name for name, value in values.items() if value))  # the norm has another level under other terms
        accepted = self.guard.accept({**values, f"gradient norm of {active}": gradient_norm})
        if accepted:
            if clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
            scale_learning_rates(self.optimizers, rate_factor)
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update()
            self.balance.update(terms)
        else:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.num_frames += _num_frames(batch)
        return StepResult(terms=values, gradient_norm=gradient_norm, accepted=accepted)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the run by name; not copies."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        parts = {
            "model": self.model.state_dict(),
            "average": self.average.tensors(),
            "optimizer": optimizer_tensors(self.optimizers, self.model),
            "balance": self.balance.tensors(),
            "random": random,
        }
        return {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}

    def json_state(self) -> dict[str, Any]:
        """All of the run that is not a tensor."""
        return {
            "guard": self.guard.state_dict(),
            "average_updates": self.average.num_updates,
            "source": self.source.state_dict(),
            "num_frames": self.num_frames,
        }

    def restore(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Become what was saved, position in the data included; the random state comes back with `restore_random`.

        Raises:
            ValueError: if the checkpoint is of another model.
        """
        self.restore_weights(step, tensors, state)
        self.guard.load_state_dict(state["guard"])
        self.source.load_state_dict(state["source"])
        self.num_frames = state["num_frames"]

    def restore_weights(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go back to saved weights and optimiser state, but on with the data and random numbers, so as not to repeat what went wrong."""
        try:
            self.model.load_state_dict(_part(tensors, "model"))
            self.average.restore(_part(tensors, "average"), state["average_updates"])
        except (RuntimeError, ValueError) as error:
            name = type(self.model).__name__
            raise ValueError(f"the checkpoint of step {step} does not fit this {name}; give the model it was made by: {error}") from error
        restore_optimizers(self.optimizers, self.model, _part(tensors, "optimizer"))
        self.balance.restore({name: tensor.to(self.device) for name, tensor in _part(tensors, "balance").items()})
        self.step = step

    def restore_random(self, tensors: Mapping[str, Tensor]) -> None:
        """Set torch's random generators as saved."""
        random = _part(tensors, "random")
        torch.set_rng_state(random["cpu"])
        if self.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = part + "."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _num_frames(batch: Batch) -> int:
    video = batch.frames if batch.frames is not None else batch.latents
    assert video is not None
    return video.shape[0] * video.shape[1]
