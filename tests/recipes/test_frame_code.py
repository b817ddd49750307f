"""A code is trained on what a run left, goes on where it was, and finds the later frames of episodes that it has not seen."""

import pytest
import torch

from worldline.data import LatentStore
from worldline.data.store import ArrayWriter
from worldline.recipes.frame_code import FrameCodeRecipe, _held_out, found, train_frame_code
from worldline.train import TrainConfig


def recipe(steps: int) -> FrameCodeRecipe:
    training = TrainConfig(steps=steps, bf16=False, balance=False, ema_decay=0.9, warmup_steps=5, decay_fraction=0.4, log_every_steps=20)
    return FrameCodeRecipe(training=training, batch_size=64, near_seconds=(0.2, 1.0), code_dim=8, width=64)


@pytest.fixture
def latents(tmp_path) -> LatentStore:
    """Two hundred episodes (20, 2, 4): two numbers that stay, and six of noise."""
    generator = torch.Generator().manual_seed(0)
    with ArrayWriter(tmp_path / "latents") as writer:
        for index in range(200):
            rows = torch.randn(20, 8, generator=generator)
            rows[:, :2] = rows[:1, :2]
            writer.append({"latents": rows.view(20, 2, 4).half()}, rate_hz=5.0, source=f"episode_{index}", text=None)
        writer.finish(action_spec=None)
    return LatentStore.open(tmp_path / "latents")


def test_a_code_finds_later_frames_that_latents_do_not(latents, tmp_path):
    code, figures = train_frame_code([latents], tmp_path / "code", recipe(150))
    assert figures["pairs"] == 4
    assert figures["chance"] == 0.25
    assert figures["steps"] == 150
    assert int(code.updates) == 150
    assert code.config.late_after == 120
    again, same = train_frame_code([latents], tmp_path / "code", recipe(150))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in code.state_dict().items())
    assert same["found"] == figures["found"]
    first, last = (torch.stack([latents.video[e.start + frame] for e in latents.episodes[:100]]).float() for frame in (3, 9))
    plain = first.flatten(1), last.flatten(1)
    assert found(code(first) @ code(last).T) > 2 * found(plain[0] @ plain[1].T)


def test_found_counts_rows_that_are_most_like_their_own():
    assert found(torch.tensor([[2.0, 1.0], [3.0, 1.0]])) == 0.5


def test_too_little_is_refused(latents, tmp_path):
    with pytest.raises(ValueError, match="no episode is longer than 60 s"):
        train_frame_code([latents], tmp_path / "code", FrameCodeRecipe(near_seconds=(60.0, 70.0)))


def test_what_one_store_holds_out_no_other_one_teaches(latents, tmp_path):
    """Films of the same sources in two stores, of which one has more, so that other ones are drawn from it."""
    with ArrayWriter(tmp_path / "more") as writer:
        for index in range(230):
            writer.append({"latents": torch.zeros(20, 2, 4).half()}, rate_hz=5.0, source=f"episode_{index}", text=None)
        writer.finish(action_spec=None)
    stores = [latents, LatentStore.open(tmp_path / "more")]
    alone = [_held_out([store], 0) for store in stores]
    assert _held_out(stores, 0) == alone[0] | alone[1]
    assert alone[0] - alone[1]
