"""A simulator whose law the world knows: what plans in it foresee comes true, and its gradients are the simulator's."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from worldline.envs.simulator import Act, Attribute, Simulator
from worldline.eval.suites.control.tasks import TASKS, Task
from worldline.interfaces import ActionSpec
from worldline.testing import PointMassWorld

SIZE = 24
LAW = PointMassWorld(size=SIZE, action_limit=1.0, blob_radius=0.15)


class Slide(Simulator):
    """The point mass, drawn by its law."""

    name, extra, rate_hz = "slide", "none", 5.0
    action_spec = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0))
    state_names = ("x", "y", "velocity_x", "velocity_y")
    event_names, policy_names = ("moves",), ("tour", "random")
    attributes = (Attribute(name="color", kind="appearance", usual=("red",)),)
    restores = "exactly"

    def reset(self, seed: int, attributes: Mapping[str, Any]) -> None:
        start = np.random.default_rng(seed).uniform(-0.5, 0.5, 4) * [1, 1, 0.2, 0.2]
        self.place = LAW.state(torch.from_numpy(start)[None])

    def step(self, action: np.ndarray | None) -> None:
        assert action is not None
        self.place = LAW.step(self.place, torch.from_numpy(np.asarray(action))[None].double(), seed=0)

    def render(self, size: int) -> np.ndarray:
        assert size == SIZE
        return (LAW.decode(self.place)[0] * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)

    def state(self) -> np.ndarray:
        return self.place.latent.flatten().numpy().copy()

    def events(self) -> Mapping[str, bool]:
        return {"moves": True}

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        if name == "random":
            return lambda: generator.uniform(-1, 1, 2)
        goal, frame = np.zeros(2), 0

        def tour() -> np.ndarray:
            nonlocal goal, frame
            if frame % 9 == 0:
                goal = generator.uniform(-0.7, 0.7, 2)
            frame += 1
            return np.clip(2 * (goal - self.state()[:2]) - 2 * self.state()[2:], -1, 1)

        return tour

    def captions(self) -> Sequence[str]:
        return ["a point moves"]

    def save(self) -> object:
        return self.place

    def load(self, saved: Any) -> None:
        self.place = saved


def excess(states: torch.Tensor, start: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    return (states - goal)[..., :2].square().sum(-1, keepdim=True) / 0.15**2


SLIDE = Task(name="slide", solved_means="less than 0.15 off", make=Slide, excess=excess, stay=lambda simulator: np.zeros(2, np.float32))


@pytest.fixture
def slide(monkeypatch: pytest.MonkeyPatch) -> Task:
    """The environment, known to the suite by its name."""
    monkeypatch.setitem(TASKS, "slide", SLIDE)
    return SLIDE


@pytest.fixture
def knowing_world(true_world: Any) -> Any:
    """A world that sees pictures and knows the law."""
    true_world.config.tokenizer = SimpleNamespace(image_size=SIZE, window=2)
    true_world.fingerprint = lambda: "knows the law"
    return true_world
