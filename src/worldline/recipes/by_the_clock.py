"""How a `nano` world is trained by the clock on one processor core: what the recipes `push`, `droid` and `cars` share.

May import: train. Refuses to know: what is trained on.
"""

from dataclasses import replace

from worldline.train import TrainConfig


def tokenizer_training(minutes: float) -> TrainConfig:
    """Of the tokenizer."""
    return TrainConfig(
        steps=200_000,  # more than the minutes allow
        duration_seconds=60 * minutes,
        learning_rate=1e-3,
        muon_learning_rate=1e-2,
        warmup_steps=50,
        decay_fraction=0.3,
        sample_every_steps=500,
    )


def dynamics_training(minutes: float, *, sample_every_steps: int) -> TrainConfig:
    """Of the dynamics; heads learn beside it, and count little."""
    return replace(
        tokenizer_training(minutes),
        learning_rate=2e-3,
        loss_weights={"inverse": 0.05, "reward": 0.05},
        sample_every_steps=sample_every_steps,
    )
