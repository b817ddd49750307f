"""Goal objectives without a search: of plans whose outcome is known, which does an objective choose in a learned world?

    python experiments/goal_objectives.py runs/push --environment pusht [--pairs 10] [--horizon 6] [--budget 1000] [--steps 1]

From the start of each strict pair of seed 1 (not those of the suite), and from half of the way that its episode went, CEM plans in the true
simulator on the true state. All the plans that it tried are imagined in the learned world, and each objective scores them there. With
--true-frames also, under names that say so, what really came of them, drawn by the simulator and seen through the world's tokenizer: what
goes wrong there is not the dynamics' fault. Printed,
for each objective and way of pooling over frames: the true excess (squared distances over squared tolerances, summed; solved below about 1)
of the nearest frame of the plan that it would have chosen, geometric mean; the share of states in which that plan solves the pair; and
Spearman's correlation with the true excess, over plans, and over all frames of all plans.
"""

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldline.control import CEM, CEMConfig
from worldline.data import to_float
from worldline.eval.suites.control.pairs import Pair, find_pairs
from worldline.eval.suites.control.subject import History, LearnedSubject, SimulatorSubject
from worldline.eval.suites.control.tasks import TASKS
from worldline.interfaces import Rollout, State
from worldline.reward import GoalLatent, GoalPicture, moving_token_weights, nearest
from worldline.world import World

POOLING: dict[str, Callable[[Tensor], Tensor]] = {
    "nearest": nearest,
    "mean": lambda costs: costs.mean(-1),
    "final": lambda costs: costs[..., -1],
}
ORDERS = {
    "pixels": (0.0,),
    "order 0.5": (0.5,),
    "order 1": (1.0,),
    "order 1.5": (1.5,),
    "order 2": (2.0,),
    "0 and 1": (0.0, 1.0),
    "0 and 1.5": (0.0, 1.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world")
    parser.add_argument("--environment", choices=tuple(TASKS), default="pusht")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--horizon", type=int, default=6)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--steps", type=int, help="denoising steps of a frame; the world's own number if left away")
    parser.add_argument("--true-frames", action="store_true", help="score the true outcomes' pictures, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world, task = World.load(arguments.world), TASKS[arguments.environment]
    if world.action_spec is None:
        world = world.with_action_space(arguments.environment)
    if arguments.steps is not None:
        world = world.with_sampling(arguments.steps)
    acted, imagined = task.make(), task.make()
    size = world.config.tokenizer.image_size
    learned = LearnedSubject(world, acted, prompt_frames=4)
    true = SimulatorSubject(task, imagined, learned.packing, size=size)
    context = 3 * learned.packing.frame_skip + 1
    found = find_pairs(
        task, acted, protocol="strict", offset=25, count=arguments.pairs, budget=50, context_frames=context, size=size, seed=1
    )
    tally = Tally()
    for pair in found.pairs:
        for share in (0.0, 0.5):
            history = _history(pair, acted, share, size, learned.packing.frame_skip)
            tried = _tried(true, pair, history, arguments)
            tally.judge(learned, pair, history, tried)
        print(f"done: {pair.source}", flush=True)
    print("| objective | pooled by | excess of the chosen plan | solved | Spearman, plans | Spearman, frames |\n|---|---|---|---|---|---|")
    for (name, pooling), values in tally.rows.items():
        chosen = math.exp(np.mean([math.log(value[0]) for value in values]))
        share = np.mean([value[1] for value in values])
        plans = np.mean([value[2] for value in values])
        print(f"| {name} | {pooling} | {chosen:.2f} | {share:.2f} | {plans:.2f} | {np.mean(tally.frames[name]):.2f} |")


def _history(pair: Pair, simulator: Any, share: float, size: int, frame_skip: int) -> History:
    """What happened until a share of the way that the episode went."""
    pair.enter(simulator)
    history = History.of(pair)
    for action in pair.shown[: int(share * len(pair.shown)) // frame_skip * frame_skip]:
        simulator.step(action)
        history.add(action, to_float(torch.from_numpy(simulator.render(size).copy()).permute(2, 0, 1)))
    return history


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """Plans (N, T, A), their true excess (N, T, R), and, if asked for, true pictures (N, T, 3, H, W)."""

    actions: Tensor
    excess: Tensor
    frames: Tensor | None


def _tried(true: SimulatorSubject, pair: Pair, history: History, arguments: argparse.Namespace) -> Tried:
    """Plans that CEM tried on the true state, and what came of them."""
    horizon, budget = arguments.horizon, arguments.budget
    start = true.look(history)
    objective = true.objective([pair], start)
    actions, excess, frames = [], [], []

    def score(rollout: Rollout) -> Tensor:
        assert rollout.actions is not None
        actions.append(rollout.actions.float())
        goal, begin = torch.from_numpy(pair.goal), torch.from_numpy(pair.start)
        excess.append(true.task.excess(rollout.latents[0].squeeze(-2), begin, goal))
        if arguments.true_frames:
            frames.append(true.world.decode(rollout)[0].float())
        return objective(rollout)

    rollouts = budget // horizon
    iterations = max(1, min(10, round(math.sqrt(rollouts / 4))))
    candidates = rollouts // iterations
    config = CEMConfig(
        horizon=horizon,
        num_candidates=candidates,
        num_iterations=iterations,
        num_elites=max(2, candidates // 5),
        correlation=0.5,
        batch_size=512,
    )
    CEM(true.world, score, config).plan(start, seed=0, initial=history.hold(true.packing, horizon))
    return Tried(actions=torch.cat(actions), excess=torch.cat(excess), frames=torch.cat(frames) if frames else None)


@dataclass(kw_only=True, slots=True)
class Tally:
    """By objective and pooling, for each state: true excess of the chosen plan, whether it solves the pair, Spearman's of plans.

    And by objective, for each state: Spearman's of frames.
    """

    rows: dict[tuple[str, str], list[tuple[float, bool, float]]] = field(default_factory=dict)
    frames: dict[str, list[float]] = field(default_factory=dict)

    @torch.no_grad()
    def judge(self, learned: LearnedSubject, pair: Pair, history: History, tried: Tried) -> None:
        """Score the plans in the learned world by every objective, and note what each would have chosen."""
        state, goal = learned.look(history), learned.goal_latent(pair)
        imagined = torch.cat([learned.world.rollout(state, some, seed=1).latents[0] for some in tried.actions.split(64)])
        outcomes = {"": imagined}
        if tried.frames is not None:
            outcomes["true frames: "] = torch.cat([learned.world.tokenizer.encode(some) for some in tried.frames.split(64)])
        moving = moving_token_weights(torch.stack([state.latent[0], goal]))
        objectives: dict[str, Any] = {"latents": GoalLatent(goal), "latents, moving tokens": GoalLatent(goal, token_weights=moving)}
        for name, orders in ORDERS.items():
            objectives[name] = GoalPicture(goal, state.latent[0], learned.world.decode, orders=orders, over_time="final")
        true = tried.excess.sum(-1)
        for (prefix, latents), (label, objective) in itertools.product(outcomes.items(), objectives.items()):
            name = prefix + label
            each = latents.flatten(0, 1)[None, :, None]  # every frame by itself
            costs = torch.cat([-objective(_alone(some)) for some in each.split(256, dim=1)]).view(true.shape)
            self.frames.setdefault(name, []).append(_spearman(costs.flatten(), true.flatten()))
            for pooling, pool in POOLING.items():
                pooled = pool(costs)
                best = int(pooled.argmin())
                solved = bool((tried.excess[best] <= 1).all(-1).any())
                self.rows.setdefault((name, pooling), []).append((float(true[best].min()), solved, _spearman(pooled, pool(true))))


def _alone(latents: Tensor) -> Rollout:
    return Rollout(latents=latents, actions=None, state=State(latent=latents[0, :, 0], position=0))


def _spearman(one: Tensor, other: Tensor) -> float:
    ranks = [values.argsort().argsort().double().numpy() for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
