"""An inverse model reads off frames what was done between them."""

import pytest
import torch
from torch import Tensor

from worldline.recipes.inverse_model import InverseConfig, InverseModel, Stretch, fit_inverse_model, read_actions, read_frames

SIDE, LENGTH = 16, 12
QUICK = InverseConfig(num_points=4, steps=150, num_frames=8, noise=0.0, learning_rate=1e-2, dropout=0.0)


def moves(num_episodes: int, seed: int) -> tuple[Tensor, Tensor, list[Stretch]]:
    """A bright square that goes where the action (in pixels) says, one episode of 12 frames after the other; what the last frame's
    action would lead to is never seen."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.full((num_episodes * LENGTH, 3, SIDE, SIDE), 60, dtype=torch.uint8)
    actions = torch.zeros(num_episodes * LENGTH, 2)
    place = torch.zeros(2, dtype=torch.long)
    for row in range(len(frames)):
        if row % LENGTH == 0:
            place = torch.randint(SIDE - 5, (2,), generator=generator)
        left, top = place.tolist()
        frames[row, :, top : top + 5, left : left + 5] = 230
        there = (place + torch.randint(-3, 4, (2,), generator=generator)).clamp(0, SIDE - 5)
        actions[row] = 100 + 10 * (there - place)
        place = there
    return frames, actions, [Stretch(first=start, end=start + LENGTH) for start in range(0, len(frames), LENGTH)]


def explained(model: InverseModel, frames: Tensor, actions: Tensor, stretches: list[Stretch]) -> float:
    found = torch.cat([read_actions(model, frames, one) for one in stretches])
    true = torch.cat([actions[one.first : one.end - 1] for one in stretches])
    return float(1 - (found - true).square().sum() / (true - true.mean(0)).square().sum())


@pytest.fixture(scope="module")
def taught() -> InverseModel:
    frames, actions, stretches = moves(24, seed=0)
    return fit_inverse_model(frames, actions, stretches, config=QUICK)


def test_a_few_episodes_teach_it_those_it_never_saw(taught: InverseModel) -> None:
    frames, actions, stretches = moves(6, seed=1)
    assert explained(taught, frames, actions, stretches) > 0.8
    assert explained(taught, frames.flip(-1), actions, stretches) < 0, "mirrored, another thing happened"


def test_it_is_the_same_again_and_leaves_the_global_random_state_alone() -> None:
    frames, actions, stretches = moves(2, seed=0)
    config = InverseConfig(width=2, num_points=2, steps=3, windows=2, num_frames=4)
    before = torch.get_rng_state()
    models = [fit_inverse_model(frames, actions, stretches, config=config, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    found = [read_actions(model, frames, stretches[0]) for model in models]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_rows_outside_its_stretches_do_not_count() -> None:
    """Labels that are hidden may still lie in the array; so may whatever else, even in the last row of a stretch."""
    frames, actions, stretches = moves(4, seed=0)
    config = InverseConfig(width=2, num_points=2, steps=3, windows=4, num_frames=4)
    spoilt, others = actions.clone(), frames.clone()
    spoilt[stretches[1].end - 1] = torch.nan
    spoilt[stretches[2].first :] = torch.nan
    others[stretches[2].first :] = 0
    models = [fit_inverse_model(*given, stretches[:2], config=config) for given in ((frames, actions), (others, spoilt))]
    found = [read_actions(model, frames, stretches[3]) for model in models]
    assert found[0].isfinite().all()
    assert torch.equal(*found)


@pytest.mark.parametrize("frame_skip", [1, 3])
def test_an_action_follows_from_the_frames_around_it_alone(frame_skip: int) -> None:
    model = InverseModel(QUICK, torch.zeros(2), torch.ones(2), frame_skip).eval()
    assert model.offsets == ((-1, 0, 1, 2) if frame_skip == 1 else (-3, 0, 1, 3, 6))
    frames = torch.rand(2, 7 + 4 * frame_skip, 3, SIDE, SIDE)
    whole = model(frames)
    assert whole.shape == (2, 7, 2)
    for place in (0, 4, 6):
        near = frames[:, place : place + 1 + 2 * model.margin]
        torch.testing.assert_close(model(near)[:, 0], whole[:, place])
    ahead = frames.clone()
    ahead[:, model.margin + 4 + 2 * frame_skip] = 0
    changed = (model(ahead) - whole).abs().amax((0, 2)) > 1e-6
    assert changed[4], "it looks two frames of the world ahead"
    assert not changed[: 4 - frame_skip].any(), "and no further"


def test_a_long_recording_is_read_in_pieces_without_a_seam() -> None:
    frames = torch.randint(256, (150, 3, SIDE, SIDE), dtype=torch.uint8)
    model = InverseModel(QUICK, torch.tensor([5.0, 0.0]), torch.tensor([2.0, 1.0]), 2).eval()
    stretch = Stretch(first=3, end=140)
    found = read_actions(model, frames, stretch)
    rows = torch.arange(3 - 4, 140 - 1 + 4).clamp(3, 139)
    with torch.no_grad():
        expected = model(read_frames(frames, rows[None]))[0] * model.std + model.mean
    torch.testing.assert_close(found, expected)
    assert read_actions(model, frames, Stretch(first=3, end=4)).shape == (0, 2)


def test_large_frames_are_averaged_down() -> None:
    frames = torch.zeros(2, 3, 128, 32, dtype=torch.uint8)
    frames[:, :, ::2] = 255
    small = read_frames(frames, torch.tensor([[1, 0]]))
    assert small.shape == (1, 2, 3, 64, 32)
    torch.testing.assert_close(small, torch.full_like(small, 0.5))


def test_what_cannot_be_learnt_from_is_refused() -> None:
    frames, actions, _ = moves(1, seed=0)
    with pytest.raises(ValueError, match="two frames or more"):
        fit_inverse_model(frames, actions, [Stretch(first=0, end=1)], config=QUICK)
    with pytest.raises(ValueError, match="at least 1"):
        InverseConfig(steps=0)
