"""A distance learned from video alone knows of a detour that the latents do not show."""

import pytest
import torch

from worldline.interfaces import Batch, Objective, Rollout, State, Trainable
from worldline.reward import FramesToGoal, GoalClip, TemporalDistance, TemporalDistanceConfig


def walk(start: torch.Tensor, frames: int) -> torch.Tensor:
    """Points (B, T, 1, 2) that go round a horseshoe at a fixed speed: its two ends are near each other."""
    angle = 0.3 + 5.6 * (start[:, None] + torch.arange(frames) / 20)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)[:, :, None]


def trained() -> TemporalDistance:
    generator = torch.Generator().manual_seed(0)
    distance = TemporalDistance(TemporalDistanceConfig(num_tokens=1, latent_dim=2, width=32, max_frames=40))
    optimizer = torch.optim.Adam(distance.parameters(), lr=1e-2)
    for _ in range(150):
        batch = Batch(latents=walk(0.05 * torch.rand(16, generator=generator), 21))
        optimizer.zero_grad()
        torch.stack(list(distance.loss(batch).values())).sum().backward()
        optimizer.step()
    return distance.requires_grad_(False)


def test_counts_frames_and_minds_the_detour():
    distance = trained()
    assert isinstance(distance, Trainable)
    path = walk(torch.tensor([0.1]), 9)[0]
    near, far = distance(path[0], path[2]), distance(path[0], path[8])
    assert near < far
    ends = walk(torch.tensor([0.0]), 21)[0]
    assert (ends[0] - ends[20]).norm() < (ends[0] - ends[6]).norm(), "a straight line says that the other end is near"
    assert distance(ends[0], ends[20]) > distance(ends[0], ends[6])
    goal = FramesToGoal(distance, path[8])
    assert isinstance(goal, Objective)
    latents = torch.stack([path[:4], path[3:7]])[None].requires_grad_()
    rollout = Rollout(latents=latents, actions=None, state=State(latent=latents[0, :, -1], position=4))
    scores = goal(rollout)
    assert scores[1] > scores[0]
    assert torch.autograd.grad(scores.sum(), latents)[0].abs().sum() > 0
    mean = FramesToGoal(distance, path[8], over_time="mean")(rollout)
    torch.testing.assert_close(mean[0], -torch.stack([distance(path[t], path[8]) for t in range(4)]).mean())


def test_a_goal_clip_is_met_frame_by_frame():
    path = walk(torch.tensor([0.1, 0.3]), 6)
    rollout = Rollout(latents=path[None], actions=None, state=State(latent=path[:, -1], position=6))
    clip = GoalClip(path[0, 3:])
    assert clip(rollout)[0] == 0
    expected = -(path[1, 3:] - path[0, 3:]).square().mean()
    torch.testing.assert_close(clip(rollout)[1], expected)
    assert GoalClip(path[0, 3:].flip(0))(rollout)[0] < 0, "the order counts"
    with pytest.raises(ValueError, match="plan at least as far"):
        GoalClip(walk(torch.tensor([0.0]), 7)[0])(rollout)
    with pytest.raises(ValueError, match=r"give the finite latents \(G, S, C\)"):
        GoalClip(path)
    with pytest.raises(ValueError, match="token_weights"):
        GoalClip(path[0], token_weights=torch.zeros(1))


def test_unusable_input_says_what_is_needed():
    with pytest.raises(ValueError, match="width is 0"):
        TemporalDistanceConfig(num_tokens=1, latent_dim=2, width=0)
    distance = TemporalDistance(TemporalDistanceConfig(num_tokens=1, latent_dim=2))
    with pytest.raises(ValueError, match="at least two frames"):
        distance.loss(Batch(latents=torch.zeros(3, 1, 1, 2)))
    with pytest.raises(ValueError, match=r"made for \(..., S, C\) = \(1, 2\)"):
        distance(torch.zeros(2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="over_time"):
        FramesToGoal(distance, torch.zeros(1, 2), over_time="best")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match=r"give the latents \(S, C\)"):
        FramesToGoal(distance, torch.zeros(2))
