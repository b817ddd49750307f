import dataclasses
from pathlib import Path

import av
import pytest
import torch

from worldline.control import CEMConfig, MPPIConfig, RandomShootingConfig
from worldline.data import VideoError, to_float, to_uint8, write_video
from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.envs.pusht import find_agent, make_pusht, pusht_action_spec
from worldline.recipes.planning import plan_pusht_episode, read_goal
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

PLANNER = CEMConfig(horizon=3, num_candidates=8, num_iterations=2, num_elites=3)


@pytest.fixture(scope="module")
def world() -> World:
    """Random weights: it knows nothing, but acts."""
    torch.manual_seed(0)
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=64, grid=4, latent_dim=4, width=32, num_layers=1, head_dim=16, window=2),
        dynamics=DynamicsConfig(num_tokens=16, latent_dim=4, action_dim=2, width=32, num_layers=2, head_dim=16, context_frames=8),
        sampler=SamplerConfig(num_steps=1),
        rate_hz=5.0,
        action_spec=pusht_action_spec(),
    )
    return World(config)


def test_an_episode_is_what_really_happened(world: World) -> None:
    episode = plan_pusht_episode(world, seed=4, max_steps=7, planner=PLANNER)
    env = make_pusht(64, frame_skip=2)
    frame, _ = env.reset(seed=4)
    frames = [frame, *(env.step(action.numpy())[0] for action in episode.actions)]
    replayed = torch.stack([to_float(torch.from_numpy(frame)) for frame in frames]).permute(0, 3, 1, 2)
    assert torch.equal(episode.frames, replayed)
    assert episode.rate_hz == 5
    assert (episode.num_plans, episode.num_evaluations) == (2, 2 * 16)
    assert episode.statuses == {"ok": 2}
    torch.testing.assert_close(episode.actions[:3], episode.actions[:1].expand(3, 2))  # holds still while it looks


def test_plans_that_did_not_end_well_are_counted(world: World) -> None:
    broken = World(world.config)
    with torch.no_grad():
        broken.dynamics.latent_out.weight.fill_(torch.nan)
    episode = plan_pusht_episode(broken, seed=4, max_steps=7, planner=PLANNER)
    assert episode.statuses == {"not finite": 2}
    assert episode.actions.isfinite().all()


def test_what_was_imagined_lies_beside_what_happened(world: World) -> None:
    episode = plan_pusht_episode(world, seed=4, max_steps=7, planner=PLANNER)
    assert episode.imagined.shape == episode.frames.shape
    assert torch.equal(episode.imagined[:4], episode.frames[:4])  # nothing was planned before frame 3
    assert all(not torch.equal(imagined, real) for imagined, real in zip(episode.imagined[4:], episode.frames[4:], strict=True))


def test_the_distances_are_those_in_the_pictures(world: World) -> None:
    episode = plan_pusht_episode(world, seed=4, max_steps=7, planner=PLANNER)
    goal = find_agent(episode.goal)
    for frame, distance in ((episode.frames[0], episode.start), (episode.frames[-1], episode.end)):
        assert distance.agent_px == pytest.approx(float((find_agent(frame) - goal).norm()), abs=0.7)
    assert episode.start.agent_px > 0.28 * 64
    assert episode.start.block_px == pytest.approx(0, abs=0.2)
    assert episode.start.block_degrees == pytest.approx(0, abs=1)


def test_a_seed_repeats_the_episode(world: World) -> None:
    first, again = (plan_pusht_episode(world, seed=1, max_steps=5, planner=PLANNER) for _ in range(2))
    assert torch.equal(first.actions, again.actions)
    assert first.to_dict() == again.to_dict()
    assert not torch.equal(first.frames[0], plan_pusht_episode(world, seed=2, max_steps=5, planner=PLANNER).frames[0])


@pytest.mark.parametrize(
    "planner", [MPPIConfig(horizon=3, num_candidates=8, num_iterations=1), RandomShootingConfig(horizon=3, num_candidates=8)]
)
def test_other_planners_act(planner: MPPIConfig | RandomShootingConfig, world: World) -> None:
    assert len(plan_pusht_episode(world, max_steps=5, planner=planner).actions) == 5


def test_a_goal_picture_says_where_the_agent_should_be(world: World) -> None:
    env = make_pusht(128)
    picture, _ = env.reset(seed=9)
    goal = to_float(torch.from_numpy(picture)).permute(2, 0, 1)
    episode = plan_pusht_episode(world, seed=9, max_steps=5, planner=PLANNER, goal=goal)
    assert episode.goal.shape == (3, 64, 64)
    assert episode.start.agent_px == pytest.approx(0, abs=0.7)  # the goal is where it starts
    assert episode.start.block_px is None
    assert episode.random_end.block_degrees is None


def test_a_goal_is_read_from_a_picture_or_the_end_of_a_video(tmp_path: Path) -> None:
    frames = torch.rand(3, 3, 1, 1).expand(3, 3, 32, 32)
    write_video(tmp_path / "goal.mp4", frames, 10.0)
    assert (read_goal(tmp_path / "goal.mp4", size=16) - frames[-1, :, :16, :16]).abs().max() < 0.03
    with av.open(tmp_path / "goal.png", "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
        picture = to_uint8(frames[0]).permute(1, 2, 0).contiguous().numpy()
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert (read_goal(tmp_path / "goal.png", size=16) - frames[0, :, :16, :16]).abs().max() < 0.01


@pytest.mark.parametrize("name", ["goal.png", "goal.jpg", "goal.mp4"])
@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\nno more", b"#EXTM3U\nhttp://example.org/a.ts"])
def test_a_damaged_goal_is_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=name):
        read_goal(path, size=16)


def test_what_cannot_plan_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="no agent"):
        plan_pusht_episode(world, goal=torch.ones(3, 64, 64))
    with pytest.raises(ValueError, match="at least as many steps"):
        plan_pusht_episode(world, max_steps=3)
    for config, said in (({"rate_hz": 3.0}, "3 Hz"), ({"rate_hz": None}, "cannot act"), ({"action_spec": None}, "cannot act")):
        other = World(dataclasses.replace(world.config, **config), world.tokenizer, world.dynamics)
        with pytest.raises(ValueError, match=said):
            plan_pusht_episode(other)


def test_targets_side_by_side_are_done_one_after_the_other() -> None:
    spec = pusht_action_spec()
    torch.manual_seed(0)
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=64, grid=4, latent_dim=4, width=32, num_layers=1, head_dim=16, window=2),
        dynamics=DynamicsConfig(num_tokens=16, latent_dim=4, action_dim=4, width=32, num_layers=2, head_dim=16, context_frames=8),
        sampler=SamplerConfig(num_steps=1),
        rate_hz=2.5,
        action_spec=dataclasses.replace(spec, low=spec.low * 2, high=spec.high * 2, names=()),
    )
    episode = plan_pusht_episode(World(config), seed=4, max_steps=5, planner=PLANNER)
    assert episode.actions.shape == (5, 4)
    assert episode.rate_hz == 2.5
    env = make_pusht(64, frame_skip=2)
    env.reset(seed=4)
    frames = [[env.step(target)[0] for target in action.numpy().reshape(2, 2)][-1] for action in episode.actions]
    replayed = torch.stack([to_float(torch.from_numpy(frame)) for frame in frames]).permute(0, 3, 1, 2)
    assert torch.equal(episode.frames[1:], replayed)
    odd = World(dataclasses.replace(config, rate_hz=10.0))
    with pytest.raises(ValueError, match="2 targets do not fit evenly into the 1 steps"):
        plan_pusht_episode(odd, planner=PLANNER)
