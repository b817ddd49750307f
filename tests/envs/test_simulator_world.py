"""A simulator as a world: it is the simulator, bit for bit, and keeps the contract of a world where a simulator can."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from worldline.control import CEM, CEMConfig
from worldline.envs.push import PlainPush, Push
from worldline.envs.pusht import make_pusht
from worldline.envs.record import draw_attributes, record, simulator_seed
from worldline.envs.simulator import Act, Attribute, Simulator
from worldline.envs.simulator_world import FiniteDifferences, SimulatorWorld
from worldline.envs.zoo import start_domain
from worldline.interfaces import ActionSpec, Rollout, State
from worldline.testing import LinearQuadraticWorld, PointMassWorld

RESTORED = ("push", "two_room", "reacher", "ball_in_cup", "fetch_push")
ADVANCED = ("push", "two_room", "reacher", "ball_in_cup")
PLANNED = ("push", "two_room", "reacher", "ball_in_cup", "cube", "fetch_push", "painting")


class PointMass(Simulator):
    """The point mass as a simulator, to be compared with the world of the same law."""

    name, extra, rate_hz = "point_mass", "none", 5.0
    action_spec = ActionSpec(low=(-2.0, -2.0), high=(2.0, 2.0))
    state_names = ("x", "y", "velocity_x", "velocity_y")
    event_names, policy_names, attributes = ("moves",), ("random",), (Attribute(name="drag", kind="physics", usual=(0.0, 0.1)),)
    law = PointMassWorld()

    def reset(self, seed: int, attributes: Mapping[str, Any]) -> None:
        self.place = self.law.state(torch.from_numpy(np.random.default_rng(seed).uniform(-0.1, 0.1, (1, 4))))
        self.resets = getattr(self, "resets", 0) + 1

    def step(self, action: np.ndarray | None) -> None:
        assert action is not None
        self.place = self.law.step(self.place, torch.from_numpy(action)[None].double(), seed=0)
        if self.state()[0] > 40:
            raise FloatingPointError("out of sight")

    def render(self, size: int) -> np.ndarray:
        return np.full((size, size, 3), 10 + int(100 * abs(self.state()[0])) % 200, np.uint8)

    def state(self) -> np.ndarray:
        return self.place.latent.flatten().numpy().copy()

    def events(self) -> Mapping[str, bool]:
        return {"moves": True}

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        return lambda: generator.uniform(-2, 2, 2)

    def captions(self) -> Sequence[str]:
        return ["a point moves"]


class RestoredPointMass(PointMass):
    restores = "exactly"

    def save(self) -> object:
        return self.place

    def load(self, saved: Any) -> None:
        self.place = saved


def at_rest(rollout: Rollout) -> torch.Tensor:
    return PointMass.law.objective()(rollout)


@pytest.mark.parametrize("kind", [PointMass, RestoredPointMass])
def test_it_equals_the_world_of_the_same_law(kind: type[PointMass]) -> None:
    world, law = SimulatorWorld(kind()), PointMassWorld()
    state = world.start(3, {"drag": 0.0}, np.ones((2, 2)))
    actions = torch.rand(5, 4, 2) * 4 - 2
    found = world.rollout(state, actions, samples=2)
    expected = law.rollout(law.state(state.latent.flatten(1)), actions.double(), samples=2, seed=0)
    assert torch.allclose(found.latents.flatten(3), expected.latents.flatten(3), atol=1e-12)
    assert torch.equal(found.latents[0], found.latents[1])
    step = state
    for time in range(4):
        step = world.step(step, actions[:1, time])
    assert torch.equal(step.latent, found.latents[0, :1, -1])
    beyond = world.rollout(found.state, actions.repeat(2, 1, 1))
    alone = world.rollout(world.start(3, {"drag": 0.0}, np.concatenate([np.ones((2, 2)), actions[1].numpy()])), actions[1:2])
    assert torch.equal(beyond.latents[0, 1], alone.latents[0, 0])
    assert world.fork(state, 3).latent.shape == (3, 1, 4)
    assert torch.equal(world.rollout(world.fork(state, 5), actions).latents, found.latents[:1])
    assert world.step(state, None).latent.isfinite().all()


def test_many_candidates_start_an_episode_once_where_it_can_be_restored() -> None:
    simulators = [PointMass(), RestoredPointMass()]
    for simulator in simulators:
        world = SimulatorWorld(simulator)
        world.rollout(world.start(0, {"drag": 0.0}), torch.zeros(10, 3, 2))
    assert [simulator.resets for simulator in simulators] == [11, 1]


def test_what_lies_behind_a_node_is_never_run_again() -> None:
    class Counted(RestoredPointMass):
        frames = 0

        def step(self, action: np.ndarray | None) -> None:
            self.frames += 1
            super().step(action)

    simulator = Counted()
    world = SimulatorWorld(simulator)
    nodes = world.rollout(world.start(0, {"drag": 0.0}), torch.rand(3, 4, 2)).state
    assert simulator.frames == 12
    children = world.rollout(world.select(nodes, torch.tensor([1, 2, 1, 2, 1])), torch.rand(5, 2, 2))
    assert simulator.frames == 12 + 5 * 2
    again = SimulatorWorld(PointMass())
    for row, branch in enumerate(children.state.memory):
        assert torch.equal(again.start(0, {"drag": 0.0}, np.stack(branch.actions)).latent[0], children.state.latent[row])


def test_a_planner_finds_the_optimum_in_it() -> None:
    world = SimulatorWorld(RestoredPointMass())
    state = world.start(1, {"drag": 0.0})
    plan = CEM(world, at_rest, CEMConfig(horizon=4, num_candidates=64, num_elites=8, num_iterations=20)).plan(state, seed=0)
    best = PointMass.law.optimal_cost(state.latent.flatten(1), horizon=4).item()
    assert best <= -plan.score * (1 + 1e-9)
    assert -plan.score < 1.02 * best


def test_frames_can_be_skipped_and_actions_held() -> None:
    simulator = PointMass()
    plain, beside = SimulatorWorld(simulator), SimulatorWorld(simulator, frame_skip=2)
    held = SimulatorWorld(simulator, frame_skip=2, held=True)
    state = plain.start(5, {"drag": 0.0})
    one = torch.rand(1, 2, 2)
    every = plain.rollout(state, one.repeat_interleave(2, dim=1)).latents[:, :, 1::2]
    assert torch.equal(held.rollout(state, one).latents, every)
    assert beside.action_spec is not None
    assert beside.action_spec.dim == 4
    assert torch.equal(beside.rollout(state, torch.cat([one, one], dim=-1)).latents, every)
    film = beside.decode(beside.rollout(state, torch.cat([one, one], dim=-1)))
    assert torch.equal(film, plain.decode(plain.rollout(state, one.repeat_interleave(2, dim=1)))[:, :, 1::2])


def test_what_diverges_is_not_a_number_and_does_no_harm() -> None:
    world = SimulatorWorld(RestoredPointMass())
    state = world.start(2, {"drag": 0.0})
    wild = torch.tensor([[2.0, 0.0]]).expand(1, 60, 2)
    before = world.rollout(state, wild[:, :3]).latents
    latents = world.rollout(state, wild).latents
    first = int(latents.isnan().any(-1).flatten().nonzero()[0])
    assert first > 10
    assert latents[0, 0, first:].isnan().all()
    assert torch.equal(world.rollout(state, wild[:, :3]).latents, before)


def test_pictures_need_an_episode() -> None:
    world = SimulatorWorld(PointMass(), size=8)
    state = world.start(4, {"drag": 0.0})
    assert world.decode(world.fork(state, 2)).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="latents alone"):
        world.decode(state.latent)


@pytest.mark.parametrize("shape", [(2, 0, 2), (2, 3, 3), (3, 2)])
def test_actions_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    world = SimulatorWorld(PointMass())
    with pytest.raises(ValueError, match="at least one frame"):
        world.rollout(world.start(0, {"drag": 0.0}), torch.zeros(shape))


def test_differences_are_the_gradient_of_a_linear_world() -> None:
    law = LinearQuadraticWorld(noise_scale=0.3)
    world = FiniteDifferences(law, width=0.1)
    state, actions = law.state(torch.rand(1, 4, dtype=torch.float64)), torch.rand(3, 4, 2, dtype=torch.float64).requires_grad_()
    weights = torch.rand(2, 3, 4, 1, 4, dtype=torch.float64)
    (found,) = torch.autograd.grad((world.rollout(state, actions, samples=2, seed=1).latents * weights).sum(), actions)
    (expected,) = torch.autograd.grad((law.rollout(state, actions, samples=2, seed=1).latents * weights).sum(), actions)
    assert torch.allclose(found, expected, rtol=1e-9)
    end = world.step(state, actions[:1, 0], seed=0).latent.sum()
    assert torch.autograd.grad(end, actions)[0][0, 0] == pytest.approx(law.control.sum(0).numpy(), rel=1e-9)
    assert not world.rollout(state, actions.detach(), seed=1).latents.requires_grad
    assert torch.equal(world.decode(world.fork(state, 2)), law.decode(law.fork(state, 2)))
    assert torch.equal(world.step(state, None, seed=4).latent, law.step(state, None, seed=4).latent)


def test_at_a_bound_the_difference_is_taken_on_the_side_that_is_there() -> None:
    class Bounded(LinearQuadraticWorld):
        def rollout(self, state: State, actions: torch.Tensor, **options: Any) -> Rollout:
            assert self.action_spec is not None
            return super().rollout(state, self.action_spec.clamp(actions), **options)

    law = Bounded(action_limit=1.0)
    world, state = FiniteDifferences(law), law.state(torch.rand(1, 4, dtype=torch.float64))
    slopes = []
    for value in (0.5, 0.99, 1.0, -1.0):
        actions = torch.full((1, 3, 2), value, dtype=torch.float64, requires_grad=True)
        slopes.append(torch.autograd.grad(world.rollout(state, actions).latents.sum(), actions)[0])
    assert all(torch.allclose(slope, slopes[0], rtol=1e-6) for slope in slopes[1:])


def domain(name: str) -> Simulator:
    try:
        return start_domain(name)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", RESTORED)
def test_a_restored_simulator_goes_on_as_it_would_have(name: str) -> None:
    """Exactly; a push only nearly, because pymunk's copy may solve contacts in another order."""
    simulator = domain(name)
    assert simulator.action_spec is not None
    off = []
    for seed in range(8):
        attributes = draw_attributes(simulator, seed=seed, split="validation")
        simulator.reset(seed, attributes)
        act = simulator.policy(simulator.policy_names[0], np.random.default_rng(seed))
        for _ in range(10):
            simulator.step(np.asarray(act(), np.float32))
        saved, picture = simulator.save(), simulator.render(32).copy()
        actions = np.random.default_rng(seed).uniform(simulator.action_spec.low, simulator.action_spec.high, (6, simulator.action_spec.dim))
        futures = []
        for again in range(3):
            if again:
                simulator.load(saved)
                assert np.array_equal(simulator.render(32), picture)
            states = []
            for action in actions.astype(np.float32):
                simulator.step(action)
                states.append(simulator.state())
            futures.append(np.stack(states))
        assert np.array_equal(futures[1], futures[2])
        off.append(float(np.abs(futures[1] - futures[0]).max()))
    if simulator.restores == "exactly":
        assert max(off) == 0
    else:
        assert np.median(off) < 1e-6


@pytest.mark.parametrize("name", ADVANCED)
def test_advancing_is_stepping(name: str) -> None:
    """All but how much of the goal is covered, which is an area: that is found again, up to rounding."""
    stepped, advanced = domain(name), domain(name)
    for seed in range(3):
        attributes = draw_attributes(stepped, seed=seed, split="validation")
        for simulator in (stepped, advanced):
            simulator.reset(seed, attributes)
        act = stepped.policy(stepped.policy_names[0], np.random.default_rng(seed))
        for _ in range(20):
            action = np.asarray(act(), np.float32)
            stepped.step(action)
            advanced.advance(action)
            exact = [name != "coverage" for name in stepped.state_names]
            assert np.array_equal(stepped.state()[exact], advanced.state()[exact])
            assert np.allclose(stepped.state(), advanced.state(), rtol=0, atol=1e-12)
            if isinstance(advanced, Push):
                assert np.array_equal(advanced.pose(), advanced.state()[:5])
        assert np.array_equal(stepped.render(32), advanced.render(32))


@pytest.mark.parametrize("name", PLANNED)
def test_a_rollout_is_the_episode_that_was_filmed(name: str) -> None:
    """The states that `record` wrote come back, from a state in the middle of the episode, to the last bit."""
    simulator = domain(name)
    clip = record(simulator, seed=1, split="validation", num_frames=9, sizes=(32,))[0]
    assert clip.actions is not None
    assert clip.states is not None
    world = SimulatorWorld(simulator, size=32)
    attributes = draw_attributes(simulator, seed=1, split="validation")
    state = world.start(simulator_seed(1, "validation"), attributes, clip.actions[:4].numpy())
    rollout = world.rollout(state, torch.stack([clip.actions[4:8], clip.actions[:4]]))
    assert torch.equal(rollout.latents[0, 0, :, 0].float(), clip.states[5:9])
    assert torch.equal((world.decode(rollout)[0, 0] * 255).round(), clip.frames[5:9].float())
    world.close()


def test_the_plain_push_is_push_t() -> None:
    simulator = domain("push")
    assert isinstance(simulator, Push)
    plain, env = PlainPush(), make_pusht(32)
    plain.reset(5, {})
    env.reset(seed=5)
    actions = np.random.default_rng(0).uniform(100, 400, (12, 2)).astype(np.float32)
    for action in actions:
        plain.step(action)
        _, coverage, _, _, info = env.step(action)
        assert np.array_equal(plain.state()[:7], info["state"])
        assert plain.state()[-1] == coverage
    assert np.array_equal(plain.render(32), env.render())
