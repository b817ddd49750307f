"""Policies learn from training episodes, act in the suite, and propose."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldline.eval.suites.control import ControlPlan, measure_control
from worldline.eval.suites.control.planners import POLICIES
from worldline.eval.suites.control.policies import lessons, policy_planner
from worldline.eval.suites.control.subject import Packing, SimulatorSubject
from worldline.eval.suites.control.tasks import Task

PACKING = Packing(frame_skip=2, held=False, num_components=2)


def test_lessons_are_what_was_filmed_at_the_world_s_rate(slide: Task) -> None:
    subject = SimulatorSubject(slide, slide.make(), PACKING, size=24)
    taught = lessons(subject, slide, slide.make(), num_episodes=2, size=24)
    assert [tuple(film.shape) for film in taught.latents] == [(32, 1, 4)] * 2
    assert [tuple(done.shape) for done in taught.actions] == [(31, 4)] * 2
    law = subject.world
    film, done = taught.latents[0], taught.actions[0]
    state = law.start(0, {}, np.zeros((0, 2), np.float32))
    rollout = law.rollout(state, done[None])
    assert rollout.latents[0, 0].numpy() == pytest.approx(film[1:].numpy(), abs=1e-6)


def test_all_policies_act_in_the_suite(slide: Task, knowing_world: Any, tmp_path: Path) -> None:
    plan = ControlPlan(
        environments=("slide",),
        planners=POLICIES,
        offsets=(10,),
        num_pairs=2,
        frame_evaluations=(120,),
        horizon=6,
        num_lessons=20,
        num_policy_updates=150,
        in_simulator=True,
    )
    suite = measure_control(knowing_world, plan, tmp_path)
    successes = {one.name.split(": ")[1].split(",")[0]: one.value for one in suite.figures if one.name.endswith("success")}
    assert set(successes) == set(POLICIES)
    assert successes["inverse+cem"] >= successes["clone"]


def test_an_unknown_policy_is_refused(slide: Task) -> None:
    subject, nothing = SimulatorSubject(slide, slide.make(), PACKING, size=24), Any
    with pytest.raises(ValueError, match="choose one of inverse"):
        policy_planner("wish", nothing, subject, nothing, horizon=3, frame_evaluations=9, batch_size=1)  # ty: ignore
