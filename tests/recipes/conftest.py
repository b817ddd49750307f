from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore
from worldline.dynamics import SamplerConfig, ShortcutConfig
from worldline.interfaces import ActionSpec, Clip
from worldline.recipes import Recipe
from worldline.tokenizer import TokenizerConfig
from worldline.train import TrainConfig

SIZE, DOT = 16, 5
SPEC = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0))


def dot_clips(num_clips: int, *, num_frames: int, labelled: bool) -> Iterator[Clip]:
    """A bright dot on a grey ground that goes 4 pixels where the action says, up to the walls."""
    generator = torch.Generator().manual_seed(0)
    for index in range(num_clips):
        place = torch.rand(2, generator=generator) * (SIZE - DOT)
        actions = torch.rand(num_frames, 2, generator=generator) * 2 - 1
        frames = torch.full((num_frames, 3, SIZE, SIZE), 60, dtype=torch.uint8)
        for time in range(num_frames):
            left, top = place.round().int().tolist()
            frames[time, :, top : top + DOT, left : left + DOT] = 230
            place = (place + 4 * actions[time]).clamp(0, SIZE - DOT)
        yield Clip(frames=frames, rate_hz=5.0, source=f"episode_{index}", actions=actions if labelled else None)


def build_recipe(*, tokenizer_steps: int, dynamics_steps: int, sample_every_steps: int = 0) -> Recipe:
    def training(steps: int) -> TrainConfig:
        return TrainConfig(
            steps=steps,
            learning_rate=2e-3,
            muon_learning_rate=1e-2,
            warmup_steps=10,
            decay_fraction=0.4,
            ema_decay=0.9,
            bf16=False,
            loss_weights={"inverse": 0.05},
            checkpoint_every_steps=5 if steps < 50 else 1000,
            log_every_steps=10,
            sample_every_steps=sample_every_steps,
        )

    return Recipe(
        name="dot",
        size="nano",
        tokenizer=TokenizerConfig(image_size=SIZE, grid=2, latent_dim=8, width=64, num_layers=2, head_dim=32, window=1),
        tokenizer_training=training(tokenizer_steps),
        dynamics_training=training(dynamics_steps),
        shortcut=ShortcutConfig(self_after=dynamics_steps // 2),
        sampler=SamplerConfig(num_steps=2),
        tokenizer_batch=(32, 2),
        dynamics_batch=(16, 6),
        max_steps=4,
    )


@pytest.fixture
def dot_recipe() -> Callable[..., Recipe]:
    """Builds the smallest recipe that learns the dot."""
    return build_recipe


@pytest.fixture
def make_dot_store(tmp_path: Path) -> Callable[..., EpisodeStore]:
    """Builds a store of dots in `tmp_path / "dots"`."""

    def build(num_clips: int, *, num_frames: int = 14, labelled: bool = True) -> EpisodeStore:
        clips = dot_clips(num_clips, num_frames=num_frames, labelled=labelled)
        return EpisodeStore.build(tmp_path / "dots", clips, action_spec=SPEC if labelled else None)

    return build


@pytest.fixture
def dot_store(make_dot_store: Callable[..., EpisodeStore]) -> EpisodeStore:
    """Eight short episodes."""
    return make_dot_store(8)
