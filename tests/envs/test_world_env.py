"""Any world as a gymnasium environment: gymnasium's own checker, the closed form, and learners that know nothing of worlds."""

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.envs import Prompts, WorldEnv, WorldVectorEnv
from worldline.interfaces import ActionSpec, Rollout, State
from worldline.reward import GoalLatent, RewardHead
from worldline.testing import PointMassWorld
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

POINT = PointMassWorld(noise_scale=0.05)
GOAL = GoalLatent(torch.zeros(2, 2))


def anywhere(generators: Sequence[np.random.Generator]) -> State:
    return POINT.state(torch.tensor(np.stack([generator.uniform(-0.5, 0.5, 4) for generator in generators])).float())


def point_env(**options: Any) -> WorldEnv:
    settings: dict[str, Any] = {"horizon": 6} | options
    return WorldEnv(POINT, anywhere, GOAL, **settings)


@pytest.fixture(scope="module")
def nano() -> World:
    torch.manual_seed(0)
    return World(
        WorldConfig(
            tokenizer=TokenizerConfig(image_size=16, grid=2, latent_dim=4, width=16, num_layers=1, head_dim=8, window=1),
            dynamics=DynamicsConfig(num_tokens=4, latent_dim=4, action_dim=2, width=16, num_layers=2, head_dim=8, context_frames=4),
            sampler=SamplerConfig(num_steps=1),
            rate_hz=5.0,
            action_spec=ActionSpec(low=(-1.0, 0.0), high=(1.0, 512.0)),
        )
    )


@pytest.fixture
def prompts(nano: World) -> Prompts:
    films = [torch.rand(9, 3, 16, 16) for _ in range(3)]
    return Prompts(nano.prompt, films, [torch.rand(9, 2) for _ in range(3)], num_frames=3)


def accepted(env: WorldEnv) -> None:
    with warnings.catch_warnings():
        # About what is as it must be: latents have no bounds, actions the environment's units, and nobody registered it.
        warnings.filterwarnings("ignore", message=".*(Box|spec|infinity).*")
        check_env(env)


@pytest.mark.parametrize("observation", ["latents", "pixels"])
def test_gymnasium_accepts_a_point_mass(observation: str) -> None:
    accepted(point_env(observation=observation))


@pytest.mark.parametrize("observation", ["latents", "pixels"])
def test_gymnasium_accepts_a_learned_world(nano: World, prompts: Prompts, observation: Any) -> None:
    goal = GoalLatent(torch.zeros(nano.noise_shape))
    accepted(WorldEnv(nano, prompts, goal, horizon=4, observation=observation))


def test_a_reward_head_is_a_reward(nano: World, prompts: Prompts) -> None:
    env = WorldEnv(nano, prompts, RewardHead(), horizon=3)
    env.reset(seed=1)
    _, reward, *_ = env.step(env.action_space.sample())
    assert reward == pytest.approx(env.state.heads["reward"].detach().item(), abs=1e-6)
    assert reward != 0


def test_an_episode_is_the_world_s_own_under_its_law() -> None:
    env = WorldEnv(PointMassWorld(), anywhere, GOAL, horizon=5)
    first, info = env.reset(seed=3)
    values, action = torch.from_numpy(first).double().flatten(), torch.tensor([0.5, -1.0], dtype=torch.float64)
    assert info == {}
    for step in range(5):
        observation, reward, terminated, truncated, _ = env.step(action.float().numpy())
        end = PointMassWorld().rollout_end(values[None], action.expand(1, step + 1, 2))[0]
        assert observation == pytest.approx(end.unflatten(0, (2, 2)).numpy(), abs=1e-5)
        assert reward == pytest.approx(-float(end.square().mean()), abs=1e-5)
        assert not terminated
        assert truncated == (step == 4)


def test_actions_outside_are_clipped_and_not_finite_ones_refused() -> None:
    one, two = point_env(), point_env()
    one.reset(seed=0)
    two.reset(seed=0)
    assert np.array_equal(one.step(np.array([9.0, -9.0], np.float32))[0], two.step(np.array([2.0, -2.0], np.float32))[0])
    with pytest.raises(ValueError, match="finite"):
        one.step(np.array([np.nan, 0.0], np.float32))


def test_a_fork_goes_on_as_its_parent_would_and_leaves_it_alone() -> None:
    env = point_env(horizon=20)
    env.reset(seed=5)
    env.step(np.zeros(2, np.float32))
    kept, twin = env.state.latent.clone(), env.fork()
    there = [twin.step(np.ones(2, np.float32))[0] for _ in range(4)]
    assert torch.equal(env.state.latent, kept)
    here = [env.step(np.ones(2, np.float32))[0] for _ in range(4)]
    assert np.array_equal(np.stack(here), np.stack(there))


def test_an_episode_can_begin_at_a_state() -> None:
    env = point_env()
    state = POINT.state(torch.full((1, 4), 0.25))
    observation, _ = env.reset(seed=0, options={"state": state})
    assert np.array_equal(observation, np.full((2, 2), 0.25, np.float32))
    with pytest.raises(ValueError, match="batch 1"):
        env.reset(options={"state": POINT.state(torch.zeros(2, 4))})


def test_pictures_are_the_world_s() -> None:
    env = point_env(observation="pixels")
    observation, _ = env.reset(seed=2)
    shown = env.render()
    assert shown is not None
    assert np.array_equal(shown, observation)
    assert np.abs(shown / 255 - POINT.decode(env.state)[0].permute(1, 2, 0).numpy()).max() < 0.5001 / 255
    blind = point_env(render_mode=None)
    blind.reset()
    assert blind.render() is None


def test_rows_of_a_vector_are_single_environments() -> None:
    vector = WorldVectorEnv(POINT, anywhere, GOAL, num_envs=3, horizon=4)
    assert isinstance(vector, gymnasium.vector.VectorEnv)
    singles = [point_env(horizon=4) for _ in range(3)]
    observations, _ = vector.reset(seed=7)
    for row, single in enumerate(singles):
        assert np.array_equal(observations[row], single.reset(seed=7 + row)[0])
    vector.action_space.seed(0)
    for step in range(4):
        actions = vector.action_space.sample()
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        found = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        if step == 3:
            assert np.allclose(np.stack(list(infos["final_obs"])), np.stack([one[0] for one in found]), atol=1e-6)
            assert np.array_equal(observations, np.stack([single.reset()[0] for single in singles]))
        else:
            assert np.allclose(observations, np.stack([one[0] for one in found]), atol=1e-6)
        assert rewards == pytest.approx([one[1] for one in found], abs=1e-6)
        assert not terminated.any()
        assert truncated.all() == (step == 3)
    assert len(vector.render()) == 3


def test_a_vector_begins_anew_when_it_is_told() -> None:
    later = WorldVectorEnv(POINT, anywhere, GOAL, num_envs=2, horizon=1, autoreset_mode=AutoresetMode.NEXT_STEP)
    later.reset(seed=0)
    zeros = np.zeros((2, 2), np.float32)
    last, _, _, truncated, _ = later.step(zeros)
    assert truncated.all()
    first, rewards, _, truncated, _ = later.step(zeros)
    assert not truncated.any()
    assert not rewards.any()
    assert not np.array_equal(first, last)
    never = WorldVectorEnv(POINT, anywhere, GOAL, num_envs=2, horizon=1, autoreset_mode="Disabled")
    never.reset(seed=[4, 4])
    never.step(zeros)
    with pytest.raises(RuntimeError, match="call reset"):
        never.step(zeros)
    with pytest.raises(ValueError, match="3 seeds for 2 rows"):
        never.reset(seed=[1, 2, 3])


def test_a_world_that_diverges_says_so() -> None:
    def nowhere(rollout: Rollout) -> torch.Tensor:
        return torch.full((rollout.latents.shape[1],), float("nan"))

    env = WorldEnv(POINT, anywhere, nowhere)
    env.reset(seed=0)
    with pytest.raises(FloatingPointError, match="frame 1"):
        env.step(np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"horizon": 0}, "horizon is 0"), ({"observation": "smells"}, "smells"), ({"render_mode": "human"}, "rgb_array")],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        point_env(**options)


def test_prompts_that_do_not_fit_are_refused(nano: World) -> None:
    with pytest.raises(ValueError, match="none shorter"):
        Prompts(nano.prompt, [torch.rand(2, 3, 16, 16)], num_frames=3)
    with pytest.raises(ValueError, match="do not fit"):
        Prompts(nano.prompt, [torch.rand(5, 3, 16, 16)], [torch.rand(3, 2)], num_frames=3)


def test_stable_baselines_trains_in_it() -> None:
    """PPO, as it is, learns to bring a point mass to the middle: better than it began, and than standing still."""
    sb3 = pytest.importorskip("stable_baselines3", reason='needs the extra "rl"')
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    def build() -> WorldEnv:
        return point_env(horizon=15)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sb3_check_env(build())
        learner = sb3.PPO(
            "MlpPolicy", build(), n_steps=480, batch_size=120, n_epochs=6, gamma=0.9, learning_rate=5e-3, seed=0, device="cpu"
        )

        def mean_return(act: Any) -> float:
            env, total = build(), 0.0
            for seed in range(20):
                observation, _ = env.reset(seed=1000 + seed)
                over = False
                while not over:
                    observation, reward, _, over, _ = env.step(act(observation))
                    total += reward
            return total / 20

        untrained = mean_return(lambda seen: learner.predict(seen, deterministic=True)[0])
        learner.learn(2400)
        trained = mean_return(lambda seen: learner.predict(seen, deterministic=True)[0])
    still = mean_return(lambda seen: np.zeros(2, np.float32))
    assert trained > 0.5 * still
    assert trained > 0.5 * untrained


def test_torchrl_collects_in_it() -> None:
    """TorchRL's own wrapper and its own checks take both environments; batched rollouts hold the world's rewards."""
    pytest.importorskip("torchrl", reason='needs the extra "rl"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchrl.envs import GymWrapper
        from torchrl.envs.utils import check_env_specs

        single = GymWrapper(point_env())
        check_env_specs(single)
        vector = GymWrapper(WorldVectorEnv(POINT, anywhere, GOAL, num_envs=3, horizon=4))
        vector.set_seed(0)
        seen = vector.rollout(10, break_when_any_done=False)
    assert tuple(seen.batch_size) == (3, 10)
    rewards = seen["next", "reward"].squeeze(-1)
    expected = -seen["next", "observation"].square().mean((-1, -2))
    assert torch.allclose(rewards.double(), expected.double(), atol=1e-5)
    assert seen["next", "truncated"].squeeze(-1)[0].nonzero().flatten().tolist() == [3, 7]
