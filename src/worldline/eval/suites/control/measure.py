"""The control suite: success with its floors, against budget and time; predicted beside realised cost; batches; gradients; films.

May import: data, eval.metrics, eval.suites.figures, world, envs, its siblings. Refuses to know: the command line.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from worldline.control.amortised import FlowPolicy, GoalPolicy
from worldline.data import EpisodeStore
from worldline.envs.simulator import Simulator
from worldline.eval.metrics import bootstrap_interval
from worldline.eval.suites.control.attempt import Attempt, batch_difference, try_pairs
from worldline.eval.suites.control.gradients import gradient_cosine
from worldline.eval.suites.control.lessons import Lessons, lessons, recorded_lessons
from worldline.eval.suites.control.pairs import Pair, find_pairs, random_policy, solved_by
from worldline.eval.suites.control.plan import ControlPlan
from worldline.eval.suites.control.planners import PLANS_MANY, POLICIES, make_planner, settings_of, what_it_is, why_not
from worldline.eval.suites.control.policies import FLOW, fit_policy, flow_policy, policy_planner
from worldline.eval.suites.control.records import Key, Records, Scene
from worldline.eval.suites.control.subject import History, LearnedSubject, SimulatorSubject, Subject, packing_of, plain_packing
from worldline.eval.suites.control.summary import Trial, attempt_films, budget_lines, refused_text, time_lines, trial_figures
from worldline.eval.suites.control.tasks import TASKS, Task
from worldline.eval.suites.figures import Figure, Line, Sample, Suite
from worldline.interfaces import Objective, Planner, State
from worldline.world import World

NUM_RANDOM = 5
"""Runs of random actions per pair behind the random floor, none of them among those that a strict pair withstood."""

_SIZE = 64  # of pictures where there is no learned world to say it
_HORIZONS = (1, 2, 4, 8)


@dataclass(kw_only=True, slots=True)
class _Stage:
    """One environment: the world's fingerprint, its task, the simulator that is acted in, what is planned in, where attempts are kept."""

    world: str
    task: Task
    simulator: Simulator
    subject: Subject
    size: int
    plan: ControlPlan
    records: Records
    progress: Callable[[str], None]
    recordings: EpisodeStore | None
    more_simulators: list[Simulator] = field(default_factory=list)
    taught: Lessons | None = None
    policies: dict[tuple[str, int], GoalPolicy | FlowPolicy] = field(default_factory=dict)

    def simulators_for(self, count: int) -> list[Simulator]:
        """So many simulators to act in, the stage's own first."""
        while len(self.more_simulators) + 1 < count:
            self.more_simulators.append(self.task.make())
        return [self.simulator, *self.more_simulators][:count]

    def policy(self, name: str, horizon: int) -> GoalPolicy | FlowPolicy:
        """A policy that is regressed when it is first asked for; a flow policy takes long and is kept beside the attempts."""
        kind = FLOW if name.startswith(FLOW) else "clone" if name == "clone" else "inverse"
        if (kind, horizon) not in self.policies:
            self.policies[kind, horizon] = self._flow(horizon) if kind == FLOW else self._regressed(name, horizon)
        return self.policies[kind, horizon]

    def _regressed(self, name: str, horizon: int) -> GoalPolicy:
        self.progress(f"{self.task.name}: regressing the policy {name}")
        plan, taught = self.plan, self._lessons()
        return fit_policy(name, self.subject, taught, max_steps=horizon, num_updates=plan.num_policy_updates, seed=plan.seed)

    def _flow(self, horizon: int) -> FlowPolicy:
        plan, every = self.plan, max(1, self.plan.num_policy_updates // 50)

        def tell(done: int, loss: float) -> None:
            if done % every == 0:
                self.progress(f"{self.task.name}: flow policy, update {done} of {plan.num_policy_updates}, loss {loss:.3f}")

        taught_by = plan.num_lessons if self.recordings is None else self.recordings.fingerprint[:12]
        packing = self.subject.packing  # in a simulator, which has no fingerprint, it is all that tells worlds of two rates apart
        rate = f"-{packing.frame_skip}{'held' if packing.held else ''}" if self.world == "simulator" else ""
        settings = "-".join(str(one) for one in (self.world[:12] + rate, horizon, taught_by, plan.num_policy_updates))
        path = self.records.folder / "policies" / f"{self.task.name}-{settings}.safetensors"
        sizes = {"horizon": horizon, "num_updates": plan.num_policy_updates}
        with self.records.claim(path.name, wait=True):  # another process that is at it is waited for
            policy = flow_policy(self.subject, self._lessons, path, progress=tell, **sizes)
        world = self.subject.world
        return policy.to(next(world.parameters()).device) if isinstance(world, World) else policy

    def _lessons(self) -> Lessons:
        if self.taught is not None:
            return self.taught
        name, store = self.task.name, self.recordings
        count, what = (self.plan.num_lessons, "filmed") if store is None else (len(store), "read")

        def tell(done: int) -> None:
            if done % max(1, count // 20) == 0:
                self.progress(f"{name}: {done} of {count} lessons {what}")

        if store is None:
            self.taught = lessons(self.subject, self.task, self.simulator, num_episodes=count, size=self.size, progress=tell)
        else:
            assert isinstance(self.subject, LearnedSubject)
            self.taught = recorded_lessons(self.subject, store, progress=tell)
        return self.taught

    def horizon(self, scene: Scene) -> int:
        """Frames of the world per plan."""
        return self.plan.horizon_for(scene.offset, self.subject.packing.frame_skip)


def measure_control(world: World | None, plan: ControlPlan, folder: Path, *, progress: Callable[[str], None] = lambda text: None) -> Suite:
    """Measure a learned world's plans; or, with `in_simulator` or no world, the same planners in the true simulator.

    Attempts are kept in `folder`: the same call goes on where it was broken off.

    Raises:
        ValueError: if the world does not fit an environment, or the recordings do not fit the world.
        FileNotFoundError: if there are no such recordings.
    """
    size = _SIZE if world is None else world.config.tokenizer.image_size
    name = "simulator" if world is None or plan.in_simulator else world.fingerprint()
    rate = None if world is None else world.config.rate_hz
    steps = None if world is None else world.sampler.num_steps
    setup = {"world": name, "rate_hz": rate, "steps": steps, "size": size, "seed": plan.seed, "horizon": plan.horizon}
    recordings = _recordings(plan, name)
    taught_by = plan.num_lessons if recordings is None else recordings.fingerprint[:12]
    # Attempts that were made for another objective are no part of this.
    records = Records(
        folder,
        setup
        | {
            "execute": plan.execute,
            "prompt_frames": plan.prompt_frames,
            "objective": "picture, nearest",
            "lessons": [taught_by, plan.num_policy_updates],
        },
    )
    parts, missing = [], {}
    for environment in plan.environments:
        task = TASKS[environment]
        try:
            simulators = task.make(), task.make()
        except ImportError as error:
            missing[environment] = str(error)
            continue
        subject = _subject(world, plan, task, simulators, size)
        stage = _Stage(
            world=name,
            task=task,
            simulator=simulators[0],
            subject=subject,
            size=size,
            plan=plan,
            records=records,
            progress=progress,
            recordings=recordings,
        )
        for protocol in plan.protocols:
            parts += [_measure_scene(stage, Scene(environment=environment, protocol=protocol, offset=offset)) for offset in plan.offsets]
        for simulator in (*simulators, *stage.more_simulators):
            simulator.close()
    return Suite(
        name="control",
        figures=tuple(figure for part in parts for figure in part.figures),
        lines=tuple(line for part in parts for line in part.lines),
        films=tuple(film for part in parts for film in part.films),
        not_measured=missing | {what: why for part in parts for what, why in part.not_measured.items()},
    )


def _recordings(plan: ControlPlan, world: str) -> EpisodeStore | None:
    if plan.lessons_from is None:
        return None
    if world == "simulator":
        raise ValueError("the simulator's planners are shown the truth, which recordings lack; leave lessons_from out")
    return EpisodeStore.open(plan.lessons_from)


def _subject(world: World | None, plan: ControlPlan, task: Task, simulators: tuple[Simulator, Simulator], size: int) -> Subject:
    acted, imagined = simulators
    if world is not None and not plan.in_simulator:
        return LearnedSubject(world, acted, prompt_frames=plan.prompt_frames)
    packing = plain_packing(acted) if world is None else packing_of(world, acted)
    return SimulatorSubject(task, imagined, packing, size=size)


def _measure_scene(stage: _Stage, scene: Scene) -> Suite:
    plan = stage.plan
    stage.progress(f"{scene}: looking for {plan.num_pairs} pairs")
    found = find_pairs(
        stage.task,
        stage.simulator,
        protocol="strict" if scene.protocol == "strict" else "moderate",
        offset=scene.offset,
        count=plan.num_pairs,
        budget=plan.budget_for(scene.offset),
        context_frames=(plan.prompt_frames - 1) * stage.subject.packing.frame_skip + 1,
        size=stage.size,
        seed=plan.seed,
    )
    if not found.pairs:
        return Suite(name="control", not_measured={str(scene): f"no pair is hard enough: {refused_text(found)}"})
    tried: dict[Trial, dict[Key, Attempt]] = {}
    unable: dict[str, str] = {}
    for planner in plan.planners:
        if (reason := why_not(planner, stage.subject.world)) is not None:
            unable[f"{scene}: {planner}"] = reason
            continue
        for budget in plan.frame_evaluations:
            trial = Trial(scene=scene, planner=planner, frame_evaluations=budget)
            tried[trial] = _attempts(stage, trial, found.pairs)
    figures: list[Figure] = []
    floors = _floors(stage, scene, found.pairs)
    for trial, attempts in tried.items():
        about = what_it_is(trial.planner, stage.subject.world)
        figures += trial_figures(trial, attempts, plan=plan, floors=floors, found=found, about=about)
    keys = [key for attempts in tried.values() for key in attempts]
    results = {trial: list(attempts.values()) for trial, attempts in tried.items()}
    figures.append(_batch_figure(stage, scene, found.pairs[0]))
    more = _gradients(stage, scene, found.pairs)
    films = attempt_films(stage.records, keys, found.pairs, count=plan.num_films, rate_hz=stage.simulator.rate_hz)
    lines = (*budget_lines(scene, results), *time_lines(scene, results), *more.lines)
    missing = {**unable, **more.not_measured}
    return replace(more, figures=(*figures, *more.figures), lines=lines, films=films, not_measured=missing)


def _floors(stage: _Stage, scene: Scene, pairs: Sequence[Pair]) -> dict[str, float]:
    """Success of what needs no world, on the same pairs."""
    budget, simulator = stage.plan.budget_for(scene.offset), stage.simulator
    still, random = 0, 0
    for pair in pairs:
        pair.enter(simulator)
        stay = stage.task.stay(simulator)
        still += solved_by(stage.task, simulator, pair, lambda action=stay: action, budget=budget)
        for index in range(NUM_RANDOM):
            pair.enter(simulator)
            random += solved_by(stage.task, simulator, pair, random_policy(simulator, pair.seed, 1000 + index), budget=budget)
    return {"random actions": random / (len(pairs) * NUM_RANDOM), "standing still": still / len(pairs)}


def _attempts(stage: _Stage, trial: Trial, pairs: Sequence[Pair]) -> dict[Key, Attempt]:
    plan, horizon, subject = stage.plan, stage.horizon(trial.scene), stage.subject

    def solve(state: State, objective: Objective) -> Planner:
        count = state.batch_size
        sizes = {"horizon": horizon, "frame_evaluations": trial.frame_evaluations, "batch_size": plan.batch_size * count}
        if trial.planner in POLICIES:
            return policy_planner(trial.planner, stage.policy(trial.planner, horizon), subject, objective, **sizes)
        side_by_side = subject.packing.actions_per_frame
        return make_planner(trial.planner, subject.world, objective, actions_per_frame=side_by_side, **sizes)

    first = subject.look(History.of(pairs[0]))
    settings = settings_of(solve(first, subject.objective(pairs[:1], first)))
    most = plan.num_together if subject.can_batch and trial.planner in PLANS_MANY else 1
    attempts: dict[Key, Attempt] = {}
    seeds = range(plan.seed, plan.seed + plan.num_seeds)
    keys = [[trial.key(seed, index, settings) for index in range(len(pairs))] for seed in seeds]

    def try_some(some: Iterator[Key], count: int, *, wait: bool) -> bool:
        """Make the next `count` attempts together that neither are known nor another process is at, unless that is waited for.

        All of one seed. Returns whether there may be more.
        """
        mine: list[Key] = []
        with ExitStack() as claims:
            for key in some:
                known = stage.records.get(key)
                if known is None and claims.enter_context(stage.records.claim(key, wait=wait)):
                    known = stage.records.get(key)
                    mine += [key] if known is None else []
                attempts.update({} if known is None else {key: known})
                if len(mine) == count:
                    break
            if not mine:
                return False
            made = try_pairs(
                subject,
                stage.task,
                stage.simulators_for(len(mine)),
                [pairs[key.pair] for key in mine],
                solve,
                budget=plan.budget_for(trial.scene.offset),
                horizon=horizon,
                execute=plan.execute_for(horizon),
                seed=mine[0].seed,
                size=stage.size,
            )
            for key, (attempt, film) in zip(mine, made, strict=True):
                stage.records.add(key, attempt, film if key.pair < 2 * plan.num_films else None)
                attempts[key] = attempt
        solved = sum(one.solved for one in attempts.values())
        stage.progress(f"{trial}: {len(attempts)} of {len(pairs) * plan.num_seeds}, {solved} solved")
        return len(mine) == count

    for of_seed in keys:
        rest = iter(of_seed)
        while try_some(rest, most, wait=False):
            pass
    for key in (key for of_seed in keys for key in of_seed if key not in attempts):
        try_some(iter([key]), 1, wait=True)  # one at a time: who holds one and waits for another may be waited for
    return {key: attempts[key] for of_seed in keys for key in of_seed}


def _batch_figure(stage: _Stage, scene: Scene, pair: Pair) -> Figure:
    horizon, seed = stage.horizon(scene), stage.plan.seed
    state = stage.subject.look(History.of(pair))
    objective = stage.subject.objective([pair], state)

    def make(batch_size: int) -> Planner:
        world = stage.subject.world
        return make_planner("cem", world, objective, horizon=horizon, frame_evaluations=32 * horizon, batch_size=batch_size)

    value = batch_difference(stage.subject, state, make, seed=seed)
    note = "the same search, its candidates imagined one at a time and 16 at a time, in units of half the bounds; 0: alike"
    name = f"{scene}: largest difference of a plan between batches of 1 and 16"
    return Figure(name=name, value=value, sample=Sample(num_windows=1, num_episodes=1, seeds=(seed,)), note=note)


def _gradients(stage: _Stage, scene: Scene, pairs: Sequence[Pair]) -> Suite:
    what = f"{scene}: gradient cosine with the simulator"
    subject, plan = stage.subject, stage.plan
    if not isinstance(subject, LearnedSubject):
        return Suite(name="control", not_measured={what: "plans are made in the simulator itself"})
    figures, means = [], {}
    for horizon in _HORIZONS:
        if horizon * subject.packing.frame_skip > scene.offset:
            continue
        stage.progress(f"{scene}: gradients over {horizon} frames")
        some = pairs[: plan.num_gradients]
        found = [gradient_cosine(subject, stage.simulator, pair, horizon=horizon, seed=plan.seed) for pair in some]
        known = torch.tensor([value for value in found if value is not None])
        if not len(known):
            continue
        means[horizon] = float(known.mean())
        note = "of the picture's squared difference from the goal's, by the actions; the simulator's by central differences"
        figures.append(
            Figure(
                name=f"{what}, horizon {horizon}",
                value=means[horizon],
                interval=bootstrap_interval(known),
                floors={"a random direction": 0.0},
                sample=Sample(num_windows=len(known), num_episodes=len(known), seeds=(plan.seed,)),
                note=note,
            )
        )
    if len(means) < 2:
        return Suite(name="control", figures=tuple(figures))
    series = {"cosine": list(means.values())}
    line = Line(title=what, series=series, x=[float(one) for one in means], x_label="frames of the world", y_label="cosine")
    return Suite(name="control", figures=tuple(figures), lines=(line,))
