"""SoftTree shares what paths have in common, trusts no refinement that does not last, and hands on what heads can learn."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from worldline.control import SoftTree, SoftTreeConfig
from worldline.testing import LinearQuadraticWorld, PointMassWorld

START = torch.tensor([[0.4, -0.2, 0.3, 0.5]], dtype=torch.float64)
SMALL = SoftTreeConfig(horizon=6, chunk=2, num_roots=8, width=4, branching=2, num_rounds=3, refine_steps=3, refine_leaves=2)
SAMPLES = SoftTreeConfig(horizon=6, chunk=2, num_roots=16, width=4, branching=2, num_rounds=4, refine_steps=0)


class CountingWorld(LinearQuadraticWorld):
    """Counts the frames that it imagines, three times where a gradient is recorded."""

    num_frames = 0

    def rollout(self, state, actions, **options):
        rollout = super().rollout(state, actions, **options)
        self.num_frames += math.prod(rollout.latents.shape[:3]) * (3 if rollout.latents.requires_grad else 1)
        return rollout


class ForgetfulWorld(CountingWorld):
    """Cannot select rows of a state."""

    select = None


@pytest.mark.parametrize("config", [SMALL, SAMPLES])
@pytest.mark.parametrize("world", [CountingWorld(), ForgetfulWorld()])
def test_reports_what_it_imagines(world, config):
    world.num_frames = 0
    planner = SoftTree(world, world.objective(), config)
    plan = planner.plan(world.state(START), seed=0)
    assert plan.num_frame_evaluations == world.num_frames <= planner.num_frame_evaluations


def test_sharing_changes_the_price_and_not_the_plan():
    plans = []
    for world in (CountingWorld(noise_scale=0.1), ForgetfulWorld(noise_scale=0.1)):
        plans.append(SoftTree(world, world.objective(), SAMPLES).plan(world.state(START), seed=0))
    torch.testing.assert_close(plans[0].actions, plans[1].actions)
    assert plans[0].score == pytest.approx(plans[1].score)
    assert plans[0].num_frame_evaluations < plans[1].num_frame_evaluations


def test_several_futures_of_a_node_stay_apart():
    """With M samples each node has M futures, and a path's score is their mean, as in a rollout with the same noise."""
    world = LinearQuadraticWorld(noise_scale=0.5)
    config = SoftTreeConfig(horizon=6, chunk=2, num_roots=6, width=3, branching=2, num_rounds=3, refine_steps=0, num_samples=4)
    _, tree = SoftTree(world, world.objective(), config).grow(world.state(START), seed=0)
    assert tree is not None
    assert tree.levels[2].latents.shape[0] == 4
    spread = tree.levels[2].latents[:, 0, -1].std(0)
    assert (spread > 0.1).all()
    # Noise is additive, so plans differ by the same in every future.
    offsets = tree.levels[0].latents[:, :, 0] - tree.levels[0].latents[:, :1, 0]
    torch.testing.assert_close(offsets, offsets[:1].expand_as(offsets))


def test_a_refinement_that_does_not_last_is_not_taken():
    """The search believes in actions that in truth do the opposite."""
    truth = LinearQuadraticWorld()
    believed = LinearQuadraticWorld(control=-truth.control)
    start = truth.state(START)
    optimal = truth.optimal_actions(START, 6)[0]
    config = SoftTreeConfig(horizon=6, chunk=2, num_roots=1, num_rounds=1, refine_steps=40)
    fooled = SoftTree(believed, truth.objective(), config).plan(start, seed=0, initial=optimal)
    careful = SoftTree(believed, truth.objective(), config, verify_world=truth).plan(start, seed=0, initial=optimal)
    score = truth.objective()(truth.rollout(start, torch.stack([optimal, fooled.actions])))
    assert score[1] < 2 * score[0] < 0
    torch.testing.assert_close(careful.actions, optimal)
    assert careful.score == pytest.approx(score[0].item())


def test_a_value_of_the_end_stands_for_the_rest():
    """Four frames and the closed form's value of where they end are as good as eight."""
    world = LinearQuadraticWorld()

    def value(rollout):
        end = rollout.latents[0, :, -1].flatten(1)
        return -torch.einsum("bi,ij,bj->b", end, world._riccati(4)[1], end)

    config = SoftTreeConfig(horizon=4, chunk=2)
    plan, tree = SoftTree(world, world.objective(), config, value=value).grow(world.state(START), seed=0)
    assert -plan.score == pytest.approx(world.optimal_cost(START, 8).item(), rel=0.01)
    torch.testing.assert_close(plan.actions[0], world.optimal_actions(START, 8)[0, 0], rtol=0, atol=0.1)
    assert tree is not None
    targets = tree.targets()
    assert targets.weights.sum().item() == pytest.approx(1)
    assert targets.actions.shape == (len(targets.weights), 2, 2)
    assert targets.value <= -world.optimal_cost(START, 8).item()
    assert tree.scores.min() <= targets.value <= tree.scores.max()
    assert replace(tree, temperature=1e-9).value().item() == pytest.approx(plan.score, rel=0.01)


def test_a_world_without_gradients_is_searched_by_samples():
    class Opaque(LinearQuadraticWorld):
        def rollout(self, state, actions, **options):
            return super().rollout(state, actions.detach(), **options)

    world = Opaque()
    plan = SoftTree(world, world.objective(), SMALL).plan(world.state(START), seed=0)
    assert plan.status == "no gradient"
    assert "samples alone" in plan.message
    still = world.objective()(world.rollout(world.state(START), torch.zeros(1, 6, 2, dtype=torch.float64)))
    assert plan.score > still.item()


def test_the_picture_shows_frames_and_lines(tmp_path):
    world = PointMassWorld()
    _, tree = SoftTree(world, world.objective(), SMALL).grow(world.state(START), seed=0)
    assert tree is not None
    path = tree.plot(tmp_path / "tree.svg", world, max_leaves=3)
    root = ElementTree.parse(path).getroot()
    images = root.findall("{http://www.w3.org/2000/svg}image")
    shown = tree.scores.argsort(descending=True)[:3]
    assert len(images) == sum(len(index[shown].unique()) for index in tree.paths())
    assert len(root.findall("{http://www.w3.org/2000/svg}path")) == len(images)
    assert "<svg" in tree.plot(tmp_path / "tree.html", world).read_text()
    with pytest.raises(ValueError, match=r"got tree\.png"):
        tree.plot(tmp_path / "tree.png", world)
    with pytest.raises(ValueError, match="at least one"):
        tree.plot(tmp_path / "tree.svg", world, max_leaves=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="chunk is 5 of 12"):
        SoftTreeConfig(chunk=5)
    with pytest.raises(ValueError, match=r"clip is 0\.5"):
        SoftTreeConfig(clip=0.5)
    with pytest.raises(ValueError, match='choose "path" or "chunk"'):
        SoftTreeConfig(gradient="lifted")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="temperature is 0"):
        SoftTreeConfig(temperature=0.0)
