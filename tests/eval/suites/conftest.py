"""Worlds whose figures are known: the truth, played again; the last frame, held; and a point mass under its own law."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from worldline.data import to_float, to_uint8
from worldline.eval.suites.episodes import Episodes
from worldline.interfaces import ActionSpec, Clip, Rollout, State
from worldline.testing import PointMassWorld

SIZE, RATE_HZ = 24, 5.0


def config() -> Any:
    return SimpleNamespace(
        rate_hz=RATE_HZ,
        provenance={},
        tokenizer=SimpleNamespace(image_size=SIZE),
        dynamics=SimpleNamespace(max_steps=8, context_frames=32),
    )


class ReplayWorld:
    """Knows the films by heart: a latent is (film, frame), so what it imagines is true to the byte. Blind to actions."""

    noise_shape = (1, 2)
    sampler = SimpleNamespace(num_steps=1)

    def __init__(self, clips: Sequence[Clip], *, moves: bool = True) -> None:
        self.config, self.moves = config(), moves
        self.films = torch.stack([to_float(clip.frames) for clip in clips])
        actions = clips[0].actions
        self.action_spec = None if actions is None else ActionSpec(low=(-1.0,) * actions.shape[1], high=(1.0,) * actions.shape[1])
        self.tokenizer = SimpleNamespace(
            encode=lambda frames: frames.flatten(3).unsqueeze(3),
            decode=lambda latents: latents.squeeze(3).unflatten(3, (SIZE, SIZE)) if latents.ndim == 5 else latents,
            encoder_position=torch.zeros(1),
        )

    def prompt(self, video: Tensor, actions: Tensor | None = None) -> State:
        rows = []
        for row in video:
            same = (self.films - row[-1]).abs().amax((2, 3, 4)) < 1e-6
            rows.append(same.nonzero()[0].float())
        return State(latent=torch.stack(rows).unsqueeze(1), position=video.shape[1])

    def rollout(self, state: State, actions: Tensor, *, samples: int = 1, noise: Tensor | None = None, seed: int | None = None) -> Rollout:
        ahead = torch.arange(1, actions.shape[1] + 1) if self.moves else torch.zeros(actions.shape[1])
        latents = state.latent.unsqueeze(1).repeat(1, actions.shape[1], 1, 1)
        latents[..., 0, 1] += ahead
        latents[..., 0, 1].clamp_(max=self.films.shape[1] - 1)
        return Rollout(latents=latents.expand(samples, -1, -1, -1, -1), actions=actions, state=state)

    def decode(self, source: Any) -> Tensor:
        film, frame = source.latents[..., 0, :].long().unbind(-1)
        return self.films[film, frame]

    def with_sampling(self, num_steps: int) -> "ReplayWorld":
        return self


class TrueWorld(PointMassWorld):
    """The law of the point mass: what it imagines is right up to the bytes of its prompt, and it heeds its actions."""

    sampler = SimpleNamespace(num_steps=1)

    def __init__(self, *, heeds: bool = True) -> None:
        super().__init__(size=SIZE, action_limit=1.0, blob_radius=0.15)
        self.config, self.heeds = config(), heeds
        self.tokenizer = SimpleNamespace(encode=lambda frames: frames.flatten(3).unsqueeze(3), encoder_position=torch.zeros(1))

    def prompt(self, video: Tensor, actions: Tensor | None = None) -> State:
        rows = [super(TrueWorld, self).prompt(row, actions=None if actions is None else actions[i]) for i, row in enumerate(video)]
        return State(latent=torch.cat([row.latent for row in rows]), position=rows[0].position)

    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        return super().rollout(state, actions if self.heeds else actions * 0, samples=samples, noise=noise, seed=seed)

    def with_sampling(self, num_steps: int) -> "TrueWorld":
        return self


def point_mass_films(num_clips: int = 24, num_frames: int = 24) -> list[Clip]:
    """Episodes of the point mass, drawn to the middle, with states, and a friction that differs (and does nothing)."""
    world, clips = TrueWorld(), []
    for index in range(num_clips):
        state = world.state((torch.rand(1, 4, dtype=torch.float64) - 0.5) * 0.8)
        latents, actions = [state.latent], []
        for _ in range(num_frames - 1):
            place, speed = state.latent[:, 0], state.latent[:, 1]
            actions.append((torch.randn(1, 2, dtype=torch.float64) * 0.6 - place - 0.7 * speed).clamp(-1, 1).float().double())
            state = world.step(state, actions[-1])
            latents.append(state.latent)
        video = torch.cat(latents)
        clips.append(
            Clip(
                frames=to_uint8(world.decode(video)),
                rate_hz=RATE_HZ,
                source=f"film_{index}",
                actions=torch.cat([*actions, torch.zeros(1, 2)]).float(),
                states=video.flatten(1).float(),
                facts={"attribute.friction": 0.1 * index},
            )
        )
    return clips


@pytest.fixture
def films() -> list[Clip]:
    return point_mass_films()


@pytest.fixture
def true_world() -> Any:
    return TrueWorld()


@pytest.fixture
def replay() -> Callable[..., Any]:
    """Builds a world that knows the given films by heart; with `moves=False`, one that stops them."""
    return ReplayWorld


@pytest.fixture
def episodes_of() -> Callable[..., Episodes]:
    """Builds the episodes of films as a world sees them."""

    def build(world: Any, clips: Sequence[Clip], **options: Any) -> Episodes:
        return Episodes(clips, world, **options)

    return build
