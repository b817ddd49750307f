"""Rollout figures on worlds whose quality is known: a perfect one, one that ignores actions, one that copies its last frame."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from worldline.data import EpisodeStore, to_uint8
from worldline.eval import Windows, evaluate_rollouts, imagine, sample_windows
from worldline.interfaces import Clip, State
from worldline.testing import PointMassWorld


class FilmedPointMass(PointMassWorld):
    """The true world behind the films, prompted with a batch of them as the learned world is."""

    config = SimpleNamespace(rate_hz=5.0)

    def __init__(self) -> None:
        super().__init__(size=24, action_limit=1.0, blob_radius=0.15)

    def prompt(self, video: Tensor, actions: Tensor | None = None) -> State:
        rows = [super(FilmedPointMass, self).prompt(row, actions=None if actions is None else actions[i]) for i, row in enumerate(video)]
        return State(latent=torch.cat([row.latent for row in rows]), position=rows[0].position)


class IgnoresActions(FilmedPointMass):
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        return super().rollout(state, actions * 0, samples=samples, noise=noise, seed=seed)


class CopiesItsLastFrame(FilmedPointMass):
    def decode(self, source):
        return super().decode(self.last[None, :, None].expand_as(source.latents))

    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        self.last = state.latent
        return super().rollout(state, actions, samples=samples, noise=noise, seed=seed)


def film(num_clips: int = 24, num_frames: int = 10) -> list[Clip]:
    world, clips = FilmedPointMass(), []
    for index in range(num_clips):
        start = world.state(torch.tensor([[0.2, -0.2, 0.0, 0.0]], dtype=torch.float64) * (-1) ** index)
        actions = torch.rand(1, num_frames, 2, dtype=torch.float64) * 2 - 1
        latents = world.rollout(start, actions[:, :-1]).latents[0, 0]
        frames = world.decode(torch.cat([start.latent, latents]))
        clips.append(Clip(frames=to_uint8(frames), rate_hz=5.0, source=f"film_{index}", actions=actions[0].float()))
    return clips


@pytest.fixture
def windows(tmp_path) -> Windows:
    store = EpisodeStore.build(tmp_path / "films", film())
    return sample_windows(store, prompt_frames=3, num_frames=5, num_windows=32)


def evaluated(world: PointMassWorld, windows: Windows) -> Any:
    return evaluate_rollouts(world, windows)  # ty: ignore[invalid-argument-type]


def test_windows_align_frames_and_actions(tmp_path):
    clips = film(2)
    store = EpisodeStore.build(tmp_path / "films", clips)
    windows = sample_windows(store, prompt_frames=3, num_frames=5, num_windows=16)
    assert len(windows) == 16
    assert (windows.prompt.shape, windows.future.shape) == ((16, 3, 3, 24, 24), (16, 5, 3, 24, 24))
    assert windows.actions is not None
    video = torch.cat([windows.prompt, windows.future], dim=1)
    for row in range(16):
        found = [
            (clip, start)
            for clip in clips
            for start in range(len(clip) - 7)
            if torch.allclose(clip.frames[start : start + 8] / 255, video[row], atol=1e-6)
        ]
        assert any(torch.equal(clip.actions[start : start + 7], windows.actions[row]) for clip, start in found if clip.actions is not None)
        assert windows.episodes is not None
        assert any(clip is clips[int(windows.episodes[row])] for clip, _ in found)
    again = sample_windows(store, prompt_frames=3, num_frames=5, num_windows=16)
    assert torch.equal(again.prompt, windows.prompt)


def test_a_perfect_world_gains_everything(windows):
    report = evaluated(FilmedPointMass(), windows)
    assert (report.num_windows, report.prompt_frames, report.rate_hz) == (32, 3, 5.0)
    assert report.num_episodes == windows.num_episodes <= 24
    assert min(report.world.psnr_db) > 30
    assert min(report.world.ssim) > 0.95
    assert min(report.gain_db) > 6
    assert report.gain_interval_db[0] < report.mean_gain_db < report.gain_interval_db[1]
    assert report.shuffled_action_ratio > 20
    assert report.shuffled_action_interval[0] > 10
    assert set(report.floors) == {"copy last frame", "linear extrapolation", "random frame"}
    for curve in report.floors.values():
        assert len(curve.psnr_db) == len(curve.ssim) == len(curve.moving_psnr_db) == 5
        assert max(curve.psnr_db) < min(report.world.psnr_db)
        assert curve.moving_psnr_db < curve.psnr_db, "what moves is harder"


def test_a_world_that_ignores_actions_has_a_ratio_of_one(windows):
    report = evaluated(IgnoresActions(), windows)
    assert report.shuffled_action_ratio == pytest.approx(1)
    assert report.shuffled_action_interval == (pytest.approx(1), pytest.approx(1))


def test_a_world_that_copies_its_last_frame_gains_nothing(windows):
    report = evaluated(CopiesItsLastFrame(), windows)
    assert report.gain_db == pytest.approx([0] * 5, abs=0.3)
    assert report.to_dict()["mean_gain_db"] == report.mean_gain_db


def test_errors_are_pooled_before_they_become_decibels(windows):
    report = evaluated(FilmedPointMass(), windows)
    copied = windows.prompt[:, -1:]
    pooled = (copied - windows.future).square().mean((0, 2, 3, 4))
    assert report.floors["copy last frame"].psnr_db == pytest.approx((-10 * pooled.log10()).tolist())


def test_unlabelled_windows_have_no_ratio(windows):
    class Unlabelled(FilmedPointMass):
        def __init__(self) -> None:
            super().__init__()
            self.action_spec = None

        def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
            assert actions.shape[-1] == 0
            return super().rollout(state, torch.zeros(*actions.shape[:2], 2), samples=samples, noise=noise, seed=seed)

    report = evaluated(Unlabelled(), Windows(prompt=windows.prompt, future=windows.future, actions=None))
    assert report.shuffled_action_ratio is None
    assert report.shuffled_action_interval is None


def test_a_world_with_actions_is_led_by_none_where_they_are_unknown(windows):
    class Unled(FilmedPointMass):
        def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
            raise AssertionError("there are no actions to roll out")

        def step(self, state, action, *, noise=None, seed=None):
            assert action is None
            return super().step(state, torch.zeros(state.batch_size, 2), noise=noise, seed=seed)

    unknown = Windows(prompt=windows.prompt, future=windows.future, actions=None)
    still = replace(windows, actions=windows.prompt.new_zeros(len(windows), 7, 2))
    torch.testing.assert_close(imagine(Unled(), unknown), imagine(FilmedPointMass(), still), atol=0.02, rtol=0)  # ty: ignore[invalid-argument-type]
    assert evaluated(Unled(), unknown).shuffled_action_ratio is None


def test_windows_are_of_labelled_episodes_where_there_are_any(tmp_path):
    clips = [clip if index % 4 == 0 else replace(clip, actions=None) for index, clip in enumerate(film(12))]
    store = EpisodeStore.build(tmp_path / "films", clips)
    windows = sample_windows(store, prompt_frames=3, num_frames=5, num_windows=32)
    assert windows.actions is not None
    assert windows.num_episodes <= 3
    bare = EpisodeStore.build(tmp_path / "bare", [replace(clip, actions=None) for clip in clips])
    assert sample_windows(bare, prompt_frames=3, num_frames=5, num_windows=8).actions is None


def test_chunks_do_not_change_what_is_imagined(windows):
    world: Any = FilmedPointMass()
    torch.testing.assert_close(imagine(world, windows, chunk=5), imagine(world, windows))
