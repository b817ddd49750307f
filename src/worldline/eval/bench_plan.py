"""How fast a planner decides, and how much of the rate at which the world can imagine it makes use of.

Figures are from the threads that torch was given; run them on an idle machine. Randomly initialised networks cost what trained ones cost.

May import: eval.bench, control, dynamics, reward, world, interfaces. Refuses to know: the quality of the plans.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from worldline.control import CEM, CEMConfig, SearchPlanner, SoftTree, SoftTreeConfig
from worldline.control.sizing import sized
from worldline.dynamics import Size
from worldline.eval.bench import chain, matrix_peak, random_world
from worldline.interfaces import State
from worldline.reward import GoalLatent
from worldline.world import World


def bench_plan(
    *,
    size: Size = "tiny",
    budget: int = 4096,
    horizon: int = 8,
    prompt_frames: int = 15,
    candidates: int = 256,
    repetitions: int = 3,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Seconds of one decision at a budget of frame evaluations (one denoising step, K = 1), and the share of the batch-forward rate.

    Settings are those of `control.sizing`, as in the control suite. That rate is what `bench step` lists as ms per candidate at a large
    batch: the world stepped with nothing else done. A pass back for a gradient counts as two evaluations, as everywhere; the share says
    what it costs in truth. Shares are of processor time, which other work on the machine disturbs least. Each planner has decided once,
    within a tenth of the budget, before it is timed. With another `dtype` the world's weights are cast, and planners reckon in float32.
    """
    figures: dict[str, Any] = {"size": size, "threads": torch.get_num_threads(), "budget, frame evaluations": budget, "horizon": horizon}
    figures["dtype of the world"] = str(dtype).removeprefix("torch.")
    world = random_world(size).with_sampling(1).to(dtype)
    latents = torch.randn(1, prompt_frames, *world.noise_shape)
    assert world.action_spec is not None
    with torch.no_grad():
        state = world.prompt_latents(latents, torch.zeros(1, prompt_frames - 1, world.action_spec.dim))
        forward = candidates / _processor_seconds(chain(world, world.fork(state, candidates)), repetitions)
    figures[f"frame evaluations per processor second, batch {candidates}, nothing but steps"] = forward
    operations = budget * _operations_of_a_frame(world, state)
    figures["floating-point operations of the budget"] = float(operations)
    figures["seconds of these at the matrix peak, the least that any planner takes"] = operations / matrix_peak(dtype)
    world.requires_grad_(False)
    objective = GoalLatent(torch.randn(world.noise_shape))
    tree = SoftTreeConfig(horizon=horizon, max_frame_evaluations=budget, chunk=max(1, horizon // 2))
    cem = CEMConfig(horizon=horizon, max_frame_evaluations=budget)
    rollouts = max(1, budget // horizon)
    planners: dict[str, SearchPlanner] = {
        "SoftTree": SoftTree(world, objective, sized(replace(tree, refine_steps=0), rollouts)),
        "SoftTree with gradients": SoftTree(world, objective, sized(tree, rollouts)),
        "CEM": CEM(world, objective, sized(cem, rollouts)),
    }
    for name, planner in planners.items():
        planner.plan(state, seed=0, max_frame_evaluations=max(horizon, budget // 10))
        began, busy = time.perf_counter(), time.process_time()
        plan = planner.plan(state, seed=0)
        figures[f"{name}: seconds of a decision"] = time.perf_counter() - began
        busy = time.process_time() - busy
        figures[f"{name}: processor seconds"] = busy
        figures[f"{name}: frame evaluations"] = plan.num_frame_evaluations
        figures[f"{name}: frame evaluations per processor second"] = plan.num_frame_evaluations / busy
        figures[f"{name}: share of the forward rate"] = plan.num_frame_evaluations / busy / forward
    return figures


def _operations_of_a_frame(world: World, state: State) -> int:
    """Floating-point operations of the matrix products and attention in one step, batch 1."""
    assert world.action_spec is not None
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        world.step(state, torch.zeros(1, world.action_spec.dim), seed=0)
    return counter.get_total_flops()


def _processor_seconds(call: Callable[[], None], repetitions: int) -> float:
    """The median of some calls, after one that is not timed."""
    call()
    seconds = []
    for _ in range(repetitions):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)
