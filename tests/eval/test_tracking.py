"""The agent's place in imagined frames, on pictures of the real simulator whose answers are known."""

import pytest
import torch

from worldline.envs.pusht import agent_pixel_position, block_pixel_pose, collect_pusht
from worldline.eval import Windows, copy_last
from worldline.eval.tracking import track_agent, track_block

SIZE, PROMPT_FRAMES, NUM_FRAMES = 48, 2, 6


@pytest.fixture(scope="module")
def recordings() -> tuple[Windows, torch.Tensor]:
    """Windows of real frames, and the simulator's own answer to where the agent is (B, T, 2), in pixels."""
    clips = list(collect_pusht(7, num_frames=PROMPT_FRAMES + NUM_FRAMES, size=SIZE, seed=3, frame_skip=2))
    frames = torch.stack([clip.frames for clip in clips]) / 255
    states = torch.stack([clip.states for clip in clips if clip.states is not None])
    windows = Windows(prompt=frames[:, :PROMPT_FRAMES], future=frames[:, PROMPT_FRAMES:], actions=None)
    return windows, agent_pixel_position(states, SIZE)


def test_perfect_prediction_is_at_distance_zero(recordings: tuple[Windows, torch.Tensor]) -> None:
    windows, _ = recordings
    report = track_agent(windows, windows.future)
    assert report.num_windows == len(windows)
    assert report.found_share == (1.0,) * NUM_FRAMES
    assert report.distance_px == (0.0,) * NUM_FRAMES


def test_floors_agree_with_the_simulators_states(recordings: tuple[Windows, torch.Tensor]) -> None:
    windows, positions = recordings
    report = track_agent(windows, copy_last(windows.prompt, NUM_FRAMES))
    moved = (positions[:, PROMPT_FRAMES:] - positions[:, PROMPT_FRAMES - 1 : PROMPT_FRAMES]).norm(dim=-1).median(0).values
    assert report.distance_px == report.copy_last_px
    assert report.copy_last_px == pytest.approx(moved.tolist(), abs=0.5)
    other = (positions[:, PROMPT_FRAMES:] - positions.roll(1, dims=0)[:, PROMPT_FRAMES - 1 : PROMPT_FRAMES]).norm(dim=-1).median(0).values
    assert report.random_px == pytest.approx(other.tolist(), abs=0.5)


def test_an_agent_that_dissolves_is_infinitely_far(recordings: tuple[Windows, torch.Tensor]) -> None:
    windows, _ = recordings
    imagined = windows.future.clone()
    imagined[:3, 0] = 1.0  # white in 3 of 7 windows, and in 4 of 7
    imagined[:4, 1] = 1.0
    report = track_agent(windows, imagined)
    assert report.found_share[:3] == pytest.approx((4 / 7, 3 / 7, 1))
    assert report.distance_px[:3] == (0.0, float("inf"), 0.0)
    assert report.to_dict()["distance_px"][:3] == [0.0, None, 0.0]


def test_other_scenes_are_refused() -> None:
    white = Windows(prompt=torch.ones(4, 1, 3, SIZE, SIZE), future=torch.ones(4, 2, 3, SIZE, SIZE), actions=None)
    with pytest.raises(ValueError, match="0 of 4 true windows"):
        track_agent(white, white.future)


def test_the_blocks_floor_agrees_with_the_simulators_states() -> None:
    clips = list(collect_pusht(9, num_frames=10, size=64, seed=3, frame_skip=4, policy="push"))
    frames = torch.stack([clip.frames for clip in clips]) / 255
    states = torch.stack([clip.states for clip in clips if clip.states is not None])
    windows = Windows(prompt=frames[:, :2], future=frames[:, 2:], actions=None)
    perfect = track_block(windows, windows.future)
    assert perfect.distance_px == perfect.angle_deg == (0.0,) * 8
    report = track_block(windows, copy_last(windows.prompt, 8))
    assert report.distance_px == pytest.approx(report.copy_last_px)
    assert report.angle_deg == pytest.approx(report.copy_last_deg, abs=1e-3)
    poses = block_pixel_pose(states, 64)
    moved = (poses[:, 2:, :2] - poses[:, 1:2, :2]).norm(dim=-1).median(0).values
    assert report.copy_last_px == pytest.approx(moved.tolist(), abs=0.4)
    turned = (poses[:, 2:, 2] - poses[:, 1:2, 2]).abs()
    turned = torch.rad2deg(torch.minimum(turned, 2 * torch.pi - turned)).median(0).values
    assert report.copy_last_deg == pytest.approx(turned.tolist(), abs=3)
    assert max(report.moved_share) > 0.5


def test_a_block_that_dissolves_is_infinitely_far() -> None:
    clips = list(collect_pusht(5, num_frames=4, size=64, seed=3, frame_skip=4))
    frames = torch.stack([clip.frames for clip in clips]) / 255
    windows = Windows(prompt=frames[:, :2], future=frames[:, 2:], actions=None)
    imagined = windows.future.clone()
    imagined[:3, 0] = 1.0
    report = track_block(windows, imagined)
    assert report.found_share == pytest.approx((2 / 5, 1))
    assert report.to_dict()["distance_px"] == [None, 0.0]
    white = Windows(prompt=torch.ones(4, 1, 3, 64, 64), future=torch.ones(4, 2, 3, 64, 64), actions=None)
    with pytest.raises(ValueError, match="0 of 4 true windows"):
        track_block(white, white.future)
