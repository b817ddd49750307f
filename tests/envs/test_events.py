"""Event labels against the state that they should follow from, and what the interesting policies reach. One test per domain."""

import numpy as np
import pytest
import torch

from worldline.envs.record import record
from worldline.envs.simulator import Simulator
from worldline.envs.zoo import start_domain
from worldline.interfaces import Clip


def film(name: str, *, num_frames: int, num_episodes: int = 1, policy: str | None = None) -> tuple[Simulator, list[Clip]]:
    try:
        simulator = start_domain(name)
    except ImportError as error:
        pytest.skip(str(error))
    films = (record(simulator, seed=seed, num_frames=num_frames, policy=policy, sizes=(16,))[0] for seed in range(num_episodes))
    return simulator, list(films)


def columns(clip: Clip, simulator: Simulator, *names: str) -> torch.Tensor:
    """(T, len(names)): some components of the state."""
    assert clip.states is not None
    return clip.states[:, [simulator.state_names.index(name) for name in names]]


def check_level(clip: Clip, event: str, holds: torch.Tensor) -> None:
    """An event that holds as long as its condition does; the first frame has none."""
    assert torch.equal(clip.labels[f"event.{event}"][1:], holds[1:])


def test_push() -> None:
    pytest.importorskip("gym_pusht", reason="push needs the extra pusht")
    from worldline.envs.push import clearance

    simulator, clips = film("push", num_frames=48, num_episodes=3)
    distances: dict[bool, list[float]] = {False: [], True: []}
    for clip in clips:
        assert clip.states is not None
        check_level(clip, "goal_half_covered", columns(clip, simulator, "coverage")[:, 0] > 0.5)
        check_level(clip, "goal_reached", columns(clip, simulator, "coverage")[:, 0] > 0.95)
        for state, touches in zip(clip.states[1:], clip.labels["event.contact"][1:]):
            distances[bool(touches)].append(clearance(state.numpy()))
    # The disc has a radius of 15; a touch is a small overlap.
    assert max(distances[True]) < 15.5
    assert min(distances[False]) > 14.5


def test_two_room() -> None:
    simulator, clips = film("two_room", num_frames=64, num_episodes=2)
    for clip in clips:
        agent, target = columns(clip, simulator, "agent_x", "agent_y"), columns(clip, simulator, "target_x", "target_y")
        check_level(clip, "goal_reached", (agent - target).norm(dim=1) < 16)
        across = agent[:, 0 if clip.facts["attribute.wall"] == "vertical" else 1] > 112
        check_level(clip, "door_passed", torch.cat([torch.tensor([False]), across[1:] != across[:-1]]))
        assert clip.labels["event.goal_reached"].any(), "the expert gets there"


def test_the_broad_policy_of_two_room_leans_on_walls() -> None:
    _, usual = film("two_room", num_frames=64, num_episodes=8, policy="expert")
    _, broad = film("two_room", num_frames=64, num_episodes=8, policy="broad")
    shares = [float(torch.cat([clip.labels["event.wall_contact"] for clip in clips]).float().mean()) for clips in (usual, broad)]
    assert shares[1] > 2 * shares[0]


def test_two_room_has_as_many_doors_as_it_says() -> None:
    simulator, clips = film("two_room", num_frames=2, num_episodes=20)
    for clip in clips:
        doors = columns(clip, simulator, *(f"door_{index}_position" for index in range(3)))[0].sort().values
        assert doors.diff().min() > 40, "doors that overlap are one"


def test_balls() -> None:
    simulator, clips = film("balls", num_frames=64, num_episodes=24)
    motions = {clip.facts["attribute.motion"] for clip in clips}
    assert motions == {"uniform", "collision", "parabola"}
    for clip in clips:
        x, y, vx, vy, radius = columns(clip, simulator, *(f"first_{name}" for name in ("x", "y", "velocity_x", "velocity_y", "radius"))).T
        collides, bounces = clip.labels["event.collision"], clip.labels["event.bounce"]
        if clip.facts["attribute.motion"] == "uniform":
            torch.testing.assert_close(x, x[0] + vx[0] * torch.arange(64) / 20, rtol=1e-4, atol=1e-4)
            assert not (collides | bounces).any()
        turned = torch.cat([torch.tensor([False]), vx[1:] != vx[:-1]])
        if clip.facts["attribute.motion"] == "collision":
            assert torch.equal(turned, collides)
            other_x, other_vx, other_radius = columns(clip, simulator, "second_x", "second_velocity_x", "second_radius").T
            momentum = radius**2 * vx + other_radius**2 * other_vx
            torch.testing.assert_close(momentum, momentum[:1].expand(64), rtol=1e-4, atol=1e-4)
            assert ((other_x - x) > radius + other_radius - 0.02).all()
        if clip.facts["attribute.motion"] == "parabola":
            rises = torch.cat([torch.tensor([False]), vy[1:] > vy[:-1]])
            assert torch.equal(rises, bounces)
            assert (y > 1 + radius - 0.05).all()


def test_reacher() -> None:
    simulator, clips = film("reacher", num_frames=40, num_episodes=2)
    for clip in clips:
        finger, target = columns(clip, simulator, "finger_x", "finger_y"), columns(clip, simulator, "target_x", "target_y")
        inside = (finger - target).norm(dim=1) < float(clip.facts["attribute.target_radius_m"]) + 0.01
        reached = clip.labels["event.goal_reached"]
        assert (reached[1:] >= inside[1:]).all(), "at the end of a frame or on the way there"
        assert reached.any()
        shoulder, wrist = columns(clip, simulator, "shoulder_angle", "wrist_angle").T
        elbow = 0.12 * torch.stack([shoulder.cos(), shoulder.sin()], 1)
        hand = elbow + 0.12 * torch.stack([(shoulder + wrist).cos(), (shoulder + wrist).sin()], 1)
        torch.testing.assert_close(hand, finger, rtol=0, atol=2e-3)


def test_ball_in_cup() -> None:
    simulator, (clip,) = film("ball_in_cup", num_frames=48)
    cup, ball = columns(clip, simulator, "cup_x", "cup_z"), columns(clip, simulator, "ball_x", "ball_z")
    inside = ((ball - cup - torch.tensor([0.0, -0.05])).abs() < 0.025).all(1)
    assert (clip.labels["event.caught"][1:] >= inside[1:]).all()
    assert clip.labels["event.caught"].any(), "the planner catches"
    taut = columns(clip, simulator, "string_length")[:, 0] >= 0.3
    assert (clip.labels["event.string_taut"][1:] >= taut[1:]).all()


def test_cube() -> None:
    simulator, (clip,) = film("cube", num_frames=40)
    cube, goal = columns(clip, simulator, "cube_x", "cube_y", "cube_z"), columns(clip, simulator, "goal_x", "goal_y", "goal_z")
    check_level(clip, "lifted", cube[:, 2] > 0.06)
    check_level(clip, "goal_reached", (cube - goal).norm(dim=1) <= 0.04)
    assert clip.labels["event.contact"].any(), "the oracle reaches the cube"
    assert (cube.abs() < 1).all()


def test_fetch_push() -> None:
    simulator, clips = film("fetch_push", num_frames=40, num_episodes=2)
    for clip in clips:
        block, goal = columns(clip, simulator, "block_x", "block_y", "block_z"), columns(clip, simulator, "goal_x", "goal_y", "goal_z")
        check_level(clip, "goal_reached", (block - goal).norm(dim=1) < 0.05)
        moved = torch.cat([torch.tensor([0.0]), (block[1:, :2] - block[:-1, :2]).norm(dim=1)])
        assert clip.labels["event.contact"].any()
        assert not (moved > 0.01)[: int(clip.labels["event.contact"].int().argmax())].any(), "nothing moves it before it is touched"


def test_pong() -> None:
    simulator, clips = film("pong", num_frames=64, num_episodes=3)
    for clip in clips:
        player, enemy = columns(clip, simulator, "player_score", "enemy_score").T
        for event, score in (("player_scored", player), ("enemy_scored", enemy)):
            check_level(clip, event, torch.cat([torch.tensor([False]), score[1:] > score[:-1]]))
        x = columns(clip, simulator, "ball_x")[:, 0]
        for event, near in (("player_hit", x > 128), ("enemy_hit", x < 128)):
            assert near[clip.labels[f"event.{event}"]].all(), event
    assert any(clip.labels["event.player_hit"].any() for clip in clips), "the paddle follows the ball"


def test_crafter() -> None:
    simulator, clips = film("crafter", num_frames=40, num_episodes=2)
    for clip in clips:
        place, health = columns(clip, simulator, "x", "y"), columns(clip, simulator, "health")[:, 0]
        check_level(clip, "moved", torch.cat([torch.tensor([False]), (place[1:] != place[:-1]).any(1)]))
        check_level(clip, "hurt", torch.cat([torch.tensor([False]), health[1:] < health[:-1]]))
        stock = columns(clip, simulator, "sapling", "wood", "stone", "coal", "iron", "diamond")
        gained = torch.cat([torch.tensor([False]), (stock[1:] > stock[:-1]).any(1)])
        check_level(clip, "collected", gained)
    assert any(clip.labels["event.collected"].any() for clip in clips)


def test_the_interesting_policy_sees_more_than_the_random_one() -> None:
    simulator, clips = film("two_room", num_frames=64, num_episodes=4)
    _, others = film("two_room", num_frames=64, num_episodes=4, policy="random")
    passed = [np.mean([clip.labels["event.door_passed"].any().item() for clip in some]) for some in (clips, others)]
    assert passed[0] > passed[1]
    assert simulator.policy_names[0] == "expert"
