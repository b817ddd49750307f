"""Does a world's gradient point where the simulator's does: cosine of the two, against the horizon.

Of the same function: the squared difference between the last picture and the goal's, by the actions in [-1, 1]. The world's is autograd's;
the simulator's is central differences of its pictures.

May import: envs, torch, its siblings. Refuses to know: planners, figures.
"""

import numpy as np
import torch
import torch.nn.functional as F

from worldline.envs.simulator import Simulator
from worldline.envs.simulator_world import FiniteDifferences, SimulatorWorld
from worldline.eval.suites.control.pairs import Pair
from worldline.eval.suites.control.subject import History, LearnedSubject

WIDTH = 0.05
"""Of the differences, in units of half the bounds: so wide that a picture of 64 pixels shows them."""


def gradient_cosine(subject: LearnedSubject, simulator: Simulator, pair: Pair, *, horizon: int, seed: int) -> float | None:
    """Cosine between the two gradients at the actions that the episode did; None where the simulator's picture does not depend on them.

    Args:
        subject: the learned world.
        simulator: is moved.
        pair: start, goal, and the actions between, of which the first `horizon` frames of the world are used.
        horizon: frames of the world.
        seed: of the world's noise.

    Raises:
        ValueError: if the goal is nearer than the horizon.
    """
    skip, size = subject.packing.frame_skip, pair.goal_frame.shape[-1]
    if horizon * skip > len(pair.shown):
        raise ValueError(f"{horizon} frames of the world are {horizon * skip} of the simulator, and the goal is {len(pair.shown)} away")
    packed = subject.packing.pack(pair.shown[: horizon * skip]).astype(np.float32)
    spec = subject.world.action_spec
    assert spec is not None
    base = spec.normalize(torch.from_numpy(packed)).clamp(-1, 1)[None]

    state = subject.look(History.of(pair))
    device = state.latent.device
    variable = base.to(device).requires_grad_()
    rollout = subject.world.rollout(state, spec.denormalize(variable), seed=seed)
    error = (subject.world.decode(rollout.state.latent) - pair.goal_frame.to(device)).square().mean()
    (imagined,) = torch.autograd.grad(error, variable)

    pictures = SimulatorWorld(
        simulator,
        frame_skip=skip,
        held=subject.packing.held,
        nearly=True,
        read=lambda: simulator.render(size).transpose(2, 0, 1).ravel() / 255,
    )
    true_world = FiniteDifferences(pictures, width=WIDTH)
    variable = base.double().requires_grad_()
    start = pictures.start(pair.seed, pair.attributes, pair.actions)
    seen = true_world.rollout(start, spec.denormalize(variable)).latents[0, 0, -1, 0]
    (true,) = torch.autograd.grad((seen - pair.goal_frame.double().ravel()).square().mean(), variable)
    if not true.any():
        return None
    return float(F.cosine_similarity(imagined.double().cpu().ravel(), true.ravel(), dim=0))
