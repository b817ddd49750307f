"""Policies learn from training episodes, act in the suite, and propose."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worldline.data import EpisodeStore, to_float
from worldline.eval.suites.control import ControlPlan, measure_control
from worldline.eval.suites.control.lessons import lessons, recorded_lessons
from worldline.eval.suites.control.planners import POLICIES
from worldline.eval.suites.control.policies import policy_planner
from worldline.eval.suites.control.subject import LearnedSubject, Packing, SimulatorSubject
from worldline.eval.suites.control.tasks import Task
from worldline.interfaces import ActionSpec, Clip

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


def test_recordings_are_lessons_as_the_world_sees_them(slide: Task, knowing_world: Any, films: list[Clip], tmp_path: Path) -> None:
    unlabelled, other_rate = replace(films[1], actions=None), replace(films[2], rate_hz=7.0)
    spec = slide.make().action_spec
    store = EpisodeStore.build(tmp_path / "store", [films[0], unlabelled, other_rate, films[3]], action_spec=spec)
    subject = LearnedSubject(knowing_world, slide.make(), prompt_frames=3)
    taught = recorded_lessons(subject, store)
    assert len(taught.latents) == len(taught.actions) == len(taught.goals) == 2
    for film, latents, actions in zip((films[0], films[3]), taught.latents, taught.actions, strict=True):
        assert film.actions is not None
        assert torch.equal(actions, film.actions[:-1])
        assert torch.equal(latents, knowing_world.tokenizer.encode(to_float(film.frames)[None])[0].half())


def test_recordings_of_another_domain_are_refused(slide: Task, knowing_world: Any, films: list[Clip], tmp_path: Path) -> None:
    subject = LearnedSubject(knowing_world, slide.make(), prompt_frames=3)
    wide = EpisodeStore.build(tmp_path / "wide", films[:1], action_spec=ActionSpec(low=(-9.0, -9.0), high=(9.0, 9.0)))
    with pytest.raises(ValueError, match="give recordings of its domain"):
        recorded_lessons(subject, wide)
    silent = EpisodeStore.build(tmp_path / "fast", [replace(films[0], rate_hz=7.0)], action_spec=slide.make().action_spec)
    with pytest.raises(ValueError, match="none of 1 episodes"):
        recorded_lessons(subject, silent)
    small = replace(films[0], frames=films[0].frames[..., :12, :12].contiguous())
    with pytest.raises(ValueError, match="pixels"):
        recorded_lessons(subject, EpisodeStore.build(tmp_path / "small", [small], action_spec=slide.make().action_spec))


def test_policies_are_taught_by_recordings(slide: Task, knowing_world: Any, films: list[Clip], tmp_path: Path) -> None:
    def encode(frames: torch.Tensor) -> torch.Tensor:
        return torch.stack([knowing_world.prompt(frames[:, : index + 1]).latent for index in range(frames.shape[1])], dim=1)

    knowing_world.tokenizer.encode = encode
    EpisodeStore.build(tmp_path / "store", films, action_spec=slide.make().action_spec)
    plan = ControlPlan(
        environments=("slide",),
        planners=("inverse",),
        offsets=(10,),
        num_pairs=2,
        horizon=6,
        lessons_from=tmp_path / "store",
        num_policy_updates=20,
        num_gradients=1,
    )
    said: list[str] = []
    measure_control(knowing_world, plan, tmp_path / "out", progress=said.append)
    assert "slide: 24 of 24 lessons read" in said
    assert not any("filmed" in line for line in said)
    with pytest.raises(ValueError, match="leave lessons_from out"):
        measure_control(None, plan, tmp_path / "out")


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
