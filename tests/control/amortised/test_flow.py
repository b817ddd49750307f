"""A flow policy draws what was done on the way to a goal, in all the ways that it was done; and a search may start there."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from worldline.control import CEM, CEMConfig
from worldline.control.amortised import (
    FlowPlanner,
    FlowPolicy,
    FlowPolicyConfig,
    fit_flow_policy,
    load_flow_policy,
    resume,
    save_flow_policy,
)
from worldline.interfaces import ActionSpec, Planner, State
from worldline.testing import LinearQuadraticWorld

SPEC = ActionSpec(low=(-1.0, 0.0), high=(1.0, 4.0))
WORLD = LinearQuadraticWorld()
BOUNDS = WORLD.action_spec or SPEC
SMALL: dict[str, Any] = {"width": 32, "num_layers": 1, "flow_width": 128, "num_draws": 4}


def detours(count: int = 200) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """A point that goes (by a half) where the action says: up or down first, and back, while it goes on to the right."""
    latents, actions = [], []
    for index in range(count):
        side = 0.8 if index % 2 else -0.8
        done = torch.tensor([[0.4, side], [0.4, -side]]) + 0.05 * torch.randn(2, 2)
        places = torch.cat([torch.zeros(1, 2), 0.5 * done.cumsum(0)]) + torch.randn(2)
        latents.append(places[:, None])
        actions.append(SPEC.denormalize(done))
    return latents, actions


def small(horizon: int = 2, num_updates: int = 5) -> FlowPolicyConfig:
    return FlowPolicyConfig(horizon=horizon, num_updates=num_updates, learning_rate=3e-3, **SMALL)


@pytest.fixture(scope="module")
def policy() -> FlowPolicy:
    torch.manual_seed(0)
    return fit_flow_policy(*detours(), SPEC, small(num_updates=1000), seed=1)


def test_both_ways_around_are_drawn_and_none_through_the_middle(policy: FlowPolicy) -> None:
    here = torch.randn(200, 1, 2, generator=torch.Generator().manual_seed(2))
    goals = here + torch.tensor([0.4, 0.0])
    chunks = SPEC.normalize(policy.draw(here, goals, torch.full((200,), 2.0), generator=torch.Generator().manual_seed(3)))
    sides = chunks[:, 0, 1]
    assert 0.3 < (sides > 0).float().mean() < 0.7
    assert (sides.abs() > 0.5).float().mean() > 0.9
    assert (0.5 * chunks.sum(1) - torch.tensor([0.4, 0.0])).norm(dim=1).median() < 0.12


def test_a_goal_one_frame_away_is_reached_by_the_first_action(policy: FlowPolicy) -> None:
    here = torch.randn(100, 1, 2, generator=torch.Generator().manual_seed(2))
    goals = here + torch.tensor([0.2, 0.4])
    chunks = SPEC.normalize(policy.draw(here, goals, torch.ones(100), generator=torch.Generator().manual_seed(3)))
    assert (0.5 * chunks[:, 0] - torch.tensor([0.2, 0.4])).norm(dim=1).median() < 0.12


def test_the_same_seed_trains_the_same_policy_and_leaves_the_generator_alone() -> None:
    latents, actions = detours(6)
    before = torch.random.get_rng_state()
    told: list[int] = []
    one = fit_flow_policy(latents, actions, SPEC, small(), seed=3, progress=lambda done, loss: told.append(done))
    two = fit_flow_policy(latents, actions, SPEC, small(), seed=3)
    assert told == [1, 2, 3, 4, 5]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


class _StoppedError(Exception):
    pass


def _stop_after(updates: int) -> Callable[[int, float], None]:
    def progress(done: int, loss: float) -> None:
        if done == updates:
            raise _StoppedError

    return progress


def test_a_fit_that_was_broken_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_EVERY", 2)
    latents, actions = detours(6)
    path, told = tmp_path / "fit", []
    whole = fit_flow_policy(latents, actions, SPEC, small(), seed=3)
    with pytest.raises(_StoppedError):
        fit_flow_policy(latents, actions, SPEC, small(), seed=3, checkpoint=path, progress=_stop_after(3))
    again = fit_flow_policy(latents, actions, SPEC, small(), seed=3, checkpoint=path, progress=lambda done, loss: told.append(done))
    assert told == [3, 4, 5]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_EVERY", 2)
    latents, actions = detours(6)
    path = tmp_path / "fit"
    fit_flow_policy(latents, actions, SPEC, small(), seed=3, checkpoint=path)
    others = [one + 1 for one in latents]
    for spoil, shown, seed in (
        (lambda: None, latents, 4),
        (lambda: None, others, 4),
        (lambda: path.write_bytes(path.read_bytes()[:-50]), others, 4),
    ):
        spoil()
        told: list[int] = []
        tell = partial(lambda told, done, loss: told.append(done), told)
        fit_flow_policy(shown, actions, SPEC, small(), seed=seed, checkpoint=path, progress=tell)
        assert told == [1, 2, 3, 4, 5]


def test_it_comes_back_bit_for_bit(policy: FlowPolicy, tmp_path: Path) -> None:
    again = load_flow_policy(save_flow_policy(policy, tmp_path / "policies" / "flow.safetensors"))
    here, goals, steps = torch.randn(5, 1, 2), torch.randn(5, 1, 2), torch.tensor([1.0, 2, 1, 2, 2])
    drawn = [one.draw(here, goals, steps, generator=torch.Generator().manual_seed(4)) for one in (policy, again)]
    assert torch.equal(*drawn)
    assert (again.config, again.action_spec) == (policy.config, SPEC)
    (tmp_path / "cut").write_bytes((tmp_path / "policies" / "flow.safetensors").read_bytes()[:-40])
    with pytest.raises(ValueError, match="no flow policy"):
        load_flow_policy(tmp_path / "cut")
    with pytest.raises(FileNotFoundError, match="no flow policy"):
        load_flow_policy(tmp_path / "nothing")


def test_the_best_of_what_is_drawn_is_taken_and_a_search_goes_on_from_it() -> None:
    world, start = WORLD, torch.tensor([[0.4, -0.2, 0.1, 0.3]], dtype=torch.float64)
    latents = [torch.randn(7, *world.state(start).latent.shape[1:]) for _ in range(4)]
    actions = [0.3 * torch.randn(6, BOUNDS.dim) for _ in range(4)]
    policy = fit_flow_policy(latents, actions, BOUNDS, small(horizon=6))
    goal, objective, state = torch.zeros(latents[0].shape[1:]), world.objective(), world.state(start)
    planner = FlowPlanner(world, objective, policy, goal, num_chunks=16, batch_size=5)
    assert isinstance(planner, Planner)
    plan = planner.plan(state, seed=0)
    assert (plan.num_evaluations, plan.num_frame_evaluations) == (16, 96)
    assert plan.score == pytest.approx(float(objective(world.rollout(state, plan.actions[None], seed=0))))
    fewer = FlowPlanner(world, objective, policy, goal, num_chunks=4).plan(state, seed=0)
    assert plan.score >= fewer.score
    optimal = world.optimal_actions(start, horizon=6)[0]
    assert planner.plan(state, seed=0, initial=optimal).score == pytest.approx(-world.optimal_cost(start, horizon=6).item())
    alone = FlowPlanner(world, objective, policy, goal, num_chunks=1).plan(state, seed=0, initial=optimal)
    assert not torch.allclose(alone.actions, optimal)
    with pytest.raises(ValueError, match=r"\(6, 2\)"):
        planner.plan(state, seed=0, initial=optimal[1:])
    close = CEM(world, objective, CEMConfig(horizon=6, num_candidates=32, num_elites=6, num_iterations=4, initial_std=0.2))
    searched = FlowPlanner(world, objective, policy, goal, num_chunks=16, search=close).plan(state, seed=0)
    assert searched.score > plan.score
    assert searched.num_frame_evaluations == 96 + 32 * 4 * 6


def test_several_rows_get_the_plans_that_each_would_get_alone() -> None:
    world, starts = WORLD, torch.tensor([[0.4, -0.2, 0.1, 0.3], [-0.3, 0.2, 0.0, 0.1]], dtype=torch.float64)
    shape = world.state(starts).latent.shape[1:]
    policy = fit_flow_policy([torch.randn(7, *shape)] * 3, [0.3 * torch.randn(6, BOUNDS.dim)] * 3, BOUNDS, small(horizon=6))
    close = CEM(world, world.objective(), CEMConfig(horizon=6, num_candidates=32, num_elites=6, num_iterations=4, initial_std=0.2))
    for goal in (torch.zeros(shape), torch.stack([torch.zeros(shape), torch.ones(shape)])):
        together = FlowPlanner(world, world.objective(), policy, goal, num_chunks=8, search=close)
        plans = together.plan_many(world.state(starts), seed=2, initial=torch.zeros(2, 6, 2, dtype=torch.float64))
        for row, plan in enumerate(plans):
            own = goal if goal.ndim == 2 else goal[row]
            planner = FlowPlanner(world, world.objective(), policy, own, num_chunks=8, search=close)
            alone = planner.plan(world.state(starts[row : row + 1]), seed=2, initial=torch.zeros(6, 2, dtype=torch.float64))
            torch.testing.assert_close(plan.actions, alone.actions)
            assert plan.score == pytest.approx(alone.score)
    with pytest.raises(ValueError, match="plan_many"):
        together.plan(world.state(starts), seed=2)
    with pytest.raises(ValueError, match="2 goals"):
        together.plan_many(world.state(starts[:1]), seed=2)


def test_nothing_finite_gives_a_bounded_plan_and_says_so() -> None:
    world = WORLD
    shape = world.state(torch.zeros(1, 4, dtype=torch.float64)).latent.shape[1:]
    policy = fit_flow_policy([torch.randn(7, *shape)] * 3, [torch.randn(6, BOUNDS.dim)] * 3, BOUNDS, small(horizon=6))
    lost = State(latent=torch.full((1, *shape), torch.nan, dtype=torch.float64), position=0)
    plan = FlowPlanner(world, world.objective(), policy, torch.zeros(shape), num_chunks=4).plan(lost, seed=0)
    assert plan.status == "not finite"
    assert torch.equal(BOUNDS.clamp(plan.actions), plan.actions)
    assert plan.actions.isfinite().all()


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"horizon": 2, "flow_steps": 0}, {"horizon": 2, "learning_rate": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        FlowPolicyConfig(**wrong)
