"""The cached step against the full forward, and the denoising steps against their formula."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from worldline.dynamics import Dynamics, SamplerConfig, absorb, advance, dynamics_config
from worldline.dynamics.network import Prediction, frames_before
from worldline.interfaces import State

SAMPLER = SamplerConfig(num_steps=4, context_signal=0.9)


class Whole:
    """The same frames without any cache: everything that was run is kept, and each pass runs over all of it.

    A prompt's frames were run clean. A drawn frame was last run as it stood before its last denoising step.
    """

    def __init__(self, network: Dynamics, sampler: SamplerConfig, prompt: Tensor, actions: Tensor):
        """`actions` (B, T, A) led to each frame of the prompt, and the first is unknown."""
        self.network, self.sampler = network, sampler
        signal = prompt.new_ones(prompt.shape[:2])
        self.frames, self.run, self.signal = prompt, prompt, signal
        self.step, self.actions = torch.full_like(signal, 1 / network.config.max_steps), actions

    def draw(self, action: Tensor, noise: Tensor) -> Tensor:
        """Plainly: Euler steps along the line from the noise to the clean guess."""
        self.actions = torch.cat([self.actions, action.unsqueeze(1)], dim=1)
        latent, size = noise, 1 / self.sampler.num_steps
        for index in range(self.sampler.num_steps):
            level = index * size
            run = torch.cat([self.run, latent.unsqueeze(1)], dim=1)
            signal, step = (torch.cat([x, x.new_full((len(x), 1), y)], dim=1) for x, y in ((self.signal, level), (self.step, size)))
            known = torch.ones_like(signal, dtype=torch.bool)
            known[:, 0] = False
            told = torch.full_like(signal, self.sampler.context_signal)
            previous = frames_before(torch.cat([self.frames, noise.unsqueeze(1)], dim=1))
            given = {"known_BT": known, "previous_BTSC": previous, "previous_signal_BT": told}
            clean = self.network(run, signal, step, self.actions, **given).clean[:, -1]
            latent = latent + size * (clean - latent) / (1 - level)
        self.run, self.signal, self.step = run, signal, step
        self.frames = torch.cat([self.frames, latent.unsqueeze(1)], dim=1)
        return latent

    def replace_newest(self, latent: Tensor) -> None:
        self.frames = torch.cat([self.frames[:, :-1], latent.unsqueeze(1)], dim=1)


@torch.no_grad()
def test_cached_step_equals_full_forward_at_size_tiny(make_dynamics):
    """The bar: float32, 24 frames under a window of 16, differences below 1e-5 of the latents' scale."""
    network = make_dynamics(dynamics_config("tiny", num_tokens=16, latent_dim=32, action_dim=2))
    latents, noise = torch.randn(1, 24, 16, 32), torch.randn(1, 16, 32)
    actions = torch.rand(1, 25, 2) * 2 - 1
    state = absorb(network, SAMPLER, None, latents, actions[:, :-1])
    cached = advance(network, SAMPLER, state, actions[:, -1], noise).latent
    full = Whole(network, SAMPLER, latents, actions[:, :-1]).draw(actions[:, -1], noise)
    assert full.abs().mean() > 0.1
    assert (cached - full).abs().max() <= 1e-5 * full.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5], [6, 1, 2]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prompt_in_pieces_then_steps_equals_full_forward(make_dynamics, pieces, dtype):
    network = make_dynamics().to(dtype)
    latents = torch.randn(2, sum(pieces), 4, 6, dtype=dtype)
    actions = torch.rand(2, sum(pieces) + 4, 2, dtype=dtype) * 2 - 1
    state, position = None, 0
    for length in pieces:
        frames = slice(position, position + length)
        state = absorb(network, SAMPLER, state, latents[:, frames], actions[:, frames])
        position += length
    assert state is not None
    whole = Whole(network, SAMPLER, latents, actions[:, :position])
    for index in range(4):
        noise = torch.randn(2, 4, 6, dtype=dtype)
        expected = whole.draw(actions[:, position + index], noise)
        state = advance(network, SAMPLER, state, actions[:, position + index], noise)
        assert (state.latent - expected).abs().max() <= (1e-5 if dtype == torch.float32 else 1e-12) * expected.abs().max()
        # Each frame is compared from the same past: a chain would measure how the network amplifies rounding.
        state = replace(state, latent=expected)
    assert state.position == sum(pieces) + 4
    assert state.memory.num_frames == network.config.context_frames - 1


@torch.no_grad()
def test_forks_that_share_a_prompt_equal_full_forwards(make_dynamics):
    network = make_dynamics().double()
    prompt = torch.randn(1, 6, 4, 6, dtype=torch.float64)
    led = torch.rand(1, 6, 2, dtype=torch.float64)
    shared = absorb(network, SAMPLER, None, prompt, led)
    state = State(latent=shared.latent.expand(3, -1, -1), position=6, memory=shared.memory)
    whole = Whole(network, SAMPLER, prompt.repeat(3, 1, 1, 1), led.repeat(3, 1, 1))
    for _ in range(6):
        action, noise = torch.rand(3, 2, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)
        state = advance(network, SAMPLER, state, action, noise)
        torch.testing.assert_close(state.latent, whole.draw(action, noise), rtol=0, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_a_network_that_knows_the_answer_is_followed_in_any_number_of_steps(make_dynamics, num_steps):
    """With a constant clean guess every number of steps ends there: the Euler steps sum to the whole line."""
    answer, asked = torch.randn(1, 4, 6), []

    class Knows(nn.Module):
        def forward(self, noisy, signal, step, action, **options):
            asked.append((signal.item(), step.item()))
            return Prediction(answer.unsqueeze(1), {}, segments)

    network = make_dynamics()
    state = absorb(network, SAMPLER, None, torch.randn(1, 3, 4, 6), None)
    segments = tuple(layer[0].first(1) for layer in state.memory.layers)
    knows = Knows()
    knows.config = network.config
    drawn = advance(knows, SamplerConfig(num_steps=num_steps), state, None, torch.randn(1, 4, 6)).latent  # ty: ignore[invalid-argument-type]
    torch.testing.assert_close(drawn, answer)
    assert asked == [(index / num_steps, 1 / num_steps) for index in range(num_steps)]


@torch.no_grad()
def test_the_first_action_is_ignored_and_the_others_count(make_dynamics):
    network = make_dynamics().double()
    latents = torch.randn(1, 4, 4, 6, dtype=torch.float64)
    actions = torch.rand(1, 4, 2, dtype=torch.float64)
    noise = torch.randn(1, 4, 6, dtype=torch.float64)

    def drawn(led: Tensor) -> Tensor:
        return advance(network, SAMPLER, absorb(network, SAMPLER, None, latents, led), None, noise).latent

    first, second = actions.clone(), actions.clone()
    first[:, 0] += 1
    second[:, 1] += 1
    assert torch.equal(drawn(first), drawn(actions))
    assert not torch.allclose(drawn(second), drawn(actions))


@torch.no_grad()
@pytest.mark.parametrize("num_steps", [1, 4])
def test_a_frame_takes_as_many_passes_as_steps(make_dynamics, num_steps):
    network, sampler = make_dynamics(), SamplerConfig(num_steps=num_steps)
    passes = []
    network.register_forward_pre_hook(lambda *_: passes.append(1))
    state = absorb(network, sampler, None, torch.randn(1, 3, 4, 6), None)
    for _ in range(5):
        state = advance(network, sampler, state, torch.zeros(1, 2), torch.randn(1, 4, 6))
    assert len(passes) == 1 + 5 * num_steps
    assert state.heads["reward"].shape == (1,)
    assert state.heads["inverse_action"].shape == (1, 2)
    assert len(passes) == 2 + 5 * num_steps, "both heads are read in one more pass"


@torch.no_grad()
def test_the_heads_read_a_drawn_frame_as_they_read_the_same_frame_in_a_prompt(make_dynamics):
    network = make_dynamics().double()
    start = absorb(network, SAMPLER, None, torch.randn(2, 3, 4, 6, dtype=torch.float64), None)
    action = torch.rand(2, 2, dtype=torch.float64)
    drawn = advance(network, SAMPLER, start, action, torch.randn(2, 4, 6, dtype=torch.float64))
    prompted = absorb(network, SAMPLER, start, drawn.latent.unsqueeze(1), action.unsqueeze(1))
    for name in ("reward", "inverse_action"):
        torch.testing.assert_close(drawn.heads[name], prompted.heads[name], rtol=0, atol=1e-12)


def test_heads_that_were_looked_at_without_gradients_still_have_them(make_dynamics):
    network = make_dynamics()
    noise = torch.randn(1, 4, 6, requires_grad=True)
    state = advance(network, SAMPLER, absorb(network, SAMPLER, None, torch.randn(1, 3, 4, 6), None), torch.zeros(1, 2), noise)
    with torch.no_grad():
        looked = state.heads["reward"]
    assert not looked.requires_grad
    state.heads["reward"].sum().backward()
    assert noise.grad is not None
    assert noise.grad.abs().sum() > 0
