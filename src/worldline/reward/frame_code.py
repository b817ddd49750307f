"""A frame as one vector, learned from video alone: frames of one video that are near in time have near vectors, other videos' do not.

May import: torch, safetensors, `worldline.interfaces` and its siblings in `reward`. Refuses to know: pixels, actions, worlds.

Shapes: B rows, M samples, T frames, S tokens, C latent channels, W width, D components of a code.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from worldline.interfaces import Batch, Rollout
from worldline.reward.compose import Composable

_FORMAT = "worldline-frame-code-1"


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameCodeConfig:
    """Shape of a `FrameCode`.

    Attributes:
        num_tokens: S.
        latent_dim: C.
        code_dim: D.
        width: of the hidden layers, and of `FrameCode.features`, W.
        num_layers: residual layers.
        temperature: of the softmax over the batch. Low, what is nearly alike is told apart, and learning is fast.
        late_temperature: after `late_after` updates. High, a code varies slowly, and more of it is a sum of components.
        late_after: updates.

    Raises:
        ValueError: if a number is not positive.
    """

    num_tokens: int
    latent_dim: int
    code_dim: int = 128
    width: int = 768
    num_layers: int = 2
    temperature: float = 0.2
    late_temperature: float = 0.5
    late_after: int = 2500

    def __post_init__(self) -> None:
        for name in ("num_tokens", "latent_dim", "code_dim", "width", "num_layers", "temperature", "late_temperature", "late_after"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")


class FrameCode(nn.Module):
    """One vector of length 1 for a frame, trained by contrast over time; implements `interfaces.Trainable`.

    InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) as in time-contrastive networks (Sermanet et al. 2018, arXiv 1704.06888): among
    the frames of a batch, each of another video, the one has to be found that comes some seconds later. What tells is what stays and what
    moves slowly: where things lie and how they are turned. A sum of `features` can say that where none of latents can. They are what
    the code is a projection of, which keeps less (Chen et al. 2020, arXiv 2002.05709).

    Args:
        config: shape.
        mean: (S, C), of latents; inputs are standardised. 0 if None.
        std: (S, C), likewise; 1 if None.
    """

    mean: Tensor
    std: Tensor
    updates: Tensor

    def __init__(self, config: FrameCodeConfig, *, mean: Tensor | None = None, std: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        shape, width = (config.num_tokens, config.latent_dim), config.width
        self.register_buffer("mean", torch.zeros(shape) if mean is None else mean)
        self.register_buffer("std", torch.ones(shape) if std is None else std)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.into = nn.Linear(config.num_tokens * config.latent_dim, width)
        self.layers = nn.ModuleList(_Residual(width) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.code_dim)
        self.out.adamw = True  # ty: ignore[invalid-assignment]

    def features(self, latents: Tensor) -> Tensor:
        """(..., W) of latents (..., S, C): what the code is made from, for probes and heads; differentiable.

        Raises:
            ValueError: if the latents are not (..., S, C).
        """
        shape = (self.config.num_tokens, self.config.latent_dim)
        if latents.shape[-2:] != shape:
            raise ValueError(f"latents are {tuple(latents.shape)}; this code was made for (..., S, C) = {shape}")
        x = F.silu(self.into(((latents.to(self.mean) - self.mean) / self.std).flatten(-2)))
        for layer in self.layers:
            x = layer(x)
        return F.silu(self.norm(x))

    def forward(self, latents: Tensor) -> Tensor:
        """Codes (..., D), of length 1, of latents (..., S, C); differentiable.

        Raises:
            ValueError: if the latents are not (..., S, C).
        """
        return F.normalize(self.out(self.features(latents)).float(), dim=-1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of finding each row's last frame by its first, and its first by its last, among the rows of the batch.

        Rows that show the same as another, such as pieces of one long video, are taken for different all the same; draw from many.

        Raises:
            ValueError: if the batch has no latents, fewer than two rows, or a single frame in each.
        """
        if batch.latents is None or min(batch.latents.shape[:2]) < 2:
            raise ValueError("a frame code is trained on latents (B, T, S, C), both B and T two or more; encode the frames first")
        first, last = self(batch.latents[:, [0, -1]]).unbind(1)
        with torch.autocast(first.device.type, enabled=False):
            likeness = first @ last.T / self._temperature()
            rows = torch.arange(len(likeness), device=likeness.device)
            contrast = (F.cross_entropy(likeness, rows) + F.cross_entropy(likeness.T, rows)) / 2
        if self.training:
            self.updates += 1
        return {"contrast": contrast}

    def _temperature(self) -> float:
        config = self.config
        return config.temperature if int(self.updates) < config.late_after else config.late_temperature


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(self.norm(x))))


class GoalCode(Composable):
    """Objective: minus one minus the cosine between a rollout's codes and a goal's; 0 at the goal, -2 at most.

    Args:
        code: trained; its weights are used as they are when the objective is called.
        goal_latent: (S, C).
        over_time: "final" judges the last frame only, "mean" every frame alike.

    Raises:
        ValueError: if the goal is not (S, C), or the option unknown.
    """

    def __init__(self, code: FrameCode, goal_latent: Tensor, *, over_time: Literal["final", "mean"] = "final") -> None:
        if goal_latent.ndim != 2:
            raise ValueError(f"goal_latent is {tuple(goal_latent.shape)}; give the latents (S, C) of one frame")
        if over_time not in ("final", "mean"):
            raise ValueError(f'over_time is {over_time!r}; choose "final" or "mean"')
        self.code, self.goal_latent, self.over_time = code, goal_latent, over_time

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) scores, mean over samples."""
        latents = rollout.latents[:, :, -1:] if self.over_time == "final" else rollout.latents
        return (self.code(latents) @ self.code(self.goal_latent) - 1).mean((0, 2))


def save_frame_code(code: FrameCode, path: str | Path, *, tokenizer: str, half: bool = False) -> Path:
    """Write a code to a safetensors file, which appears whole or not at all.

    Args:
        code: whose weights are written.
        path: of the file.
        tokenizer: digest of the tokenizer whose latents it reads, `World.digest(world.tokenizer)`.
        half: round weights to float16.

    Raises:
        ValueError: if a weight is not finite as written; nothing is written.
    """
    path = Path(path)
    weights = {
        name: (value.half() if half and value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in code.state_dict().items()
    }
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError(f"this frame code has weights that are not finite as written, and is not written to {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(weights, partial, metadata={"format": _FORMAT, "config": json.dumps(asdict(code.config)), "tokenizer": tokenizer})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_frame_code(path: str | Path, *, tokenizer: str) -> FrameCode:
    """A code that `save_frame_code` wrote, for the latents of the tokenizer of that digest; in evaluation mode, its weights frozen.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, holds something else, or reads another tokenizer's latents.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no frame code at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in list(file.keys())}
        if about.get("format") != _FORMAT:
            raise ValueError(f"its format is {about.get('format')!r}, not {_FORMAT!r}")
        with torch.device("meta"):  # shapes first: a damaged config may ask for more memory than there is
            expected = {name: value.shape for name, value in FrameCode(FrameCodeConfig(**json.loads(about["config"]))).state_dict().items()}
        if expected != {name: value.shape for name, value in weights.items()}:
            raise ValueError("its config and its weights do not belong together")
        code = FrameCode(FrameCodeConfig(**json.loads(about["config"])))
        code.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} holds no frame code that can be read: {error}") from error
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError(f"{path} holds a frame code with weights that are not finite")
    if about.get("tokenizer") != tokenizer:
        raise ValueError(f"the frame code in {path} reads the latents of another tokenizer than this world's")
    return code.eval().requires_grad_(False)
