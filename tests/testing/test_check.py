"""`check_world` passes worlds that keep the contract and catches each way of breaking it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldline.interfaces import Rollout, State
from worldline.testing import LinearQuadraticWorld, PointMassWorld, WorldCheckError, check_world


def start(world: LinearQuadraticWorld, dtype: torch.dtype = torch.float64) -> State:
    return world.state(torch.tensor([[0.3, -0.2, 0.1, 0.5]], dtype=dtype))


class NoisyWorld(LinearQuadraticWorld):
    def __init__(self):
        super().__init__(noise_scale=0.5)


class RememberingWorld(NoisyWorld):
    """Carries a long past that all forks share."""

    def state(self, values):
        return replace(super().state(values), memory={"layers": [(torch.ones(100, 4), torch.ones(100, 4))]})

    def step(self, state, action, *, noise=None, seed=None):
        return replace(super().step(state, action, noise=noise, seed=seed), memory=state.memory)

    def fork(self, state, count):
        return replace(super().fork(state, count), memory=state.memory)


class WorldWithoutActions(LinearQuadraticWorld):
    def __init__(self):
        super().__init__(control=torch.zeros(4, 0), noise_scale=0.5)
        self.action_spec = None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make_world", [NoisyWorld, RememberingWorld, PointMassWorld])
def test_good_worlds_pass(make_world, dtype):
    world = make_world()
    report = check_world(world, start(world, dtype))
    assert len(report.checks) >= 30
    assert not report.failures
    assert "gradient to actions" in str(report)


def test_report_says_what_could_not_be_checked():
    world = WorldWithoutActions()
    report = check_world(world, start(world))
    assert "gradient to actions" not in {check.name for check in report.checks}
    assert any("no action_spec" in reason for reason in report.skipped)
    silent = LinearQuadraticWorld()
    assert any("gradient to noise" in reason for reason in check_world(silent, start(silent)).skipped)


def test_global_random_state_survives_the_check():
    before = torch.random.get_rng_state()
    check_world(NoisyWorld(), start(NoisyWorld()))
    assert torch.equal(torch.random.get_rng_state(), before)


class StepWritesIntoTheOldState(NoisyWorld):
    def step(self, state, action, *, noise=None, seed=None):
        following = super().step(state, action, noise=noise, seed=seed)
        state.latent.copy_(following.latent)
        return following


class StepCountsItsCalls(NoisyWorld):
    num_calls = 0

    def step(self, state, action, *, noise=None, seed=None):
        self.num_calls += 1
        following = super().step(state, action, noise=noise, seed=seed)
        return replace(following, latent=following.latent + self.num_calls)


class BranchesShareOneCache(NoisyWorld):
    """A cache that is appended to in place: the second branch overwrites what the first one wrote."""

    def state(self, values):
        memory = torch.zeros(20, 1, 1, 4, dtype=values.dtype)
        memory[1] = values
        return replace(super().state(values), memory=memory)

    def step(self, state, action, *, noise=None, seed=None):
        cached = replace(state, latent=state.memory[state.position].expand_as(state.latent))
        following = super().step(cached, action, noise=noise, seed=seed)
        state.memory[following.position] = following.latent[:1]
        return replace(following, memory=state.memory)

    def fork(self, state, count):
        return replace(super().fork(state, count), memory=state.memory)


class StepForgetsToCount(NoisyWorld):
    def step(self, state, action, *, noise=None, seed=None):
        return replace(super().step(state, action, noise=noise, seed=seed), position=state.position)


class StepNeedsAnAction(NoisyWorld):
    def step(self, state, action, *, noise=None, seed=None):
        return super().step(state, action + 0, noise=noise, seed=seed)


class NotANumber(NoisyWorld):
    def step(self, state, action, *, noise=None, seed=None):
        following = super().step(state, action, noise=noise, seed=seed)
        return replace(following, latent=following.latent / 0 * 0)


class ForksInTheWrongOrder(NoisyWorld):
    def fork(self, state, count):
        return replace(state, latent=state.latent.repeat(count, 1, 1))


class ForksCopyThePast(RememberingWorld):
    def fork(self, state, count):
        copies = {"layers": [tuple(tensor.repeat(count, 1) for tensor in layer) for layer in state.memory["layers"]]}
        return replace(super().fork(state, count), memory=copies)


class SeedsTheGlobalGenerator(NoisyWorld):
    def _draw(self, shape, like, seed):
        if seed is not None:
            torch.manual_seed(seed)
        return super()._draw(shape, like, None)


class IgnoresTheSeed(NoisyWorld):
    def _draw(self, shape, like, seed):
        return super()._draw(shape, like, None)


class HasItsOwnGenerator(NoisyWorld):
    num_draws = 0

    def _draw(self, shape, like, seed):
        self.num_draws += 1
        return super()._draw(shape, like, self.num_draws if seed is None else seed)


class NoiseDependsOnTheRow(NoisyWorld):
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        if noise is None:
            noise = self._draw((samples, len(actions), actions.shape[1]), state.latent, seed)
        return super().rollout(state, actions, noise=noise)


class NormalisesOverTheBatch(NoisyWorld):
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        return super().rollout(state, actions - actions.mean(0), samples=samples, noise=noise, seed=seed)


class ActionsComeOneFrameLate(NoisyWorld):
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        late = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], dim=1)
        return super().rollout(state, late, samples=samples, noise=noise, seed=seed)


class EndsWithRowsFirst(NoisyWorld):
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        rollout = super().rollout(state, actions, samples=samples, noise=noise, seed=seed)
        return replace(rollout, state=replace(rollout.state, latent=rollout.latents[:, :, -1].transpose(0, 1).flatten(0, 1)))


class SamplesAreAllTheSame(NoisyWorld):
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        noise = None if noise is None else noise[:1].expand_as(noise)
        return super().rollout(state, actions, samples=samples, noise=noise, seed=seed)


class DecodesToLogits(NoisyWorld):
    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        return torch.logit(super().decode(source))


class DecodesChannelsLast(NoisyWorld):
    def decode(self, source):
        return super().decode(source).movedim(-3, -1)


class StretchesContrastOverTheBatch(NoisyWorld):
    def decode(self, source):
        pixels = super().decode(source)
        return pixels / pixels.max()


class RollsOutWithoutGradients(NoisyWorld):
    @torch.no_grad()
    def rollout(self, state, actions, *, samples=1, noise=None, seed=None):
        return super().rollout(state, actions, samples=samples, noise=noise, seed=seed)


class DetachesTheAction(NoisyWorld):
    def _advance(self, values, action, noise):
        return super()._advance(values, None if action is None else action.detach(), noise)


class HalvesTheGradientOfNoise(NoisyWorld):
    def _advance(self, values, action, noise):
        return super()._advance(values, action, 0.5 * noise + 0.5 * noise.detach())


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (StepWritesIntoTheOldState, "step keeps the old state"),
        (StepCountsItsCalls, "step can be repeated"),
        (BranchesShareOneCache, "rewind"),
        (StepForgetsToCount, "step counts frames"),
        (StepNeedsAnAction, "step runs"),
        (NotANumber, "step without an action"),
        (ForksInTheWrongOrder, "fork of a batch"),
        (ForksCopyThePast, "fork shares the past"),
        (SeedsTheGlobalGenerator, "seed leaves the global generator"),
        (IgnoresTheSeed, "seed decides a rollout"),
        (HasItsOwnGenerator, "global generator decides"),
        (NoiseDependsOnTheRow, "batch invariance"),
        (NormalisesOverTheBatch, "batch invariance"),
        (ActionsComeOneFrameLate, "steps equal rollout"),
        (EndsWithRowsFirst, "end state"),
        (SamplesAreAllTheSame, "samples"),
        (DecodesToLogits, "decode range"),
        (DecodesChannelsLast, "decode shape"),
        (StretchesContrastOverTheBatch, "decode batch invariance"),
        (RollsOutWithoutGradients, "gradient to first latents"),
        (DetachesTheAction, "gradient to actions"),
        (HalvesTheGradientOfNoise, "gradient to noise"),
    ],
)
def test_broken_worlds_are_caught(broken, expected):
    world = broken()
    with pytest.raises(WorldCheckError) as caught:
        check_world(world, start(world))
    assert expected in {check.name for check in caught.value.report.failures}
    assert f"FAIL {expected}: " in str(caught.value)


def test_tolerances_can_be_set():
    world = HalvesTheGradientOfNoise()
    assert not check_world(world, start(world), gradient_tolerance=0.6).failures
    with pytest.raises(WorldCheckError):
        check_world(PointMassWorld(), start(PointMassWorld(), torch.float32), gradient_tolerance=1e-12)


def test_wrong_arguments_say_what_is_needed():
    world = NoisyWorld()
    with pytest.raises(ValueError, match="batch 1"):
        check_world(world, world.fork(start(world), 2))
    with pytest.raises(ValueError, match=r"give \(3, T, 2\)"):
        check_world(world, start(world), actions=torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match="horizon is 1"):
        check_world(world, start(world), horizon=1)
