"""A `World` puts the tokenizer and the dynamics together behind `interfaces.World`.

It owns the units: frames come in any size, actions in the environment's units.

May import: data, tokenizer, dynamics, world.config, world.detail, world.storage, interfaces. Refuses to know: planners, rewards, training.

Shapes: B batch, M samples, T frames, S tokens per frame, C latent channels, A action, H height, W width.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from worldline.data import Fit, read_video, resize_frames, to_float
from worldline.dynamics import Dynamics, HeadsOnDemand, SamplerConfig, absorb, advance
from worldline.interfaces import ActionSpec, Rollout, State
from worldline.tokenizer import Tokenizer
from worldline.world.config import WorldConfig
from worldline.world.detail import Detail
from worldline.world.storage import locate_world, read_world, write_world

_CHECKPOINT_FROM_FRAMES = 32


class World(nn.Module):
    """A learned world; implements `interfaces.World`.

    Gradients flow from frames, latents and heads to actions, noise, the prompt's latents and the parameters. Nothing here wraps itself in
    `no_grad`: do that around calls that need no gradient, it saves time and memory.
    """

    def __init__(self, config: WorldConfig, tokenizer: Tokenizer | None = None, dynamics: Dynamics | None = None):
        super().__init__()
        if (config.tokenizer.num_tokens, config.tokenizer.latent_dim) != (config.dynamics.num_tokens, config.dynamics.latent_dim):
            raise ValueError("the tokenizer's and the dynamics' latents have different shapes")
        self.config = config
        self.tokenizer = tokenizer or Tokenizer(config.tokenizer)
        self.dynamics = dynamics or Dynamics(config.dynamics)
        self.eval()

    @property
    def action_spec(self) -> ActionSpec | None:
        """Bounds of the actions; None for a world without actions."""
        return self.config.action_spec

    @property
    def noise_shape(self) -> tuple[int, int]:
        """(S, C): shape of the noise behind one frame."""
        return self.config.dynamics.num_tokens, self.config.dynamics.latent_dim

    @property
    def sampler(self) -> SamplerConfig:
        """How frames are drawn."""
        return self.config.sampler

    @property
    def evaluations_per_frame(self) -> int:
        """Passes of the network per imagined frame, K; see `interfaces.evaluations_per_frame`."""
        return self.sampler.num_steps

    def with_sampling(self, num_steps: int) -> "World":
        """The same world, sharing its weights, that draws a frame in `num_steps` steps: 1 is quick, `max_steps` is careful.

        Raises:
            ValueError: if `num_steps` is not a power of two up to the `max_steps` that the world was trained for.
        """
        most = self.config.dynamics.max_steps
        if num_steps < 1 or num_steps & (num_steps - 1) or num_steps > most:
            raise ValueError(f"num_steps is {num_steps}; this world draws in a power of two of steps, at most {most}")
        config = replace(self.config, sampler=replace(self.sampler, num_steps=num_steps))
        return World(config, self.tokenizer, self.dynamics)

    def with_action_space(self, name: str) -> "World":
        """The same world, sharing its weights, for one of the kinds of video that it was trained on (`config.action_spaces`).

        Its `action_spec` and rate are those of that kind, so planners, rollouts and figures work as in a world of nothing else.

        Raises:
            ValueError: if the world knows no such kind.
        """
        spaces = self.config.action_spaces
        if name not in spaces:
            known = ", ".join(spaces) or "none: it was trained on one kind of video"
            raise ValueError(f"this world has no action space {name!r}; it has {known}")
        config = replace(self.config, action_spec=spaces[name].spec, rate_hz=spaces[name].rate_hz)
        return World(config, self.tokenizer, self.dynamics)

    def prompt(self, video: str | Path | np.ndarray | Tensor, actions: np.ndarray | Tensor | None = None, *, fit: Fit = "stretch") -> State:
        """The state after a video: the world takes up where it ends.

        Args:
            video: a file; or frames (T, H, W, 3) or (T, 3, H, W), uint8 or float in [0, 1], of any size; or a batch of such,
                (B, T, 3, H, W) float. Only the last `context_frames` are looked at. Files are read at the world's frame rate.
            actions: (T, A) or (T - 1, A), in environment units; `actions[t]` was applied at frame t and led to frame t + 1. None if
                unknown. For a batch of videos (B, T, A) or (B, T - 1, A).
            fit: how frames of another aspect ratio are made square: `stretch`, `crop` or `pad`.

        Raises:
            VideoError: if there is no such file, or it cannot be read.
            ValueError: for wrong shapes, or values that are not finite or out of range.
        """
        frames = self._frames(video, fit)
        known = None if actions is None else self._prompt_actions(actions, frames)
        keep = self.config.dynamics.context_frames
        frames = frames[:, -(keep + self.config.tokenizer.window - 1) :]
        latents = self.tokenizer.encode(frames)[:, -keep:]
        if known is not None:
            known = known[:, known.shape[1] + 1 - latents.shape[1] :]
        state = self.prompt_latents(latents, known)
        if not self.config.detail_tolerance:
            return state
        return replace(state, detail=Detail.of(frames[:, -1], self.tokenizer.decode(state.latent), self.config.detail_tolerance))

    def prompt_latents(self, latents: Tensor, actions: Tensor | None = None) -> State:
        """The state after latents (B, T, S, C), with the actions (B, T - 1, A) between them; differentiable in both.

        Pictures of what follows are drawn from latents alone: there is no frame here whose detail could be kept.

        Raises:
            ValueError: for wrong shapes, or actions that are not finite.
        """
        if latents.ndim != 4 or latents.shape[2:] != self.noise_shape or 0 in latents.shape:
            raise ValueError(f"latents must be (B, T, {self.noise_shape[0]}, {self.noise_shape[1]}), got {tuple(latents.shape)}")
        latents, led = latents.to(self.tokenizer.encoder_position), None
        if actions is not None:
            batch, num_frames = latents.shape[:2]
            if actions.ndim != 3 or actions.shape[:2] != (batch, num_frames - 1):
                raise ValueError(f"actions must be ({batch}, {num_frames - 1}, A) between {num_frames} frames, got {tuple(actions.shape)}")
            led = self._normalized(actions)
            led = torch.cat([led.new_zeros(batch, 1, led.shape[-1]), led], dim=1)
        return self._public(absorb(self.dynamics, self.sampler, None, latents, led))

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """The next state under `action` (B, A), or the null action. See `interfaces.World.step`."""
        if action is not None and (action.ndim != 2 or len(action) != state.batch_size):
            raise ValueError(f"action must be (B, A) with B = {state.batch_size} rows like the state, got {tuple(action.shape)}")
        drawn = self._noise(noise, seed, state, (1, state.batch_size, 1))[0, :, 0]
        led = None if action is None else self._normalized(action)
        following = advance(self.dynamics, self.sampler, state, led, drawn.expand(state.batch_size, -1, -1))
        return replace(self._public(following), detail=state.detail)

    def rollout(
        self,
        state: State,
        actions: Tensor,
        *,
        samples: int = 1,
        noise: Tensor | None = None,
        seed: int | None = None,
        recompute: bool | None = None,
    ) -> Rollout:
        """Futures of `state` under `actions` (B, T, A). See `interfaces.World.rollout`.

        Args:
            state: batch 1, shared by all rows of actions without copies, or batch B.
            actions: (B, T, A) in environment units; (B, T, 0) for a world without actions.
            samples: M, futures per row; follows from `noise` where that is given.
            noise: (M, B or 1, T, S, C).
            seed: of the noise, if `noise` is not given.
            recompute: trade time for memory when gradients are recorded (activation checkpointing per frame). By default from 32 frames on.
        """
        if actions.ndim != 3 or state.batch_size not in (1, len(actions)) or 0 in actions.shape[:2]:
            rows_wanted = "any B" if state.batch_size == 1 else f"B = {state.batch_size} rows like the state"
            raise ValueError(f"actions must be (B, T, A) with {rows_wanted} and at least one frame, got {tuple(actions.shape)}")
        if samples < 1:
            raise ValueError(f"samples is {samples}; give at least 1")
        rows, num_frames = actions.shape[:2]
        samples = noise.shape[0] if noise is not None and samples == 1 else samples
        drawn = self._noise(noise, seed, state, (samples, rows, num_frames)).expand(samples, rows, -1, -1, -1).flatten(0, 1)
        led = None if self.action_spec is None and actions.shape[2] == 0 else self._normalized(actions).repeat(samples, 1, 1)
        current = self._rows_of(state, samples, rows)
        detail = current.detail
        remember = torch.is_grad_enabled() and (num_frames >= _CHECKPOINT_FROM_FRAMES if recompute is None else recompute)
        states = []
        for index in range(num_frames):
            arguments = (self.dynamics, self.sampler, current, None if led is None else led[:, index], drawn[:, index])
            current = checkpoint(advance, *arguments, use_reentrant=False, preserve_rng_state=False) if remember else advance(*arguments)
            current = self._public(current)
            states.append(current)

        def read_heads() -> dict[str, Tensor]:
            names = tuple(states[0].heads)
            return {name: torch.stack([s.heads[name] for s in states], dim=1).unflatten(0, (samples, rows)) for name in names}

        return Rollout(
            latents=torch.stack([state.latent for state in states], dim=1).unflatten(0, (samples, rows)),
            actions=actions if self.action_spec is not None else None,
            state=replace(current, detail=detail),
            heads=HeadsOnDemand(read_heads),
        )

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """Pixels in [0, 1] of a state (B, 3, H, W), a rollout (M, B, T, 3, H, W) or latents (..., S, C) -> (..., 3, H, W).

        Where nothing has changed since the newest frame of the prompt, pictures of states and rollouts keep its detail (`world.detail`).
        """
        if isinstance(source, State):
            frames = self.tokenizer.decode(source.latent)
            return frames if source.detail is None else source.detail.restore(frames.unsqueeze(1)).squeeze(1)
        if isinstance(source, Rollout):
            frames, detail = self.tokenizer.decode(source.latents), source.state.detail
            return frames if detail is None else detail.restore(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.tokenizer.decode(source)

    def fork(self, state: State, count: int) -> State:
        """`count` copies of each row, consecutive. The attention cache of the past is shared, not copied."""
        if count < 1:
            raise ValueError(f"count is {count}; give at least 1")

        def spread(x: Tensor) -> Tensor:
            return x.expand(count, *x.shape[1:]) if len(x) == 1 else x.repeat_interleave(count, 0)

        heads = HeadsOnDemand(lambda: {name: spread(value) for name, value in state.heads.items()})
        return replace(state, latent=spread(state.latent), heads=heads, text=None if state.text is None else spread(state.text))

    def select(self, state: State, rows: Tensor) -> State:
        """The state of rows (N,) of `state`, which may repeat; batch N. The past that all rows share stays shared. Differentiable.

        Raises:
            ValueError: if `rows` is not a list of rows of the state.
        """
        count = state.batch_size
        is_list = rows.ndim == 1 and len(rows) and not rows.is_floating_point() and rows.dtype != torch.bool
        if not is_list or not bool(((rows >= 0) & (rows < count)).all()):
            raise ValueError(f"rows must be (N,) integers from 0 to {count - 1}, got {tuple(rows.shape)} {rows.dtype}")
        rows = rows.long()  # as bytes they would be a mask
        return replace(
            state,
            latent=state.latent[rows],
            memory=state.memory.select(rows, count),
            heads=HeadsOnDemand(lambda: {name: value[rows] for name, value in state.heads.items()}),
            text=None if state.text is None else state.text[rows],
            detail=None if state.detail is None else state.detail.select(rows, count),
        )

    def restart(self, latents: Tensor) -> State:
        """The state at latents (B, S, C) with no past before them; differentiable in the latents."""
        return self.prompt_latents(latents.unsqueeze(1))

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> Path:
        """Write `config.json`, `model.safetensors` and a model card, `README.md`, into `folder`; each file appears whole or not at all.

        With `half` weights are rounded to float16, which halves the file. They are float32 again when loaded, so what comes back is
        another world by a hair, with a fingerprint of its own.

        Raises:
            ValueError: if a weight is beyond float16's 65504.
        """
        num_parameters = sum(parameter.numel() for parameter in self.parameters())
        return write_world(folder, self.config, self.state_dict(), num_parameters, half=half)

    @classmethod
    def from_pretrained(cls, source: str | Path) -> "World":
        """Load a folder that `save_pretrained` wrote, or a repository of the Hugging Face hub (`owner/name`). Only safetensors are read.

        Raises:
            FileNotFoundError: if there is no such folder, or it holds no world.
            ValueError: if the config or the weights are damaged, or belong to something else.
        """
        config, weights = read_world(source)
        try:
            # Shapes are compared before anything is allocated: a damaged config may ask for more memory than there is.
            with torch.device("meta"):
                expected = {name: value.shape for name, value in cls(config).state_dict().items()}
            found = {name: value.shape for name, value in weights.items()}
            wrong = sorted({name for name, _ in expected.items() ^ found.items()})
            if wrong:
                raise ValueError(f"config.json and model.safetensors do not belong together: they disagree on {', '.join(wrong[:3])}")
            world = cls(config)
            world.load_state_dict(weights)
        except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
            raise ValueError(f"the world in {source} cannot be loaded: {error}") from error
        return world

    @classmethod
    def load(cls, name: str | Path) -> "World":
        """Load a world by folder, by hub repository, or by the name of one that comes with the package: `tiny`, or `worldline/tiny`."""
        return cls.from_pretrained(locate_world(name))

    def fingerprint(self) -> str:
        """SHA-256 of the weights: two worlds with the same one dream the same."""
        return self.digest(self)

    @staticmethod
    def digest(module: nn.Module) -> str:
        """SHA-256 of a module's parameters and buffers, by name."""
        digest = hashlib.sha256()
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.int8).numpy().tobytes())
        return digest.hexdigest()

    def _frames(self, video: str | Path | np.ndarray | Tensor, fit: Fit) -> Tensor:
        size = self.config.tokenizer.image_size
        like = self.tokenizer.encoder_position
        if isinstance(video, str | Path):
            video = read_video(video, size=size, fit=fit, rate_hz=self.config.rate_hz).frames
        frames = torch.as_tensor(video)
        frames = frames if frames.is_floating_point() else to_float(frames)
        if frames.ndim == 4 and frames.shape[1] != 3 and frames.shape[-1] == 3:
            frames = frames.permute(0, 3, 1, 2)
        if frames.ndim == 4:
            frames = frames.unsqueeze(0)
        if frames.ndim != 5 or frames.shape[2] != 3 or 0 in frames.shape:
            shape = tuple(frames.shape)
            raise ValueError(f"video must be (T, H, W, 3), (T, 3, H, W) or (B, T, 3, H, W) with at least one frame, got {shape}")
        if not bool(torch.isfinite(frames).all()) or frames.min() < -1e-3 or frames.max() > 1 + 1e-3:
            raise ValueError("float video must be finite and in [0, 1]; divide by 255, or pass uint8")
        if frames.shape[-2:] != (size, size):
            frames = resize_frames(frames.flatten(0, 1), size, fit).unflatten(0, frames.shape[:2])
        return frames.to(device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))

    def _prompt_actions(self, actions: np.ndarray | Tensor, frames: Tensor) -> Tensor:
        batch, num_frames = frames.shape[:2]
        values = torch.as_tensor(actions).to(device=frames.device)
        values = values.unsqueeze(0) if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[0] != batch or values.shape[1] not in (num_frames, num_frames - 1):
            shape = f"({batch}, T, A) or ({batch}, T - 1, A)" if batch > 1 else "(T, A) or (T - 1, A)"
            raise ValueError(f"actions must be {shape} for T = {num_frames} frames, got {tuple(values.shape)}")
        return values[:, : num_frames - 1]

    def _normalized(self, actions: Tensor) -> Tensor:
        if self.action_spec is None:
            spaces = ", ".join(name for name, space in self.config.action_spaces.items() if space.spec is not None)
            why = f"has actions of several kinds; choose one by with_action_space({spaces})" if spaces else "was trained without actions"
            raise ValueError(f"this world {why}; without, give None, or (B, T, 0) to a rollout")
        if not bool(torch.isfinite(actions).all()):
            raise ValueError("actions contain NaN or infinity; replace them by finite ones, or give None where the action is unknown")
        like = self.tokenizer.encoder_position
        # In half precision a position of 301 pixels would be rounded to 302 before it is made small.
        exact = actions.to(device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))
        normalized = self.action_spec.normalize(exact).to(like)
        return F.pad(normalized, (0, self.config.dynamics.action_dim - self.action_spec.dim))

    def _noise(self, noise: Tensor | None, seed: int | None, state: State, lead: tuple[int, int, int]) -> Tensor:
        """Noise (M, B or 1, T, S, C): as given, drawn per frame from (seed, position), or from the global generator."""
        samples, rows, num_frames = lead
        like = state.latent
        if noise is not None:
            noise = noise[None, :, None] if noise.ndim == 3 else noise
            frames_shape = (num_frames, *self.noise_shape)
            if noise.ndim != 5 or noise.shape[:1] != (samples,) or noise.shape[1] not in (1, rows) or noise.shape[2:] != frames_shape:
                raise ValueError(f"noise must be {(samples, rows, *frames_shape)}, or with 1 row for all, got {tuple(noise.shape)}")
            return noise.to(like)
        if seed is None:
            return torch.randn(samples, rows, num_frames, *self.noise_shape, dtype=like.dtype, device=like.device)
        frames = []
        for position in range(state.position, state.position + num_frames):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + position) % 2**63)
            frames.append(torch.randn(samples, 1, *self.noise_shape, generator=generator, dtype=torch.float32))
        return torch.stack(frames, dim=2).to(like)

    def _rows_of(self, state: State, samples: int, rows: int) -> State:
        """The state for samples * rows futures, samples first. One prompt is shared; several are copied only if sampled more than once."""
        if state.batch_size == 1:
            return self.fork(state, samples * rows)
        if samples == 1:
            return state
        return self.select(state, torch.arange(rows, device=state.latent.device).repeat(samples))

    def _public(self, state: State) -> State:
        heads = state.heads
        return replace(state, heads=HeadsOnDemand(lambda: {name: self._head(name, value) for name, value in heads.items()}))

    def _head(self, name: str, value: Tensor) -> Tensor:
        if name == "inverse_action" and self.action_spec is not None:
            return self.action_spec.denormalize(value[..., : self.action_spec.dim])
        return value
