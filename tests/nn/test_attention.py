"""Attention against torch's own, against itself with a cache, and what it must not see."""

import pytest
import torch
import torch.nn.functional as F

from worldline.nn import Segment, SpaceAttention, TimeAttention
from worldline.nn.attention import attend, visibility
from worldline.nn.embedding import rotation

WIDTH, HEAD_DIM, WINDOW = 16, 8, 4


def changed(before: torch.Tensor, after: torch.Tensor) -> list[bool]:
    """Per frame of (1, T, N, E), whether anything differs."""
    return ((before - after).abs().amax((0, 2, 3)) > 1e-12).tolist()


def run(layer: TimeAttention, x: torch.Tensor, past: tuple[Segment, ...] = (), position: int = 0) -> tuple[torch.Tensor, Segment]:
    """The layer on frames from `position` on."""
    return layer(x, rotation(torch.arange(position, position + x.shape[1]), HEAD_DIM), past)


def test_attend_is_scaled_dot_product_attention():
    query, key, value = (torch.randn(3, 2, length, HEAD_DIM, dtype=torch.float64) for length in (5, 7, 7))
    allowed = torch.rand(5, 7) < 0.7
    allowed[:, 0] = True
    torch.testing.assert_close(attend(query, key, value), F.scaled_dot_product_attention(query, key, value))
    masked = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    torch.testing.assert_close(attend(query, key, value, allowed), masked)


def test_time_attention_sees_the_window_and_nothing_else():
    layer = TimeAttention(WIDTH, HEAD_DIM, WINDOW).double()
    x = torch.randn(1, 10, 3, WIDTH, dtype=torch.float64)
    other = x.clone()
    other[:, 4] += torch.randn_like(other[:, 4])
    frames = changed(run(layer, x)[0], run(layer, other)[0])
    assert frames == [4 <= frame < 4 + WINDOW for frame in range(10)]


def test_time_attention_keeps_tokens_apart():
    layer = TimeAttention(WIDTH, HEAD_DIM, WINDOW).double()
    x = torch.randn(1, 6, 3, WIDTH, dtype=torch.float64)
    other = x.clone()
    other[:, :, 1] += 1
    before, after = run(layer, x)[0], run(layer, other)[0]
    assert torch.equal(before[:, :, [0, 2]], after[:, :, [0, 2]])
    assert not torch.allclose(before[:, :, 1], after[:, :, 1])


def test_only_the_distance_between_frames_counts():
    layer = TimeAttention(WIDTH, HEAD_DIM, WINDOW)
    x = torch.randn(2, 8, 3, WIDTH)
    torch.testing.assert_close(run(layer, x, position=100)[0], run(layer, x)[0], rtol=0, atol=1e-4)


def test_order_counts():
    layer = TimeAttention(WIDTH, HEAD_DIM, WINDOW)
    x = torch.randn(1, 4, 1, WIDTH)
    swapped = x[:, [1, 0, 2, 3]]
    assert not torch.allclose(run(layer, x)[0][:, 3], run(layer, swapped)[0][:, 3], atol=1e-3)


def test_a_past_that_does_not_divide_the_batch_is_refused():
    layer = TimeAttention(WIDTH, HEAD_DIM, WINDOW)
    _, past = run(layer, torch.randn(2, 3, 1, WIDTH))
    with pytest.raises(ValueError, match="batch 3 cannot share"):
        run(layer, torch.randn(3, 1, 1, WIDTH), (past,), position=3)


def test_private_tokens_see_everything_and_change_nothing():
    layer = SpaceAttention(WIDTH, HEAD_DIM).double()
    x = torch.randn(1, 2, 6, WIDTH, dtype=torch.float64)
    allowed = visibility(6, 2, x.device)
    without = layer(x[:, :, :4])
    torch.testing.assert_close(layer(x, allowed)[:, :, :4], without)
    other = x.clone()
    other[:, :, 0] += 1
    private = (layer(x, allowed) - layer(other, allowed))[:, :, 4:]
    assert bool((private.abs().amax(-1) > 1e-6).all())
