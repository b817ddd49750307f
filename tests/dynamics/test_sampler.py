"""The cached step against the full forward, and the denoising steps against their formula."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from worldline.dynamics import Dynamics, SamplerConfig, absorb, advance, dynamics_config, written
from worldline.dynamics.network import Prediction
from worldline.interfaces import State

SAMPLER = SamplerConfig(num_steps=4, context_signal=0.9)


def draw(network: Dynamics, sampler: SamplerConfig, state: State, action: Tensor | None, noise: Tensor) -> Tensor:
    """The next frame's latents."""
    return advance(network, sampler, state, action, noise)[0].latent


def full_forward(network: Dynamics, latents: Tensor, actions: Tensor, noisy: Tensor, *, level: float, size: float) -> Tensor:
    """The clean guess for a noisy frame after `latents`, without any cache: one pass over the whole sequence.

    `actions` (B, T + 1, A) led to each frame, and the first is unknown.
    """
    batch, num_past = latents.shape[:2]
    sequence = torch.cat([latents, noisy.unsqueeze(1)], dim=1)
    signal = sequence.new_full((batch, num_past + 1), SAMPLER.context_signal)
    step = torch.full_like(signal, 1 / network.config.max_steps)
    signal[:, -1], step[:, -1] = level, size
    known = torch.ones_like(signal, dtype=torch.bool)
    known[:, 0] = False
    return network(sequence, signal, step, actions, known_BT=known).clean[:, -1]


def full_draw(network: Dynamics, latents: Tensor, actions: Tensor, noise: Tensor) -> Tensor:
    """A frame drawn plainly: Euler steps along the line from the noise to the clean guess."""
    latent, size = noise, 1 / SAMPLER.num_steps
    for index in range(SAMPLER.num_steps):
        level = index * size
        clean = full_forward(network, latents, actions, latent, level=level, size=size)
        velocity = (clean - latent) / (1 - level)
        latent = latent + size * velocity
    return latent


@torch.no_grad()
def test_cached_step_equals_full_forward_at_size_tiny(make_dynamics):
    """The bar: float32, 24 frames under a window of 16, differences below 1e-5 of the latents' scale."""
    network = make_dynamics(dynamics_config("tiny", num_tokens=16, latent_dim=32, action_dim=2))
    latents, noise = torch.randn(1, 24, 16, 32), torch.randn(1, 16, 32)
    actions = torch.rand(1, 25, 2) * 2 - 1
    state = absorb(network, SAMPLER, None, latents, actions[:, :-1])
    cached, full = draw(network, SAMPLER, state, actions[:, -1], noise), full_draw(network, latents, actions, noise)
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
    for index in range(4):
        noise = torch.randn(2, 4, 6, dtype=dtype)
        expected = full_draw(network, latents, actions[:, : position + index + 1], noise)
        state, _ = advance(network, SAMPLER, state, actions[:, position + index], noise)
        assert (state.latent - expected).abs().max() <= (1e-5 if dtype == torch.float32 else 1e-12) * expected.abs().max()
        # Each frame is compared from the same past: a chain would measure how the network amplifies rounding.
        state = replace(state, latent=expected)
        latents = torch.cat([latents, expected.unsqueeze(1)], dim=1)
    assert state.position == sum(pieces) + 4
    assert written(network, SAMPLER, state).memory.cache.num_frames == network.config.context_frames - 1


@torch.no_grad()
def test_forks_that_share_a_prompt_equal_full_forwards(make_dynamics):
    network = make_dynamics().double()
    prompt = torch.randn(1, 6, 4, 6, dtype=torch.float64)
    led = torch.rand(1, 6, 2, dtype=torch.float64)
    shared = absorb(network, SAMPLER, None, prompt, led)
    state = State(latent=shared.latent.expand(3, -1, -1), position=6, memory=shared.memory)
    latents, actions = prompt.repeat(3, 1, 1, 1), led.repeat(3, 1, 1)
    for _ in range(6):
        action, noise = torch.rand(3, 2, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)
        actions = torch.cat([actions, action.unsqueeze(1)], dim=1)
        expected = full_draw(network, latents, actions, noise)
        state, _ = advance(network, SAMPLER, state, action, noise)
        torch.testing.assert_close(state.latent, expected, rtol=0, atol=1e-11)
        latents = torch.cat([latents, expected.unsqueeze(1)], dim=1)


@torch.no_grad()
@pytest.mark.parametrize("num_steps", [1, 2, 4, 8])
def test_a_network_that_knows_the_answer_is_followed_in_any_number_of_steps(make_dynamics, num_steps):
    """With a constant clean guess every number of steps ends there: the Euler steps sum to the whole line."""
    answer, asked = torch.randn(1, 4, 6), []

    class Knows(nn.Module):
        def forward(self, noisy, signal, step, action, **options):
            asked.append((signal.item(), step.item()))
            return Prediction(answer.unsqueeze(1), {}, ())

    state = absorb(make_dynamics(), SAMPLER, None, torch.randn(1, 3, 4, 6), None)
    drawn = draw(Knows(), SamplerConfig(num_steps=num_steps), state, None, torch.randn(1, 4, 6))  # ty: ignore[invalid-argument-type]
    torch.testing.assert_close(drawn, answer)
    assert asked == [(index / num_steps, 1 / num_steps) for index in range(num_steps)]


@torch.no_grad()
def test_the_first_action_is_ignored_and_the_others_count(make_dynamics):
    network = make_dynamics().double()
    latents = torch.randn(1, 4, 4, 6, dtype=torch.float64)
    actions = torch.rand(1, 4, 2, dtype=torch.float64)
    noise = torch.randn(1, 4, 6, dtype=torch.float64)

    def drawn(led: Tensor) -> Tensor:
        return draw(network, SAMPLER, absorb(network, SAMPLER, None, latents, led), None, noise)

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
        state, _ = advance(network, sampler, state, torch.zeros(1, 2), torch.randn(1, 4, 6))
    assert len(passes) == 1 + 5 * num_steps
    first, second = state.heads["reward"], state.heads["inverse_action"]
    assert len(passes) == 2 + 5 * num_steps, "both heads are read in one more pass"
    settled = written(network, sampler, state)
    torch.testing.assert_close(settled.heads["reward"], first)
    torch.testing.assert_close(settled.heads["inverse_action"], second)


def test_heads_that_were_looked_at_without_gradients_still_have_them(make_dynamics):
    network = make_dynamics()
    noise = torch.randn(1, 4, 6, requires_grad=True)
    state, _ = advance(network, SAMPLER, absorb(network, SAMPLER, None, torch.randn(1, 3, 4, 6), None), torch.zeros(1, 2), noise)
    with torch.no_grad():
        looked = state.heads["reward"]
    assert not looked.requires_grad
    state.heads["reward"].sum().backward()
    assert noise.grad is not None
    assert noise.grad.abs().sum() > 0


@torch.no_grad()
@pytest.mark.parametrize("known", [(False, True), (True, False), (False, False)], ids=str)
def test_frames_with_and_without_an_action_follow_each_other(make_dynamics, known):
    network = make_dynamics().double()
    start = absorb(network, SAMPLER, None, torch.randn(1, 3, 4, 6, dtype=torch.float64), None)
    state = start
    actions = [torch.rand(1, 2, dtype=torch.float64) if is_known else None for is_known in known]
    noise = torch.randn(2, 1, 4, 6, dtype=torch.float64)
    for action, drawn in zip(actions, noise, strict=True):
        at_once, _ = advance(network, SAMPLER, state, action, drawn)
        settled, _ = advance(network, SAMPLER, written(network, SAMPLER, state), action, drawn)
        torch.testing.assert_close(at_once.latent, settled.latent, rtol=0, atol=1e-12)
        state = at_once
