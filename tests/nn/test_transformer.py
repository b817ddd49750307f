"""A transformer with a cache is the transformer without one, whatever the cuts and whoever shares the past."""

import pytest
import torch
from torch import Tensor, nn

from worldline.nn import Cache, Transformer, TransformerConfig

CONFIG = TransformerConfig(width=32, num_layers=4, head_dim=16, time_every=2, window=5)
NUM_FRAMES, NUM_TOKENS = 14, 3


def randomized() -> Transformer:
    """Every branch of a fresh network ends in zeros, which would make these tests empty."""
    network = Transformer(CONFIG)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return network


def in_pieces(network: Transformer, x: Tensor, lengths: list[int], cache: Cache | None = None, position: int = 0) -> tuple[Tensor, Cache]:
    cache = cache or Cache.empty(CONFIG.num_time_layers)
    outputs = []
    for piece in x.split(lengths, dim=1):
        y, segments = network(piece, cache=cache, position=position)
        cache = cache.append(segments, window=CONFIG.window - 1)
        position += piece.shape[1]
        outputs.append(y)
    return torch.cat(outputs, dim=1), cache


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[1] * 14, [14], [5, 9], [9, 5], [1, 3, 6, 4]], ids=str)
def test_in_pieces_equals_at_once(lengths):
    network = randomized()
    x = torch.randn(2, NUM_FRAMES, NUM_TOKENS, CONFIG.width)
    whole, _ = network(x)
    pieces, cache = in_pieces(network, x, lengths)
    assert (pieces - whole).abs().max() <= 1e-5 * whole.abs().max()
    assert cache.num_frames == CONFIG.window - 1
    exact, _ = in_pieces(network.double(), x.double(), lengths)
    assert (exact - network(x.double())[0]).abs().max() <= 1e-12 * whole.abs().max()


@torch.no_grad()
def test_forks_of_forks_equal_sequences_of_their_own():
    network = randomized().double()
    past, first, second = (torch.randn(batch, 3, NUM_TOKENS, CONFIG.width, dtype=torch.float64) for batch in (2, 6, 12))
    _, cache = in_pieces(network, past, [3])
    _, cache = in_pieces(network, first, [1, 2], cache, position=3)
    forked, cache = in_pieces(network, second, [1, 1, 1], cache, position=6)
    own, _ = network(torch.cat([past.repeat_interleave(6, 0), first.repeat_interleave(2, 0), second], dim=1))
    torch.testing.assert_close(forked, own[:, 6:])
    gathered, _ = network(second[:, :1], cache=cache.gathered(), position=9)
    torch.testing.assert_close(gathered, network(second[:, :1], cache=cache, position=9)[0])


@torch.no_grad()
def test_what_lies_behind_all_windows_is_forgotten():
    network = randomized().double()
    x = torch.randn(1, NUM_FRAMES, NUM_TOKENS, CONFIG.width, dtype=torch.float64)
    other = x.clone()
    other[:, 0] += 1
    # Each of the two time layers carries news at most window - 1 = 4 frames on.
    reached = [bool(frame) for frame in ((network(x)[0] - network(other)[0]).abs().amax((0, 2, 3)) > 1e-12)]
    assert reached == [frame <= 8 for frame in range(NUM_FRAMES)]


def test_a_fresh_network_is_the_identity():
    x = torch.randn(1, 3, NUM_TOKENS, CONFIG.width)
    assert torch.equal(Transformer(CONFIG)(x)[0], x)


def test_wrong_widths_are_refused():
    with pytest.raises(ValueError, match="multiple of head_dim"):
        TransformerConfig(width=30, num_layers=1, head_dim=16)
    with pytest.raises(ValueError, match="must be even"):
        TransformerConfig(width=15, num_layers=1, head_dim=5)
