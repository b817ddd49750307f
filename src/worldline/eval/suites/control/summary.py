"""Attempts as figures, lines and films.

May import: eval.metrics, eval.suites.figures, torch, its siblings. Refuses to know: worlds, simulators.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from worldline.eval.metrics import bootstrap_interval
from worldline.eval.suites.control.attempt import Attempt, mean_gap
from worldline.eval.suites.control.pairs import Pair, Pairs
from worldline.eval.suites.control.plan import ControlPlan
from worldline.eval.suites.control.records import Key, Records, Scene
from worldline.eval.suites.control.tasks import TASKS
from worldline.eval.suites.figures import Figure, Film, Line, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A planner with a budget of frame evaluations per decision, in a scene."""

    scene: Scene
    planner: str
    frame_evaluations: int

    def key(self, seed: int, pair: int, settings: str) -> Key:
        """Of one of its attempts."""
        budget = self.frame_evaluations
        return Key(scene=self.scene, planner=self.planner, frame_evaluations=budget, seed=seed, pair=pair, settings=settings)

    def __str__(self) -> str:
        return f"{self.scene}: {self.planner}, {self.frame_evaluations:,} frame evaluations"


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a probability of which `count` independent trials had a `share` of successes (Wilson, 1927)."""
    z = 1.959963984540054
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def refused_text(found: Pairs) -> str:
    """Why candidates for pairs were not taken."""
    return "; ".join(f"{count} {why}" for why, count in found.refused.items()) or "none"


def success_share(attempts: Sequence[Attempt]) -> float:
    """Share of attempts that were solved."""
    return sum(attempt.solved for attempt in attempts) / len(attempts)


def seconds_per_decision(attempts: Sequence[Attempt]) -> float | None:
    """Mean over attempts of the mean over decisions; None without one."""
    means = [sum(attempt.seconds) / len(attempt.seconds) for attempt in attempts if attempt.seconds]
    return sum(means) / len(means) if means else None


def trial_figures(
    trial: Trial, attempts: Mapping[Key, Attempt], *, plan: ControlPlan, floors: Mapping[str, float], found: Pairs, about: str = ""
) -> list[Figure]:
    """Success, time, and the gap between realised and predicted cost; `about` is added to the note on success."""
    values, num_pairs, what = list(attempts.values()), len(found.pairs), str(trial)
    sample = Sample(num_windows=len(values), num_episodes=num_pairs, seeds=tuple(range(plan.seed, plan.seed + plan.num_seeds)))
    spent = sum(attempt.frame_evaluations for attempt in values) / max(1, sum(len(attempt.seconds) for attempt in values))
    share = success_share(values)
    note = f"solved: {TASKS[trial.scene.environment].solved_means}, at any of {plan.budget_for(trial.scene.offset)} frames; Wilson over "
    note += f"pairs; {spent:,.0f} frame evaluations per decision spent; pairs not taken: {refused_text(found)}{about}"
    interval = wilson_interval(share, num_pairs)
    figures = [Figure(name=f"{what}: success", value=share, interval=interval, floors=floors, sample=sample, note=note)]
    if broken := sum(bool(attempt.note) for attempt in values):
        figures.append(Figure(name=f"{what}: attempts in which the simulation or the world diverged", value=broken, sample=sample))
    seconds = seconds_per_decision(values)
    if seconds is not None:
        figures.append(Figure(name=f"{what}: time of a decision", value=seconds, unit="s", sample=sample))
    gaps = [(key.pair, gap) for key, attempt in attempts.items() if (gap := mean_gap(attempt)) is not None]
    if gaps:
        rows, clusters = torch.tensor([gap for _, gap in gaps]), torch.tensor([pair for pair, _ in gaps])
        note = "mean over decisions, at the frame where the plan was left, in units of the cost at the start; above 0: too hopeful"
        interval = bootstrap_interval(rows, clusters=clusters)
        name = f"{what}: realised minus predicted cost"
        figures.append(Figure(name=name, value=float(rows.mean()), interval=interval, sample=sample, note=note))
    return figures


def budget_lines(scene: Scene, results: Mapping[Trial, Sequence[Attempt]]) -> list[Line]:
    """Success against frame evaluations, up to four planners to a chart."""
    planners = list(dict.fromkeys(trial.planner for trial in results))
    budgets = sorted({trial.frame_evaluations for trial in results})
    if len(budgets) < 2:
        return []
    lines = []
    for first in range(0, len(planners), 4):
        series = {
            planner: [success_share(results[Trial(scene=scene, planner=planner, frame_evaluations=budget)]) for budget in budgets]
            for planner in planners[first : first + 4]
        }
        x = [math.log2(budget) for budget in budgets]
        lines.append(Line(title=f"{scene}: success", series=series, x=x, x_label="frame evaluations per decision, log2", y_label="solved"))
    return lines


def time_lines(scene: Scene, results: Mapping[Trial, Sequence[Attempt]]) -> list[Line]:
    """Success against the time of a decision, a chart per planner, since their times differ."""
    lines = []
    for planner in dict.fromkeys(trial.planner for trial in results):
        several = [attempts for trial, attempts in results.items() if trial.planner == planner]
        points = sorted(
            (seconds, success_share(attempts)) for attempts in several if (seconds := seconds_per_decision(attempts)) is not None
        )
        if len(points) < 2:
            continue
        series, x = {planner: [share for _, share in points]}, [seconds for seconds, _ in points]
        title = f"{scene}: success of {planner} against time"
        lines.append(Line(title=title, series=series, x=x, x_label="seconds per decision", y_label="solved"))
    return lines


def attempt_films(records: Records, keys: Sequence[Key], pairs: Sequence[Pair], *, count: int, rate_hz: float) -> tuple[Film, ...]:
    """Up to `count` films, failures first: what happened, what was imagined, and the goal."""
    films: list[Film] = []
    attempts = [(key, attempt) for key in keys if (attempt := records.get(key)) is not None]
    for key, attempt in sorted(attempts, key=lambda one: one[1].solved):
        shown = records.film(key)
        if shown is None or len(films) == count:
            continue
        goal = pairs[key.pair].goal_frame.expand_as(shown.real)
        outcome = f"solved after {attempt.num_frames} frames" if attempt.solved else f"not solved in {attempt.num_frames} frames"
        title = f"{key.scene}: {key.planner}, {key.frame_evaluations:,} frame evaluations, pair {key.pair}, seed {key.seed}: {outcome}"
        panels = {"real": shown.real, "imagined": shown.imagined, "goal": goal}
        films.append(Film(title=title, panels=panels, rate_hz=rate_hz))
    return tuple(films)
