"""Push-T: the simulator's pictures and physics, the scripted policies, and collection."""

import sys

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from worldline.envs.pusht import (
    ARENA_SIZE,
    GOAL_POSE,
    agent_pixel_position,
    block_pixel_pose,
    collect,
    collect_pusht,
    find_agent,
    find_block,
    make_pusht,
    policies,
    pusht_action_spec,
)
from worldline.interfaces import Clip


def share_of_frames_with_motion(states: torch.Tensor) -> float:
    """Of states (..., T, 7): how often the block moves by more than half a unit or a hundredth of a radian per frame."""
    step = states.diff(dim=-2)
    return ((step[..., 2:4].norm(dim=-1) > 0.5) | (step[..., 4].abs() > 0.01)).float().mean().item()


def float_frames(clip: Clip) -> torch.Tensor:
    return clip.frames.float() / 255


@pytest.fixture(scope="module")
def push_clips() -> list[Clip]:
    return list(collect_pusht(8, num_frames=64, size=64, seed=5, policy="push"))


@pytest.mark.filterwarnings("ignore:.*For Box action spaces, we recommend.*:UserWarning")
def test_environment_passes_gymnasiums_own_check() -> None:
    check_env(make_pusht(64), skip_render_check=True)


def test_picture_is_the_area_average_of_the_simulators_drawing() -> None:
    fine, coarse = make_pusht(512), make_pusht(64)
    full, _ = fine.reset(seed=2)
    small, _ = coarse.reset(seed=2)
    averaged = full.reshape(64, 8, 64, 8, 3).mean((1, 3))
    assert np.abs(averaged - small).max() <= 1
    # The largest picture is the simulator's own observation, untouched.
    simulator = fine._simulator
    simulator.obs_type, simulator.observation_width, simulator.observation_height = "pixels", 512, 512
    np.testing.assert_array_equal(full, simulator.get_obs())


def test_agent_is_drawn_to_its_target() -> None:
    env = make_pusht(32)
    env.reset(options={"state": [100, 100, 300, 300, 0]})
    for _ in range(12):
        _, _, _, _, info = env.step(np.array([180.0, 60.0], dtype=np.float32))
    np.testing.assert_allclose(info["state"][:2], [180, 60], atol=0.5)
    np.testing.assert_allclose(info["state"][2:5], [300, 300, 0], atol=1e-6)


def test_a_given_state_is_the_whole_start() -> None:
    env = make_pusht(16)
    for seed in range(40):  # in about one random scene of eight the agent overlaps the block, which then is on the move
        env.reset(seed=seed, options={"state": [100, 100, 300, 300, 0]})
        _, _, _, _, info = env.step(np.array([100.0, 100.0], dtype=np.float32))
        np.testing.assert_array_equal(info["state"][2:5], [300, 300, 0])


def test_block_at_the_goal_is_full_coverage_and_ends_the_episode() -> None:
    env = make_pusht(32)
    state = [30.0, 40.0, *GOAL_POSE]
    _, info = env.reset(options={"state": state})
    np.testing.assert_allclose(info["state"][:5], state)
    assert info["coverage"] == pytest.approx(1.0)
    _, reward, terminated, truncated, _ = env.step(np.array([30.0, 40.0], dtype=np.float32))
    assert reward == pytest.approx(1.0)
    assert terminated
    assert not truncated


def test_actions_may_lie_side_by_side() -> None:
    """Every second frame of an episode, with both actions that were done between it and the next one."""
    (every,) = collect_pusht(1, num_frames=8, size=32, seed=0)
    (second,) = collect_pusht(1, num_frames=4, size=32, seed=0, frame_skip=2, acts_per_frame=2)
    assert second.rate_hz == 5
    assert torch.equal(second.frames, every.frames[::2])
    for name, rows in (("actions", (4, 4)), ("states", (4, 2, 7)), ("rewards", (4, 2))):
        ours, theirs = getattr(second, name), getattr(every, name).reshape(rows)
        assert torch.equal(ours, theirs if name == "actions" else theirs[:, 0])


def test_frame_skip_holds_the_action() -> None:
    single, triple = make_pusht(32), make_pusht(32, frame_skip=3)
    single.reset(seed=4)
    triple.reset(seed=4)
    action = np.array([300.0, 200.0], dtype=np.float32)
    for _ in range(3):
        frame, *_ = single.step(action)
    held, *_ = triple.step(action)
    np.testing.assert_array_equal(frame, held)
    (clip,) = collect_pusht(1, num_frames=4, size=32, seed=0, frame_skip=5)
    assert clip.rate_hz == 2.0


def test_actions_lead_from_each_frame_to_the_next(push_clips: list[Clip]) -> None:
    clip = push_clips[0]
    assert clip.actions is not None
    env = make_pusht(64)
    frame, _ = env.reset(seed=int(np.random.default_rng([5, 0]).integers(2**31)))
    for recorded, action in zip(clip.frames, clip.actions, strict=True):
        np.testing.assert_array_equal(recorded.permute(1, 2, 0).numpy(), frame)
        frame, *_ = env.step(action.numpy())


def test_clip_has_every_label_in_range(push_clips: list[Clip]) -> None:
    spec = pusht_action_spec()
    assert spec.low == (0.0, 0.0)
    assert spec.high == (ARENA_SIZE, ARENA_SIZE)
    assert len({clip.source for clip in push_clips}) == len(push_clips)
    for clip in push_clips:
        assert clip.actions is not None
        assert clip.states is not None
        assert clip.rewards is not None
        assert clip.frames.shape == (64, 3, 64, 64)
        assert clip.actions.shape == (64, 2)
        assert clip.states.shape == (64, 7)
        assert torch.equal(spec.clamp(clip.actions), clip.actions)
        assert clip.rewards.min() >= 0
        assert clip.rewards.max() <= 1
        assert clip.rate_hz == 10


def assert_same(first: list[Clip], second: list[Clip]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.source == other.source
        for name in ("frames", "actions", "states", "rewards"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_collection_is_reproducible_and_grows_by_appending(push_clips: list[Clip]) -> None:
    assert_same(push_clips[:3], list(collect_pusht(3, num_frames=64, size=64, seed=5, policy="push")))
    (other,) = collect_pusht(1, num_frames=64, size=64, seed=6, policy="push")
    assert not torch.equal(other.frames, push_clips[0].frames)


def test_workers_do_not_change_the_collection() -> None:
    alone, together = (list(collect_pusht(11, num_frames=6, size=32, seed=1, num_workers=workers)) for workers in (1, 2))
    assert_same(alone, together)


def test_abandoned_parallel_collection_ends() -> None:
    clips = collect_pusht(1000, num_frames=4, size=32, seed=1, num_workers=2)
    assert next(clips).source == "pusht/1/0"
    clips.close()  # ty: ignore[missing-attribute]
    assert list(clips) == []


def test_pushes_move_the_block_far_more_often_than_random_actions(push_clips: list[Clip]) -> None:
    env = make_pusht(16)
    generator = np.random.default_rng(0)
    episodes = []
    for episode in range(8):
        _, info = env.reset(seed=episode)
        states = [info["state"]]
        for _ in range(63):
            _, _, _, _, info = env.step(generator.uniform(0, 512, 2).astype(np.float32))
            states.append(info["state"])
        episodes.append(np.stack(states))
    random_share = share_of_frames_with_motion(torch.from_numpy(np.stack(episodes)))
    push_share = share_of_frames_with_motion(torch.stack([clip.states for clip in push_clips if clip.states is not None]))
    assert push_share > 0.3
    assert push_share > 2.5 * random_share


def test_a_prober_crosses_the_table_and_hits_the_block_hard() -> None:
    """What planners propose and pushers never do; and it still pushes in between."""
    speeds, moved = {}, {}
    for policy in ("push", "probe"):
        states = torch.stack(
            [
                clip.states
                for clip in collect_pusht(6, num_frames=40, size=8, seed=3, policy=policy, frame_skip=4)
                if clip.states is not None
            ]
        )
        speeds[policy] = states[..., :2].diff(dim=1).norm(dim=-1).quantile(0.9).item()
        moved[policy] = share_of_frames_with_motion(states)
        assert float(((states[..., 2:4] > -60) & (states[..., 2:4] < ARENA_SIZE + 60)).float().mean()) > 0.97  # not through the wall
    assert speeds["probe"] > 1.5 * speeds["push"]
    assert moved["probe"] > 0.3


def test_a_broad_collection_has_all_policies() -> None:
    """Episodes of the four in their shares; the usual mixture stays as it is, bit for bit."""
    broad = [collect._make_policy("broad", np.random.default_rng([1, index])) for index in range(60)]
    shares = [sum(isinstance(one, kind) for one in broad) / len(broad) for kind in (policies.Prober, policies.Pusher, policies.Wanderer)]
    np.testing.assert_allclose(shares, [0.55, 0.35, 0.1], atol=0.15)
    usual = [collect._make_policy("mixture", np.random.default_rng([1, index])) for index in range(60)]
    assert not any(isinstance(one, policies.Prober) for one in usual)


def test_an_aimer_brings_the_block_where_it_means_to_and_goes_away() -> None:
    """Within seven units by a norm that counts turns; in forty frames about one place."""
    env, reached, asked, away = make_pusht(8, frame_skip=2), 0, 0, 0
    for episode in range(8):
        generator = np.random.default_rng([3, episode])
        _, info = env.reset(seed=episode)
        act, goal = policies.Aimer(generator), None
        for _ in range(40):
            target = act(info["state"])
            x, y, angle = info["state"][2:5]
            pose = policies.Pose(origin=complex(x, y), angle=angle)
            if act._goal is not goal:
                goal, asked = act._goal, asked + 1
            elif goal is not None and act._place is not None:
                away += 1
                reached += int(policies.goal_error(pose, goal) < 10**2)
            _, _, _, _, info = env.step(np.array([target.real, target.imag], dtype=np.float32))
    assert asked >= 12
    assert away > 30
    assert reached > 0.7 * away


def test_a_deft_collection_has_all_policies() -> None:
    """Episodes of the three in their shares."""
    deft = [collect._make_policy("deft", np.random.default_rng([1, index])) for index in range(60)]
    shares = [sum(isinstance(one, kind) for one in deft) / len(deft) for kind in (policies.Aimer, policies.Pusher, policies.Wanderer)]
    np.testing.assert_allclose(shares, [0.45, 0.5, 0.05], atol=0.15)


def test_goal_policy_solves_the_task() -> None:
    best = [
        clip.rewards.max().item() for clip in collect_pusht(4, num_frames=300, size=8, seed=2, policy="goal") if clip.rewards is not None
    ]
    assert np.mean(best) > 0.9


@pytest.mark.parametrize("size", [32, 64, 96])
def test_agent_is_found_where_it_is(size: int) -> None:
    for clip in collect_pusht(4, num_frames=32, size=size, seed=9):
        assert clip.states is not None
        error = (find_agent(float_frames(clip)) - agent_pixel_position(clip.states, size)).norm(dim=-1)
        assert error.max() < 0.3
        assert error.mean() < 0.15


def test_agent_is_found_in_a_blurred_noisy_picture(push_clips: list[Clip]) -> None:
    clip = push_clips[1]
    assert clip.states is not None
    blurred = torch.nn.functional.avg_pool2d(float_frames(clip), 3, stride=1, padding=1, count_include_pad=False)
    noisy = blurred + 0.02 * torch.randn(blurred.shape, generator=torch.Generator().manual_seed(0))
    error = (find_agent(noisy) - agent_pixel_position(clip.states, 64)).norm(dim=-1)
    assert error.max() < 1


@pytest.mark.parametrize("blurred", [False, True])
def test_block_is_found_where_it_is(blurred: bool) -> None:
    for clip in collect_pusht(4, num_frames=32, size=64, seed=9, frame_skip=2):
        assert clip.states is not None
        frames = float_frames(clip)
        if blurred:
            frames = torch.nn.functional.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
        error = (find_block(frames) - block_pixel_pose(clip.states, 64)).abs()
        error[:, 2] = torch.minimum(error[:, 2], 2 * torch.pi - error[:, 2])
        assert error[:, :2].median() < 0.2
        assert error[:, :2].quantile(0.9) < 0.6
        assert torch.rad2deg(error[:, 2]).median() < 2
        assert torch.rad2deg(error[:, 2]).quantile(0.9) < 5


def test_block_is_found_beside_its_ghost() -> None:
    """As predictions show it: faint, with remains where it was a while ago. The colour's moments are 15 degrees off in a quarter."""
    errors = []
    for clip in collect_pusht(4, num_frames=32, size=64, seed=4, frame_skip=4):
        assert clip.states is not None
        frames = float_frames(clip)
        error = (find_block(0.6 * frames[6:] + 0.4 * frames[:-6], threshold=0.2) - block_pixel_pose(clip.states[6:], 64)).abs()
        error[:, 2] = torch.minimum(error[:, 2], 2 * torch.pi - error[:, 2])
        errors.append(error)
    error = torch.cat(errors)
    assert error[:, :2].norm(dim=1).quantile(0.75) < 1
    assert torch.rad2deg(error[:, 2]).quantile(0.75) < 4


def test_no_block_no_pose() -> None:
    assert find_block(torch.ones(2, 5, 3, 64, 64)).isnan().all()
    assert find_block(torch.ones(2, 5, 3, 64, 64)).shape == (2, 5, 3)
    with pytest.raises(ValueError, match=r"3, H, W"):
        find_block(torch.zeros(4, 64, 64))


def test_no_agent_no_position(push_clips: list[Clip]) -> None:
    blue = torch.tensor([65.0, 105.0, 225.0]).reshape(3, 1, 1) / 255
    empty = torch.ones(2, 5, 3, 64, 64)
    assert find_agent(empty).shape == (2, 5, 2)
    assert find_agent(empty).isnan().all()
    frame = float_frames(push_clips[0])[0]
    without = torch.where((frame - blue).abs().amax(0) < 0.45, torch.ones(()), frame)
    assert find_agent(without).isnan().all()
    empty[1, 3, :, 20:24, 40:44] = blue
    torch.testing.assert_close(find_agent(empty)[1, 3], torch.tensor([41.5, 21.5]))


@pytest.mark.parametrize(
    "arguments",
    [{"policy": "teleport"}, {"num_frames": 1}, {"num_workers": 0}, {"size": 0}, {"frame_skip": 0}, {"seed": -1}, {"acts_per_frame": 2}],
)
def test_bad_arguments_are_refused_at_the_call(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        collect_pusht(1, **({"num_frames": 4, "seed": 0} | arguments))  # ty: ignore[invalid-argument-type]


def test_bad_actions_states_and_frames_are_refused() -> None:
    env = make_pusht(16)
    with pytest.raises(ValueError, match="5 or 7 components"):
        env.reset(options={"state": [1.0, 2.0]})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite target"):
        env.step(np.array([np.nan, 3.0]))
    with pytest.raises(ValueError, match=r"3, H, W"):
        find_agent(torch.zeros(4, 64, 64))


def test_missing_simulator_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht.envs.pusht", None)
    with pytest.raises(ImportError, match=r'pip install "worldline\[pusht\]"'):
        collect_pusht(1, num_frames=4, seed=0)
