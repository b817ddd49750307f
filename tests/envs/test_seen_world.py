"""A simulator seen through a tokenizer: its pictures, encoded, from the places that were recorded, and forward only."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from worldline.control.actor import Actor, ActorConfig, CriticConfig, PreferenceConfig, train_by_preference
from worldline.envs.balls import Balls
from worldline.envs.pusht import collect_pusht, pusht_action_spec
from worldline.envs.record import draw_attributes, simulator_seed
from worldline.envs.seen_world import PushTScene, SeenWorld, SharedScene, SimulatorScene, Start
from worldline.envs.zoo import load_domain
from worldline.interfaces import ActionSpec, Rollout, State

SPEC = ActionSpec(low=(-10.0,), high=(10.0,))


class Lamp:
    """A picture of one brightness, 0 to 250, which an action adds to."""

    def begin(self, place: Any) -> None:
        self.level = float(place)

    def step(self, action: np.ndarray) -> None:
        self.level = float(np.clip(self.level + action[0], 0, 250))

    def picture(self) -> np.ndarray:
        return np.full((4, 4, 3), round(self.level), np.uint8)

    def truth(self) -> np.ndarray:
        return np.array([self.level])


def brightness_now_and_before(frames: Tensor) -> Tensor:
    """(B, W, 3, H, W) -> (B, W, 1, 2)."""
    now = frames.mean((2, 3, 4)) * 255
    return torch.stack([now, torch.cat([now[:, :1], now[:, :-1]], 1)], -1)[:, :, None]


def lamps(count: int) -> SeenWorld:
    return SeenWorld([Lamp() for _ in range(count)], brightness_now_and_before, action_spec=SPEC)


def start(level: float, before: float = 0.0) -> Start:
    return Start(place=level, frames=torch.stack([torch.full((3, 4, 4), value / 255) for value in (99.0, before, level)]))


def test_latents_are_of_the_recorded_frames_first_and_of_the_simulators_then() -> None:
    world = lamps(3)
    state = world.begin([start(20, before=18), start(100, before=110)])  # fewer rows than there are simulators
    torch.testing.assert_close(state.latent, torch.tensor([[[20.0, 18.0]], [[100.0, 110.0]]]))
    after = world.step(state, torch.tensor([[5.0], [-7.0]]))
    torch.testing.assert_close(after.latent, torch.tensor([[[25.0, 20.0]], [[93.0, 100.0]]]))
    torch.testing.assert_close(after.heads["truth"], torch.tensor([[25.0], [93.0]]))
    torch.testing.assert_close(world.decode(after), torch.tensor([25 / 255, 93 / 255])[:, None, None, None].expand(2, 3, 4, 4))
    assert (after.position, world.num_frames) == (state.position + 1, 2)


def test_actions_are_held_to_the_bounds_and_none_is_their_middle() -> None:
    world = lamps(1)
    bright = world.step(world.begin([start(20)]), torch.tensor([[1000.0]]))
    assert bright.heads["truth"].item() == 30
    assert world.step(bright, None).heads["truth"].item() == 30


def test_a_rollout_is_steps_in_a_row() -> None:
    world, actions = lamps(2), torch.tensor([[[1.0], [2.0], [3.0]], [[-1.0], [0.0], [4.0]]])
    rollout = world.rollout(world.begin([start(20), start(50)]), actions)
    torch.testing.assert_close(rollout.heads["truth"][0, :, :, 0], torch.tensor([[21.0, 23.0, 26.0], [49.0, 49.0, 53.0]]))
    torch.testing.assert_close(rollout.latents[0, :, :, 0, 0], rollout.heads["truth"][0, :, :, 0])
    assert world.step(rollout.state, torch.tensor([[1.0], [1.0]])).latent[:, 0, 0].tolist() == [27, 54]


def test_what_it_cannot_do_it_says() -> None:
    world = lamps(2)
    state = world.begin([start(20)])
    for action in (torch.zeros(2, 1), torch.zeros(1, 2), torch.full((1, 1), torch.nan)):
        with pytest.raises(ValueError, match="give finite"):
            world.step(state, action)
    world.step(state, torch.zeros(1, 1))
    with pytest.raises(ValueError, match="only goes forward"):
        world.step(state, torch.zeros(1, 1))
    with pytest.raises(ValueError, match="cannot be copied"):
        world.fork(state, 2)
    with pytest.raises(ValueError, match="goes once"):
        world.rollout(world.begin([start(20)]), torch.zeros(1, 2, 1), samples=2)
    with pytest.raises(ValueError, match="decode rollouts and latents with the learned world"):
        world.decode(state.latent)
    with pytest.raises(ValueError, match="window"):
        world.begin([Start(place=1.0, frames=torch.zeros(1, 3, 4, 4))])
    with pytest.raises(ValueError, match="2 scenes"):
        world.begin([start(1)] * 3)
    with pytest.raises(ValueError, match="give scenes"):
        SeenWorld([], brightness_now_and_before, action_spec=SPEC)


def test_a_learner_that_knows_worlds_only_learns_in_it() -> None:
    world = lamps(32)

    def contexts(count: int, generator: torch.Generator) -> State:
        return world.begin([start(level) for level in torch.randint(60, 190, (count,), generator=generator).tolist()])

    def nearness(rollout: Rollout) -> Tensor:
        return -(rollout.heads["truth"] - 125).abs().mean((0, 2, 3))

    def error(policy: Any) -> float:
        state = contexts(32, torch.Generator().manual_seed(5))
        for _ in range(8):
            state = world.step(state, policy(state))
        return float((state.heads["truth"] - 125).abs().mean())

    torch.manual_seed(0)
    actor = Actor((1, 2), SPEC, ActorConfig(width=16), mean=torch.full((1, 2), 125.0), std=torch.full((1, 2), 40.0))
    still = error(lambda state: torch.zeros(state.batch_size, 1))
    config = PreferenceConfig(critic=CriticConfig(discount=0.8), num_rollouts=60, batch_size=32, horizon=6)
    trained = train_by_preference(world, contexts, nearness, config, initial=actor)
    with torch.no_grad():
        assert error(trained.actor) < 0.5 * still


def test_push_t_goes_on_from_a_recorded_frame_as_the_recording_did() -> None:
    pytest.importorskip("gym_pusht", reason="needs gym-pusht")
    clip = next(iter(collect_pusht(1, num_frames=12, seed=3, policy="push", frame_skip=4)))
    assert clip.states is not None
    assert clip.actions is not None
    frames = clip.frames.float() / 255
    world = SeenWorld([PushTScene()], lambda seen: seen.flatten(2)[:, :, None], action_spec=pusht_action_spec())
    state = world.begin([Start(place=clip.states[5].double().numpy(), frames=frames[:6])])
    torch.testing.assert_close(state.heads["truth"][0, :7], clip.states[5])
    for index in range(5, 9):
        state = world.step(state, clip.actions[index : index + 1])
        # The contact cache is not part of a state, so what follows a touch is close and not the same.
        torch.testing.assert_close(state.heads["truth"][0, :4], clip.states[index + 1, :4], atol=1.0, rtol=0)
        assert (world.decode(state)[0] - frames[index + 1]).abs().mean() < 0.01


def test_a_domain_goes_on_from_a_moment_of_its_episode_to_the_bit() -> None:
    pytest.importorskip("dm_control", reason="needs dm_control")
    kind = load_domain("reacher")
    scene, other = (SimulatorScene(kind(), size=16, frame_skip=3) for _ in range(2))
    seed, attributes = simulator_seed(4, "train"), draw_attributes(kind, seed=4, split="train")
    scene.simulator.reset(seed, attributes)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 6)).astype(np.float32)
    for action in actions[:3]:
        scene.step(action)
    moment = scene.moment(seed, attributes)
    for action in actions[3:]:
        scene.step(action)
    other.begin(moment)
    for action in actions[3:]:
        other.step(action)
    np.testing.assert_array_equal(other.truth(), scene.truth())
    np.testing.assert_array_equal(other.picture(), scene.picture())


def test_rows_that_share_a_simulator_are_as_rows_of_their_own() -> None:
    pytest.importorskip("dm_control", reason="needs dm_control")
    kind = load_domain("reacher")
    simulator = kind()
    shared = [SharedScene(simulator, size=16, frame_skip=2) for _ in range(2)]
    own = [SimulatorScene(kind(), size=16, frame_skip=2) for _ in range(2)]
    with pytest.raises(RuntimeError, match="call begin"):
        shared[0].picture()
    for number, (row, alone) in enumerate(zip(shared, own, strict=True)):
        seed, attributes = simulator_seed(number, "train"), draw_attributes(kind, seed=number, split="train")
        alone.simulator.reset(seed, attributes)
        place = alone.moment(seed, attributes)
        row.begin(place)
        alone.begin(place)
    for actions in np.random.default_rng(0).uniform(-1, 1, (3, 2, 4)).astype(np.float32):
        for row, alone, action in zip(shared, own, actions, strict=True):
            row.step(action)
            alone.step(action)
        for row, alone in zip(shared, own, strict=True):
            np.testing.assert_array_equal(row.truth(), alone.truth())
            np.testing.assert_array_equal(row.picture(), alone.picture())


def test_a_domain_that_cannot_go_back_is_no_scene() -> None:
    with pytest.raises(ValueError, match="cannot be set to a recorded moment"):
        SimulatorScene(Balls())
