"""The records check what they are given, and say what would be right."""

import dataclasses
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from worldline import interfaces
from worldline.interfaces import ActionSpec, Batch, Clip, Plan, Rollout, State
from worldline.testing import LinearQuadraticWorld, PointMassWorld

SPEC = ActionSpec(low=(0.0, -2.0), high=(10.0, 2.0), names=("throttle", "steering"))


def test_bounds_map_to_one_and_back():
    assert SPEC.dim == 2
    corners = torch.tensor([[0.0, -2.0], [5.0, 0.0], [10.0, 2.0]])
    assert SPEC.normalize(corners).tolist() == [[-1, -1], [0, 0], [1, 1]]
    assert SPEC.denormalize(SPEC.normalize(corners)).tolist() == corners.tolist()
    assert SPEC.normalize(torch.tensor([20.0, 0.0])).tolist() == [3, 0], "nothing is clipped"
    assert SPEC.clamp(torch.tensor([20.0, -3.0])).tolist() == [10, -2]


@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e4), st.floats(-3, 3))
def test_denormalising_undoes_normalising(low, size, value):
    spec = ActionSpec(low=(low,), high=(low + size,))
    action = torch.tensor([value], dtype=torch.float64)
    back = spec.normalize(spec.denormalize(action))
    torch.testing.assert_close(back, action, rtol=1e-6, atol=1e-6 * (1 + abs(low) / size))


def test_gradients_pass_through_normalisation():
    actions = torch.tensor([5.0, 0.0], requires_grad=True)
    SPEC.normalize(actions).sum().backward()
    assert actions.grad is not None
    assert actions.grad.tolist() == pytest.approx([0.2, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": (0.0,), "high": (1.0, 2.0)}, "low has 1 components and high has 2"),
        ({"low": (1.0,), "high": (1.0,)}, "low < high"),
        ({"low": (2.0,), "high": (1.0,)}, "low < high"),
        ({"low": (-float("inf"),), "high": (1.0,)}, "finite bounds"),
        ({"low": (0.0,), "high": (float("nan"),)}, "finite bounds"),
        ({"low": (0.0, 0.0), "high": (1.0, 1.0), "names": ("one",)}, "1 names for 2 action components"),
    ],
)
def test_bounds_that_bound_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ActionSpec(**arguments)


def test_actions_of_another_world_are_refused():
    for call in (SPEC.normalize, SPEC.denormalize, SPEC.clamp):
        with pytest.raises(ValueError, match="have 3 components in their last dimension, this world has 2"):
            call(torch.zeros(4, 3))


def test_clips_check_frames_and_labels():
    frames = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    clip = Clip(frames=frames, rate_hz=10.0, source="here", actions=torch.zeros(5, 2))
    assert len(clip) == 5
    with pytest.raises(ValueError, match=r"\(T, 3, H, W\) uint8, got \(5, 3, 8, 8\) torch.float32"):
        Clip(frames=frames.float(), rate_hz=10.0, source="here")
    with pytest.raises(ValueError, match=r"got \(5, 8, 8, 3\)"):
        Clip(frames=frames.permute(0, 2, 3, 1), rate_hz=10.0, source="here")
    with pytest.raises(ValueError, match="rate_hz must be positive, got 0"):
        Clip(frames=frames, rate_hz=0, source="here")
    for name in ("actions", "states", "rewards"):
        labels: dict[str, Any] = {name: torch.zeros(4, 2)}
        with pytest.raises(ValueError, match=f"{name} has 4 rows for 5 frames"):
            Clip(frames=frames, rate_hz=10.0, source="here", **labels)


def test_batches_hold_one_kind_of_video_and_labels_that_fit():
    latents = torch.zeros(2, 5, 4, 6)
    with pytest.raises(ValueError, match="exactly one of the two"):
        Batch()
    with pytest.raises(ValueError, match="exactly one of the two"):
        Batch(latents=latents, frames=torch.zeros(2, 5, 3, 8, 8))
    for name in ("actions", "action_mask", "rewards", "reward_mask"):
        with pytest.raises(ValueError, match=rf"{name} is \(2, 4, 1\) beside video \(2, 5, 4, 6\)"):
            dataclasses.replace(Batch(latents=latents), **{name: torch.zeros(2, 4, 1)})


def test_states_and_rollouts_are_values():
    state = State(latent=torch.zeros(3, 4, 6), position=2)
    assert state.batch_size == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.position = 3  # ty: ignore[invalid-assignment]
    rollout = Rollout(latents=torch.zeros(2, 3, 5, 4, 6), actions=None, state=state)
    assert rollout.num_samples == 2
    with pytest.raises(ValueError, match=r"\(M, B, T, S, C\), got \(3, 5, 4, 6\)"):
        Rollout(latents=torch.zeros(3, 5, 4, 6), actions=None, state=state)


def test_what_follows_a_protocol_is_known_by_it():
    class Standing:
        def plan(self, state, *, seed=None, initial=None):
            return Plan(actions=torch.zeros(1, 2), score=0.0)

    world = PointMassWorld()
    assert isinstance(world, interfaces.World)
    assert isinstance(LinearQuadraticWorld().objective(), interfaces.Objective)
    assert isinstance(Standing(), interfaces.Planner)
    assert not isinstance(Standing(), interfaces.World)
