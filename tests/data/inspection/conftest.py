from collections.abc import Callable

import numpy as np
import pytest
import torch

from worldline.interfaces import Clip

SIZE = 48


@pytest.fixture(scope="session")
def steered_clips() -> Callable[..., list[Clip]]:
    """Builds clips of a disc that moves by what its action says, on a still background; the labels may be shifted against the pictures."""

    def build(num_clips: int = 12, num_frames: int = 40, *, lag: int = 0, smooth: float = 0.7, idle: int = 0) -> list[Clip]:
        generator = np.random.default_rng(3)
        down, across = np.mgrid[:SIZE, :SIZE]
        clips = []
        for number in range(num_clips):
            velocity = np.zeros((num_frames + 2 * abs(lag), 2))
            for time in range(1, len(velocity)):
                velocity[time] = smooth * velocity[time - 1] + generator.normal(size=2)
            place = SIZE / 2 + np.concatenate([np.zeros((1, 2)), np.cumsum(velocity - velocity.mean(0), axis=0)])
            background = 60 + 20 * np.sin(across / 7 + number)
            frames = []
            for x, y in place[abs(lag) : abs(lag) + num_frames]:
                distance = np.hypot(across - x % SIZE, down - y % SIZE)
                frames.append(background + 160 * np.clip(6 - distance, 0, 1))
            # At lag k the picture answers k frames after the row: the row holds what will be done k frames later.
            actions = (velocity - velocity.mean(0))[abs(lag) + lag : abs(lag) + lag + num_frames]
            still = np.zeros((num_frames, idle))
            clips.append(
                Clip(
                    frames=torch.from_numpy(np.stack(frames)).to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous(),
                    rate_hz=10.0,
                    source=f"disc/{number}",
                    actions=torch.from_numpy(np.concatenate([actions, still], axis=1)).float(),
                    text="move the disc",
                )
            )
        return clips

    return build
