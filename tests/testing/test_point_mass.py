"""The point mass can be seen, and what is seen tells where it is."""

import pytest
import torch

from worldline.testing import PointMassWorld

WORLD = PointMassWorld()


def test_blob_is_where_the_point_is():
    pixels = WORLD.decode(WORLD.state(torch.tensor([[0.5, -0.25, 9.0, 9.0]], dtype=torch.float64)))
    assert pixels.shape == (1, 3, 32, 32)
    row, column = divmod(int(pixels[0, 0].argmax()), 32)
    assert abs(column + 0.5 - 24) <= 0.5  # x = 0.5 is three quarters to the right
    assert abs(row + 0.5 - 12) <= 0.5  # y = -0.25 is above the middle
    assert pixels[0, 0].max() > 0.85
    assert pixels[0, 0, 0, 0] == pytest.approx(0.2)


def test_prompt_recovers_position_and_velocity_from_pixels():
    start = torch.tensor([[-0.4, 0.3, 0.5, -0.2]], dtype=torch.float64)
    actions = torch.tensor([[[1.0, 0.5], [-1.0, 2.0], [0.3, -0.7]]], dtype=torch.float64)
    rollout = WORLD.rollout(WORLD.state(start), actions)
    video = torch.cat([WORLD.decode(WORLD.state(start)), WORLD.decode(rollout)[0, 0]])
    state = WORLD.prompt(video, actions=actions[0])
    assert state.position == 4
    torch.testing.assert_close(state.latent, rollout.state.latent, rtol=0, atol=1e-3)
    still = WORLD.prompt(video[:1])
    torch.testing.assert_close(still.latent[0, 0], start[0, :2], rtol=0, atol=1e-3)
    assert (still.latent[0, 1] == 0).all()


def test_pixels_have_the_true_gradient_to_actions():
    state = WORLD.state(torch.tensor([[0.1, -0.2, 0.3, 0.0]], dtype=torch.float64))
    actions = torch.zeros(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda plan: WORLD.decode(WORLD.rollout(state, plan))[..., 10:20, 10:20], (actions,))


def test_prompt_refuses_other_videos():
    with pytest.raises(ValueError, match=r"give \(T, 3, 32, 32\)"):
        WORLD.prompt(torch.zeros(3, 16, 16))
    with pytest.raises(ValueError, match="at least one frame"):
        WORLD.prompt(torch.zeros(0, 3, 32, 32))
