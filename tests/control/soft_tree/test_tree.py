"""The tree's values and gradients are those of the closed form, of finite differences, and of MPPI and gradient ascent at its limits."""

import math
from dataclasses import replace

import pytest
import torch

from worldline.control import MPPI, GradientConfig, GradientPlanner, MPPIConfig, SoftTree, SoftTreeConfig
from worldline.control.candidates import Scorer
from worldline.control.gradient import Moments
from worldline.control.noise import CorrelatedNoise
from worldline.control.search import Search
from worldline.control.soft_tree.growth import Growth
from worldline.control.soft_tree.selection import best_below, chosen_nodes
from worldline.control.soft_tree.tree import Level, Tree
from worldline.testing import LinearQuadraticWorld, PointMassWorld

WORLD = LinearQuadraticWorld(action_limit=4.0)
START = torch.tensor([[0.4, -0.2, 0.3, 0.5]], dtype=torch.float64)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def growth_of(world: LinearQuadraticWorld, start: torch.Tensor, horizon: int, *, chunk: int = 1, cut: bool = False) -> Growth:
    """Rolls trees out without noise and with an endless budget."""
    state = world.state(start)
    search = Search(
        Scorer(world=world, objective=world.objective(), state=state, seed=0),
        SoftTreeConfig(horizon=horizon, chunk=chunk),
        noise=CorrelatedNoise(),
        generator=torch.Generator(),
        seeds=start.new_zeros(1, 1, horizon, world.control.shape[1]),
        num_given=0,
        budget=math.inf,
    )
    return Growth(search, chunk, start.new_zeros(1, 1, horizon, *world.noise_shape), cut=cut)


def level(parent: torch.Tensor, actions: torch.Tensor, std: float, frames: int = 1) -> Level:
    nothing = torch.full_like(parent, -1)
    return Level(
        parent=parent,
        actions=actions,
        mean=actions,
        std=torch.full_like(actions, std),
        moments=Moments.none(actions),
        latents=actions.new_zeros(1, len(actions), frames, 1, 1),
        store=nothing,
        row=nothing,
    )


def random_tree(branching: tuple[int, ...] = (3, 2, 2), chunk: int = 2, *, clip: float | None = 1.0) -> Tree:
    """A full tree of random actions well inside the bounds."""
    levels, count = [], 1
    for depth, width in enumerate(branching):
        parent = torch.arange(count).repeat_interleave(width)
        count *= width
        levels.append(level(parent, 0.2 * draw(count, chunk, 2, seed=depth), 0.1, chunk))
    return Tree(levels=tuple(levels), scores=torch.zeros(count, dtype=torch.float64), temperature=0.7, clip=clip)


def test_soft_value_and_its_gradient_are_those_of_the_soft_lqr():
    """A grid of proposals that overlap is a trapezoid rule, so that the tree's own importance weights make it an exact integral."""
    dynamics, control = torch.tensor([[1.0, 0.3], [-0.1, 1.0]]), torch.tensor([[0.1], [0.5]])
    world = LinearQuadraticWorld(dynamics, control, action_limit=20.0)
    std, temperature, points = 0.05, 1.5, 41
    grid = torch.linspace(-8, 8, points, dtype=torch.float64) * std
    spacing = float(grid[1] - grid[0])
    first = level(torch.zeros(points, dtype=torch.long), grid.view(-1, 1, 1), 1.2 * spacing)
    second = level(torch.arange(points).repeat_interleave(points), grid.repeat(points).view(-1, 1, 1), 1.2 * spacing)
    tree = Tree(levels=(first, second), scores=torch.zeros(points**2), temperature=temperature, prior_std=std, clip=None)
    start = torch.tensor([[0.7, -0.4]], dtype=torch.float64, requires_grad=True)
    value = growth_of(world, start, 2).evaluated(tree).value()
    expected = world.soft_value(start, 2, temperature=temperature, action_std=20 * std)[0]
    torch.testing.assert_close(value, expected, rtol=1e-7, atol=0)
    slopes = [torch.autograd.grad(each, start)[0] for each in (value, expected)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-6, atol=0)
    assert slopes[1].abs().min() > 0.1


@pytest.mark.parametrize("world", [WORLD, PointMassWorld()])
def test_gradient_by_every_edge_is_that_of_finite_differences(world):
    tree, growth = random_tree(), growth_of(world, START, 6, chunk=2)
    edges = [each.actions.clone().requires_grad_() for each in tree.levels]
    imagined = growth.evaluated(tree, edges)
    slopes = torch.autograd.grad(imagined.value(), edges)
    with torch.no_grad():
        for index, slope in enumerate(slopes):
            assert (slope.flatten(1).norm(dim=1) > 0).all(), "every edge has a gradient"
            numeric = torch.zeros_like(slope)
            for place in range(slope.numel()):
                values = []
                for sign in (1, -1):
                    moved = [actions.detach().clone() for actions in edges]
                    moved[index].view(-1)[place] += sign * 1e-4
                    values.append(growth.evaluated(tree, moved).value())
                numeric.view(-1)[place] = (values[0] - values[1]) / 2e-4
            torch.testing.assert_close(slope, numeric, rtol=1e-5, atol=1e-5 * float(slope.abs().max()))


def test_gradient_is_the_posteriors_mean_of_the_leaves_gradients():
    tree, growth = random_tree(), growth_of(WORLD, START, 6, chunk=2)
    edges = [each.actions.clone().requires_grad_() for each in tree.levels]
    imagined = growth.evaluated(tree, edges)
    posterior = imagined.log_posterior()[-1].exp().detach()
    torch.testing.assert_close(posterior.sum(), torch.ones((), dtype=torch.float64))
    whole = torch.autograd.grad(imagined.value(), edges, retain_graph=True)
    weighted = torch.autograd.grad((posterior * imagined.scores).sum(), edges)
    for found, expected in zip(whole, weighted, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_cut_stops_gradients_at_the_nodes():
    """What the last frame alone earns tells the last chunk something, and the others nothing."""
    world = LinearQuadraticWorld(state_cost=torch.zeros(4, 4), action_cost=1e-9 * torch.eye(2), final_cost=torch.eye(4))
    sizes = []
    for cut in (False, True):
        tree, growth = random_tree(), growth_of(world, START, 6, chunk=2, cut=cut)
        edges = [each.actions.clone().requires_grad_() for each in tree.levels]
        slopes = torch.autograd.grad(growth.evaluated(tree, edges).value(), edges)
        sizes.append([float(slope.norm()) for slope in slopes])
    assert min(sizes[0]) > 1e-2
    assert max(sizes[1][:2]) < 1e-6
    assert sizes[1][2] > 1e-2


def test_values_by_hand():
    tree = replace(random_tree((2, 2)), scores=torch.tensor([1.0, 2.0, -3.0, 0.5], dtype=torch.float64), temperature=0.5)
    root, nodes, _ = tree.values()
    expected = [0.5 * math.log((math.exp(a / 0.5) + math.exp(b / 0.5)) / 2) for a, b in ((1, 2), (-3, 0.5))]
    assert nodes.tolist() == pytest.approx(expected)
    assert root.item() == pytest.approx(0.5 * math.log(sum(math.exp(value / 0.5) for value in expected) / 2))
    assert replace(tree, temperature=1e-6).value().item() == pytest.approx(2.0, abs=1e-5)
    assert replace(tree, temperature=1e6).value().item() == pytest.approx(0.125, abs=1e-5)
    broken = replace(tree, scores=torch.tensor([1.0, 2.0, -math.inf, -math.inf], dtype=torch.float64))
    assert broken.value().isfinite()
    assert broken.log_posterior()[0][1] == -math.inf


def test_pruning_keeps_paths_and_their_scores():
    growth = growth_of(WORLD, START, 6, chunk=2)
    tree = growth.evaluated(random_tree())
    leaves = torch.tensor([7, 2, 3])
    small = tree.pruned(leaves)
    torch.testing.assert_close(small.plans(), tree.plans()[leaves])
    assert [len(each) for each in small.levels] == [2, 2, 3]
    torch.testing.assert_close(growth.evaluated(small).scores, tree.scores[leaves])


@pytest.mark.parametrize("control_cost", [False, True])
def test_one_level_without_refinement_is_mppi(control_cost):
    """With the prior of the information-theoretic derivation the importance weights are its control cost; without them its plain form."""
    std, temperature, horizon = 0.5, 5.0, 6
    config = SoftTreeConfig(
        horizon=horizon,
        chunk=horizon,
        num_roots=50,
        num_rounds=1,
        refine_steps=0,
        temperature=temperature,
        initial_std=std,
        prior_std=std,
        clip=None if control_cost else 1.0,
    )
    nominal = 0.6 * draw(horizon, 2, seed=3).clamp(-1, 1)
    _, tree = SoftTree(WORLD, WORLD.objective(), config).grow(WORLD.state(START), seed=1, initial=4 * nominal)
    assert tree is not None
    plans = tree.plans()
    assert (plans.abs() == 1).any(), "some plans must meet the bounds"
    mppi = MPPI(
        WORLD,
        WORLD.objective(),
        MPPIConfig(horizon=horizon, temperature=temperature, noise_std=std, control_cost=control_cost),
    )
    scorer = Scorer(world=WORLD, objective=WORLD.objective(), state=WORLD.state(START), seed=0)
    updated = mppi.update(scorer, nominal, plans - nominal)
    average = torch.einsum("n,nta->ta", tree.log_posterior()[0].exp(), plans)
    torch.testing.assert_close(average, updated, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", [6, 2])
def test_one_branch_is_gradient_ascent(chunk):
    config = SoftTreeConfig(
        horizon=6, chunk=chunk, num_roots=1, num_rounds=1, refine_steps=25, refine_leaves=1, learning_rate=0.1, clip=None
    )
    _, tree = SoftTree(WORLD, WORLD.objective(), config).grow(WORLD.state(START), seed=0)
    assert tree is not None
    alone = GradientConfig(horizon=6, num_starts=1, num_iterations=25, learning_rate=0.1)
    plan = GradientPlanner(WORLD, WORLD.objective(), alone).plan(WORLD.state(START), seed=0)
    assert plan.elites is not None
    torch.testing.assert_close(4 * tree.plans(), plan.elites, rtol=1e-9, atol=1e-11)
    assert plan.elites.abs().max() > 0.1


@pytest.mark.parametrize("count", [1, 4, 9])
def test_temperature_zero_is_best_first(count):
    """No node that was passed over has a better leaf behind it than one that was chosen."""
    tree = growth_of(WORLD, START, 6, chunk=2).evaluated(random_tree((5, 3, 2)))
    tree = replace(tree, temperature=1e-9)
    assert tree.value().item() == pytest.approx(tree.scores.max().item())
    chosen = chosen_nodes(tree, count, exploration=0.0, generator=torch.Generator().manual_seed(0))
    passes = [torch.zeros(30, dtype=torch.long), *tree.paths()[:-1]]
    inside, outside = [], []
    for depth, nodes in enumerate(passes):
        for node in nodes.unique().tolist():
            best = tree.scores[nodes == node].max().item()
            assert best == tree.scores[best_below(tree)[depth][node]]
            (inside if node in chosen.get(depth, torch.tensor([])).tolist() else outside).append(best)
    assert len(inside) == count
    assert min(inside) >= max(outside)


def test_a_warm_tree_explores_elsewhere():
    tree = replace(growth_of(WORLD, START, 6, chunk=2).evaluated(random_tree((5, 3, 2))), temperature=1e3)
    generator = torch.Generator().manual_seed(0)
    found = {
        (depth, node)
        for _ in range(200)
        for depth, nodes in chosen_nodes(tree, 3, exploration=1.0, generator=generator).items()
        for node in nodes.tolist()
    }
    assert len(found) == 1 + 5 + 15
