"""A goal picture is the farther away, the farther its things are out of place, overlapping or not."""

import math
from itertools import pairwise

import pytest
import torch

from worldline.interfaces import Objective, Rollout, State
from worldline.reward import GoalPicture
from worldline.reward.picture import cosine_transform

SIDE = 32


def draw(latents: torch.Tensor) -> torch.Tensor:
    """Latents (..., 1, 2) are where a small blob is, in pixels: (..., 3, 32, 32)."""
    places = torch.arange(SIDE, dtype=latents.dtype)
    x, y = latents[..., 0, 0, None, None], latents[..., 0, 1, None, None]
    blob = torch.exp(-((places[:, None] - y).square() + (places - x).square()) / (2 * 1.5**2))
    return 0.2 + 0.7 * blob.unsqueeze(-3).expand(*blob.shape[:-2], 3, SIDE, SIDE)


def at(x: float, y: float) -> torch.Tensor:
    return torch.tensor([[x, y]], dtype=torch.float64)


def rollout_of(latents: torch.Tensor) -> Rollout:
    return Rollout(latents=latents, actions=None, state=State(latent=latents[:, :, -1].flatten(0, 1), position=1))


def costs(objective: GoalPicture, *places: torch.Tensor) -> list[float]:
    return (-objective(rollout_of(torch.stack(places)[None, :, None]))).tolist()


GOAL, START = at(8, 16), at(24, 16)


def test_the_transform_is_orthonormal_and_knows_a_cosine():
    matrix = cosine_transform(8)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(8, dtype=torch.float64))
    wave = torch.cos(math.pi * 3 * (torch.arange(8, dtype=torch.float64) + 0.5) / 8)
    assert (matrix @ wave).tolist() == pytest.approx([0, 0, 0, 2, 0, 0, 0, 0], abs=1e-12)


def test_it_costs_nothing_at_the_goal_and_one_at_the_start():
    for orders in ((0.0,), (1.0,), (0.0, 1.5)):
        objective = GoalPicture(GOAL, START, draw, orders=orders)
        assert isinstance(objective, Objective)
        assert costs(objective, GOAL, START) == pytest.approx([0, 1], abs=1e-9)


def test_order_0_is_the_squared_difference_of_pixels_and_flat_without_overlap():
    objective = GoalPicture(GOAL, START, draw, orders=(0.0,))
    nearer = at(18, 16)
    expected = (draw(nearer) - draw(GOAL)).square().sum() / (draw(START) - draw(GOAL)).square().sum()
    (cost,) = costs(objective, nearer)
    assert cost == pytest.approx(expected.item())
    assert cost == pytest.approx(1, abs=0.01)


def test_negative_norms_fall_all_the_way():
    for orders in ((1.0,), (1.5,), (0.0, 1.5)):
        along = costs(GoalPicture(GOAL, START, draw, orders=orders), *(at(x, 16) for x in range(24, 7, -2)))
        assert all(later < earlier - 0.02 for earlier, later in pairwise(along))
    straight = costs(GoalPicture(GOAL, START, draw, orders=(1.5,)), *(at(x, 16) for x in (20, 16, 12)))
    assert straight == pytest.approx([0.75, 0.5, 0.25], abs=0.15)  # the energy distance of points is their distance


def test_the_gradient_points_to_a_goal_that_is_not_touched():
    place = START.clone().requires_grad_()
    (slope,) = torch.autograd.grad(GoalPicture(GOAL, START, draw)(rollout_of(place[None, None, None])).sum(), place)
    assert slope[0, 0] < -0.02
    assert abs(slope[0, 1]) < 0.1 * abs(slope[0, 0])
    places = (30 * torch.rand(1, 2, 3, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GoalPicture(GOAL, START, draw)(rollout_of(x)), (places,))


def test_samples_are_averaged_and_time_is_pooled_as_asked():
    path = torch.stack([at(24, 16), at(8, 16), at(16, 16)])
    latents = torch.stack([path, path.flip(0)])[:, None]
    each = costs(GoalPicture(GOAL, START, draw), *path)
    halfway = each[2]
    mean = (1 + halfway) / 3
    for over_time, expected in (("final", (halfway + 1) / 2), ("mean", mean), ("nearest", 0.1 * mean)):
        objective = GoalPicture(GOAL, START, draw, over_time=over_time)
        assert objective(rollout_of(latents)).item() == pytest.approx(-expected)
    weighed = 2 * GoalPicture(GOAL, START, draw, over_time="mean") + 1.0
    assert weighed(rollout_of(latents)).item() == pytest.approx(1 - 2 * mean)


def test_a_start_at_the_goal_is_finite():
    assert costs(GoalPicture(GOAL, GOAL, draw), GOAL) == [0]
    assert math.isfinite(costs(GoalPicture(GOAL, GOAL, draw), START)[0])


def test_problems_side_by_side_cost_what_each_costs_alone():
    goals, starts = torch.stack([GOAL, at(20, 8)]), torch.stack([START, at(5, 25)])
    places = torch.stack([torch.stack([at(x, 12), at(x, 20)]) for x in (6, 10, 14, 22)])[None]
    together = GoalPicture(goals, starts, draw)(rollout_of(places))
    alone = [GoalPicture(goals[row], starts[row], draw)(rollout_of(places[:, 2 * row : 2 * row + 2])) for row in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))
    with pytest.raises(ValueError, match="as many rows"):
        GoalPicture(goals, starts, draw)(rollout_of(places[:, :3]))


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((GOAL, at(1, 2).repeat(2, 1)), {}, "finite latents"),
        ((GOAL * math.nan, START), {}, "finite latents"),
        ((GOAL, START), {"orders": ()}, "at least one"),
        ((GOAL, START), {"orders": (-1.0,)}, "none of them negative"),
        ((GOAL, START), {"over_time": "sometimes"}, '"final", "mean" or "nearest"'),
    ],
)
def test_wrong_options_say_what_is_allowed(arguments, options, said):
    with pytest.raises(ValueError, match=said):
        GoalPicture(*arguments, draw, **options)


def test_latents_of_another_world_are_refused():
    with pytest.raises(ValueError, match="same world"):
        GoalPicture(GOAL, START, draw)(rollout_of(torch.zeros(1, 1, 2, 3, 2)))
