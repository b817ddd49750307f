"""Gradients of a rollout against central differences, with and without recomputation, and the memory of a long one."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from worldline.world import World

HORIZON = 8
PARAMETER = "transformer.blocks.1.time.qkv.weight"


def relative_error(function: Callable[[Tensor], Tensor], point: Tensor, *, num_components: int = 8) -> float:
    """Of the gradient of `function` at `point`, on randomly chosen components, against central differences of fourth order."""
    variable = point.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(variable), variable)
    width = 2e-4 * max(1.0, point.abs().max().item())
    chosen = torch.randperm(point.numel())[:num_components]

    @torch.no_grad()
    def moved(index: int, steps: int) -> Tensor:
        other = point.clone().contiguous()
        other.view(-1)[index] += steps * width
        return function(other)

    differences = torch.stack([(8 * (moved(i, 1) - moved(i, -1)) - (moved(i, 2) - moved(i, -2))) / (12 * width) for i in chosen.tolist()])
    return ((gradient.flatten()[chosen] - differences).norm() / differences.norm()).item()


@pytest.mark.parametrize("name", ["actions", "noise", "first latents", "prompt actions", "prompt frames", "parameter"])
def test_gradients_of_eight_frames_equal_central_differences(make_world, video, actions, name):
    """The bar: float64, 8 frames of 2 sampling steps, through frames, latents and heads at once; relative error at most 1e-5."""
    world: World = make_world().double()
    video, actions = video.double(), actions.double()
    inputs = {
        "prompt frames": video,
        "prompt actions": actions[None, -4:],
        "first latents": world.tokenizer.encode(video[None])[:, -5:].detach(),
        "actions": torch.rand(1, HORIZON, 2, dtype=torch.float64),
        "noise": torch.randn(2, 1, HORIZON, *world.noise_shape, dtype=torch.float64),
        "parameter": world.dynamics.get_parameter(PARAMETER).detach(),
    }
    weights = torch.randn(2, 1, HORIZON, *world.noise_shape, dtype=torch.float64)

    def value(changed: Tensor) -> Tensor:
        given = inputs | {name: changed}
        if name == "prompt frames":
            state = world.prompt(given["prompt frames"], actions)
        else:
            state = world.prompt_latents(given["first latents"], given["prompt actions"])
        rollout = world.rollout(state, given["actions"], noise=given["noise"])
        pixels = world.decode(rollout).square().sum()
        return (rollout.latents * weights).sum() + pixels + rollout.heads["reward"].sum() + rollout.heads["inverse_action"].sum()

    def value_of_parameter(changed: Tensor) -> Tensor:
        plain = world.dynamics
        world.dynamics = _With(plain, {PARAMETER: changed})  # ty: ignore[invalid-assignment]
        try:
            return value(changed)
        finally:
            world.dynamics = plain

    assert relative_error(value_of_parameter if name == "parameter" else value, inputs[name]) <= 1e-5


class _With(torch.nn.Module):
    """A module called with some of its parameters replaced."""

    def __init__(self, module: torch.nn.Module, replaced: dict[str, Tensor]):
        super().__init__()
        self.config = module.config
        self.call = lambda *args, **options: torch.func.functional_call(module, replaced, args, options)

    def forward(self, *args, **options):
        return self.call(*args, **options)


def test_recomputing_gives_the_same_gradients(make_world, video):
    world = make_world().double()
    gradients = []
    for recompute in (False, True):
        latents = world.tokenizer.encode(video.double()[None])[:, -3:].detach().requires_grad_()
        actions = torch.full((2, HORIZON, 2), 0.7, dtype=torch.float64, requires_grad=True)
        rollout = world.rollout(world.prompt_latents(latents), actions, seed=0, recompute=recompute)
        (rollout.latents.square().sum() + rollout.heads["reward"].sum() + rollout.state.latent.sum()).backward()
        gradients.append([latents.grad, actions.grad, *(parameter.grad for parameter in world.dynamics.parameters())])
        world.zero_grad()
    for plain, recomputed in zip(*gradients, strict=True):
        assert (plain is None) == (recomputed is None)
        if plain is not None:
            torch.testing.assert_close(recomputed, plain, rtol=1e-10, atol=1e-10 * float(plain.abs().max()))


def test_no_gradient_is_recorded_where_none_is_wanted(make_world, video):
    world = make_world()
    with torch.no_grad():
        rollout = world.rollout(world.prompt(video), torch.ones(1, 2, 2), seed=0)
    assert not rollout.latents.requires_grad
    assert world.rollout(world.prompt(video), torch.ones(1, 2, 2), seed=0).latents.requires_grad


LONG_ROLLOUT = """
import resource, sys, torch
from worldline.dynamics import SamplerConfig, dynamics_config
from worldline.interfaces import ActionSpec
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

torch.set_num_threads(1)
num_frames, num_steps = int(sys.argv[1]), int(sys.argv[2])
world = World(WorldConfig(
    tokenizer=TokenizerConfig(),
    dynamics=dynamics_config("tiny", num_tokens=16, latent_dim=32, action_dim=2),
    sampler=SamplerConfig(num_steps=num_steps),
    action_spec=ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0)),
))
# A fresh network's branches end in zeros, and gradients would stop there.
for parameter in world.dynamics.parameters():
    torch.nn.init.normal_(parameter, std=0.3 * parameter.shape[-1] ** -0.5)
latents = torch.randn(1, 8, 16, 32, requires_grad=True)
actions = torch.zeros(1, num_frames, 2, requires_grad=True)
rollout = world.rollout(world.prompt_latents(latents), actions, seed=0)
world.decode(rollout.state).square().mean().backward()
assert all(bool(x.grad.isfinite().all()) and bool(x.grad.any()) for x in (latents, actions))
assert actions.grad[0, num_frames - 20].any()
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with `resource`")
def test_a_long_differentiable_rollout_fits_in_4_gb():
    command = [sys.executable, "-c", LONG_ROLLOUT, "256", "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 4e9
