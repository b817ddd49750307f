"""A fit that goes on where it was broken off: weights, Adam's moments and the random numbers of a moment, in one safetensors file.

May import: torch, safetensors. Refuses to know: what is fitted, and to what.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_FORMAT = "worldline-fit-1"
_EVERY = 250  # updates
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Where a fit is kept while it lasts.

    Attributes:
        path: of the file; None keeps nothing.
        settings: of the fit. A file of other settings is not gone on from, and is replaced.
    """

    path: Path | None
    settings: str

    def restore(self, model: nn.Module, optimizer: torch.optim.AdamW) -> int:
        """Become what was kept, torch's generator included, and say how many updates had been done; 0 if there is nothing to use."""
        if self.path is None or not self.path.is_file():
            return 0
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            if (about.get("format"), about.get("settings")) != (_FORMAT, self.settings):
                return 0
            weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
            moments = [{moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS} for name, _ in model.named_parameters()]
            model.load_state_dict(weights)
            done = int(about["updates"])
        except (SafetensorError, KeyError, ValueError, RuntimeError):
            return 0  # cut off or of another version: what it held is lost anyway, and the fit begins anew
        optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(enumerate(moments))})
        torch.set_rng_state(tensors["random"])
        return done

    def keep(self, done: int, model: nn.Module, optimizer: torch.optim.AdamW) -> None:
        """Save after update `done` if it is time to; the file appears whole or not at all."""
        if self.path is None or done % _EVERY:
            return
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            tensors |= {f"{moment}.{name}": optimizer.state[parameter][moment] for moment in _MOMENTS}
        self._write(tensors | {"random": torch.get_rng_state()}, done)

    def _write(self, tensors: dict[str, Tensor], done: int) -> None:
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        try:
            copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
            save_file(copies, partial, metadata={"format": _FORMAT, "settings": self.settings, "updates": str(done)})
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)
