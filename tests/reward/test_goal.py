"""Goal objectives are the formula in their docstring, whatever is done to their inputs."""

import math

import pytest
import torch

from worldline.interfaces import Objective, Rollout, State
from worldline.reward import GoalLatent, moving_token_weights, nearest

GENERATOR = torch.Generator().manual_seed(0)
LATENTS = torch.randn(2, 3, 4, 5, 6, generator=GENERATOR, dtype=torch.float64)  # M, B, T, S, C
GOAL = torch.randn(5, 6, generator=GENERATOR, dtype=torch.float64)


def rollout_of(latents: torch.Tensor) -> Rollout:
    return Rollout(latents=latents, actions=None, state=State(latent=latents[:, :, -1].flatten(0, 1), position=1))


def test_final_squared_distance_is_the_mean_over_tokens_channels_and_samples():
    objective = GoalLatent(GOAL)
    assert isinstance(objective, Objective)
    scores = objective(rollout_of(LATENTS))
    assert scores.shape == (3,)
    expected = [-sum(((LATENTS[m, b, 3] - GOAL) ** 2).mean().item() for m in range(2)) / 2 for b in range(3)]
    assert scores.tolist() == pytest.approx(expected)


def test_absolute_distance_over_time_with_a_heavier_end():
    scores = GoalLatent(GOAL, over_time="mean", final_weight=5.0, distance="mae")(rollout_of(LATENTS))
    per_frame = (LATENTS - GOAL).abs().mean((-1, -2)).mean(0)
    expected = -(per_frame[:, :3].sum(1) + 5 * per_frame[:, 3]) / 8
    torch.testing.assert_close(scores, expected)


def test_the_nearest_frame_counts_for_nine_tenths_in_each_sample():
    scores = GoalLatent(GOAL, over_time="nearest", token_weights=torch.arange(5.0))(rollout_of(LATENTS))
    per_frame = ((LATENTS - GOAL).square().mean(-1) * torch.arange(5.0, dtype=torch.float64) / 2).mean(-1)
    torch.testing.assert_close(scores, -(0.9 * per_frame.amin(2) + 0.1 * per_frame.mean(2)).mean(0))


def test_a_detour_that_passes_the_goal_beats_staying_near_it_and_the_earlier_one_wins():
    goal, away = torch.zeros(5, 6), torch.ones(5, 6)
    far, near = 3 * away, 0.5 * away
    plans = torch.stack([torch.stack([far, far, goal]), torch.stack([near, near, near]), torch.stack([far, goal, near])])[None]
    scores = GoalLatent(goal, over_time="nearest")(rollout_of(plans))
    assert scores[2] > scores[0]
    assert GoalLatent(goal, over_time="mean")(rollout_of(plans)).argmax() == 1
    assert nearest(torch.tensor([[0.0, 2.0], [1.0, 1.0]])).tolist() == pytest.approx([0.1, 1.0])


def test_reaching_the_goal_is_best_and_scores_zero():
    at_goal = GOAL.expand(1, 1, 2, 5, 6)
    for objective in (GoalLatent(GOAL), GoalLatent(GOAL, over_time="mean", distance="mae"), GoalLatent(GOAL, over_time="nearest")):
        assert objective(rollout_of(at_goal)).item() == 0
        assert objective(rollout_of(at_goal + 0.01)).item() < 0


@pytest.mark.parametrize("over_time", ["final", "mean", "nearest"])
def test_gradient_reaches_the_latents(over_time):
    latents = LATENTS.clone().requires_grad_()
    objective = GoalLatent(GOAL, over_time=over_time, token_weights=torch.arange(5.0))
    assert torch.autograd.gradcheck(lambda x: objective(rollout_of(x)), (latents,))
    (gradient,) = torch.autograd.grad(objective(rollout_of(latents)).sum(), latents)
    assert (gradient[..., 0, :] == 0).all()  # the first token weighs nothing
    assert (gradient[:, :, 0, 1:] != 0).any() == (over_time != "final")


def test_a_small_moving_thing_counts_with_token_weights():
    """One token must move while the predictions of the many still ones are noisy."""
    now, goal = torch.zeros(64, 4), torch.zeros(64, 4)
    goal[10] = 1.0
    arrived, stayed = goal.clone(), now.clone()
    arrived[[0, 1, 2, 3, 4]] += 0.7  # the rollout that moves the right token is wrong elsewhere
    candidates = torch.stack([arrived, stayed])[None, :, None]
    plain = GoalLatent(goal)(rollout_of(candidates))
    weighted = GoalLatent(goal, token_weights=moving_token_weights(torch.stack([now, goal])))(rollout_of(candidates))
    assert plain[0] < plain[1]
    assert weighted[0] > weighted[1]


def test_weights_follow_the_change_and_average_to_one():
    clip = torch.zeros(8, 3, 2)
    clip[:, 1] = torch.arange(8.0)[:, None]
    clip[:, 2] = 2 * torch.arange(8.0)[:, None]
    weights = moving_token_weights(clip, floor=0.1)
    assert weights.tolist() == pytest.approx([0.1, 0.1 + 0.9 * 0.6, 0.1 + 0.9 * 2.4])
    assert weights.mean().item() == pytest.approx(1.0)
    assert moving_token_weights(torch.ones(4, 3, 2)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over_time": "sometimes"}, 'choose "final", "mean" or "nearest"'),
        ({"distance": "cosine"}, 'choose "mse" or "mae"'),
        ({"final_weight": 0.0}, "final_weight is 0.0"),
        ({"token_weights": torch.ones(4)}, "for 5 tokens"),
        ({"token_weights": torch.zeros(5)}, "not all zero"),
        ({"token_weights": torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0])}, "non-negative"),
        ({"token_weights": torch.full((5,), math.nan)}, "non-negative"),
    ],
)
def test_wrong_options_say_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        GoalLatent(GOAL, **options)


def test_only_the_ratio_of_token_weights_matters():
    weights = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0])
    scores = GoalLatent(GOAL, token_weights=weights)(rollout_of(LATENTS))
    torch.testing.assert_close(scores, GoalLatent(GOAL, token_weights=100 * weights)(rollout_of(LATENTS)))
    per_token = (LATENTS[:, :, -1] - GOAL).square().mean(-1).mean(0)
    torch.testing.assert_close(scores, -(per_token * weights).sum(-1) / weights.sum())


def test_wrong_goals_say_what_is_needed():
    with pytest.raises(ValueError, match=r"give the finite latents \(S, C\)"):
        GoalLatent(GOAL[None])
    with pytest.raises(ValueError, match="finite"):
        GoalLatent(GOAL * math.nan)
    with pytest.raises(ValueError, match="same world"):
        GoalLatent(GOAL[:4])(rollout_of(LATENTS))
    with pytest.raises(ValueError, match="at least two frames"):
        moving_token_weights(GOAL[None])
    with pytest.raises(ValueError, match="floor is 2"):
        moving_token_weights(LATENTS[0, 0], floor=2)
