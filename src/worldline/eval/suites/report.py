"""Runs suites and writes what they found: figures.json for machines, index.html, with its videos inside, for people.

May import: data, world, eval.page, eval.panels, eval.suites.*. Refuses to know: the command line.
"""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

from worldline.data import write_video
from worldline.eval.page import Html, Page, chart, code, heading, paragraph, side_by_side_charts, table, video
from worldline.eval.panels import Panel, draw_panels
from worldline.eval.suites.control import ControlPlan, measure_control
from worldline.eval.suites.episodes import Episodes, EvalPlan
from worldline.eval.suites.figures import Figure, Film, Suite
from worldline.eval.suites.honesty import measure_honesty
from worldline.eval.suites.in_context import measure_in_context
from worldline.eval.suites.physics import Features, measure_physics
from worldline.eval.suites.video import measure_video
from worldline.scale import write_whole
from worldline.world import World

SuiteName = Literal["video", "honesty", "physics", "in-context", "control"]
SUITES: tuple[SuiteName, ...] = tuple(name for name in get_args(SuiteName) if name != "control")
"""Suites that need data and nothing else; `control` needs simulators and time, so it is run when it is asked for."""

_LEADS: dict[SuiteName, str] = {
    "video": "How good the pictures are, beside what needs no world.",
    "honesty": "Whether the other figures mean what they say.",
    "physics": "Whether the world knows what is there and how it moves.",
    "in-context": "Whether a longer prompt makes better predictions where the physics differs between episodes.",
    "control": "From a start to a goal picture that a real episode reached: planned in the world, done in the simulator.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All that was measured.

    Attributes:
        about: the world, the data and the plan, for JSON.
        suites: by name.
        commands: that which reproduces each suite.
    """

    about: Mapping[str, Any]
    suites: Mapping[SuiteName, Suite]
    commands: Mapping[SuiteName, str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; every figure names its command."""
        suites: dict[str, Any] = {}
        for name, suite in self.suites.items():
            content = suite.to_dict()
            content["command"] = self.commands[name]
            content["figures"] = [figure | {"command": self.commands[name]} for figure in content["figures"]]
            suites[name] = content
        return {**self.about, "suites": suites}


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlRun:
    """The suite `control`: how much of it, and the folder in which attempts are kept."""

    plan: ControlPlan
    folder: Path


def evaluate(
    world: World | None,
    episodes: Episodes | None,
    plan: EvalPlan,
    *,
    commands: Mapping[SuiteName, str],
    data: Sequence[str],
    probe_episodes: Episodes | None = None,
    features: Features | None = None,
    control: ControlRun | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Run the suites that `commands` names.

    Args:
        world: to measure; None stands for the true simulator, of which only `control` can be measured.
        episodes: that it was not trained on; only `control` goes without.
        plan: how much.
        commands: suite -> the words that run it again.
        data: what the episodes are, in words.
        probe_episodes: that linear probes are fitted on; other measured episodes if None.
        features: of a code of frames, which is probed beside the latents.
        control: how much of the suite `control`.
        progress: called with what begins.
    """
    suites: dict[SuiteName, Suite] = {}
    for name in commands:
        progress(f"measuring {name} ...")
        if name == "control":
            assert control is not None
            suites[name] = measure_control(world, control.plan, control.folder, progress=progress)
            continue
        assert world is not None
        assert episodes is not None
        match name:
            case "video":
                suites[name] = measure_video(world, episodes, plan)
            case "honesty":
                suites[name] = measure_honesty(world, episodes, plan)
            case "physics":
                suites[name] = measure_physics(world, episodes, plan, probe_episodes=probe_episodes, features=features)
            case "in-context":
                suites[name] = measure_in_context(world, episodes, plan)
    about = {
        "fingerprint": "none: the true simulator" if world is None else world.fingerprint(),
        "num_parameters": 0 if world is None else sum(parameter.numel() for parameter in world.parameters()),
        "provenance": {} if world is None else dict(world.config.provenance),
        "denoising_steps": 0 if world is None else world.sampler.num_steps,
        "data": list(data),
        "num_episodes": 0 if episodes is None else len(episodes),
        "num_frames": 0 if episodes is None else sum(episodes.lengths()),
        "rate_hz": None if world is None else world.config.rate_hz,
        "plan": asdict(plan),
    }
    if control is not None:
        about["control_plan"] = asdict(control.plan)
    return Evaluation(about=about, suites=suites, commands=commands)


def write_evaluation(evaluation: Evaluation, folder: Path, *, title: str) -> Path:
    """Write `figures.json`, `videos/*.mp4` and `index.html` into `folder`; returns the page."""
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    write_whole(folder / "figures.json", json.dumps(evaluation.to_dict(), indent=1, default=str))
    about = evaluation.about
    trained = ", ".join(f"{name}: {value}" for name, value in about["provenance"].items()) or "not recorded"
    page = Page(f"Evaluation of {title}", lead(about))
    intro = [paragraph(f"Trained on: {trained}. Weights: {about['fingerprint'][:16]}.")] if about["num_parameters"] else []
    intro.append(paragraph("Intervals: 95 %, bootstrapped over episodes. Floors need no world; docs/eval.md says how to read each figure."))
    page.section("What was measured", *intro, anchor="about")
    for name, suite in evaluation.suites.items():
        blocks = [paragraph(_LEADS[name])]
        if suite.figures:
            header = ("figure", "value", "95 % interval", "floors", "windows / episodes", "seeds", "")
            blocks.append(table(header, [_row(figure) for figure in suite.figures], stacked=True))
        if suite.not_measured:
            blocks += [heading("Not measured"), table(("what", "why"), list(suite.not_measured.items()), stacked=True)]
        # Where nothing moves, a gain is undefined and there is nothing to draw.
        if lines := [line for line in suite.lines if any(map(math.isfinite, chain.from_iterable(line.series.values())))]:
            charts = [chart(line.series, line.title, x=line.x, x_label=line.x_label, y_label=line.y_label) for line in lines]
            blocks.append(side_by_side_charts(*charts))
        blocks += [_film(film, folder / "videos" / f"{name}_{index}.mp4") for index, film in enumerate(suite.films)]
        blocks += [heading("The command that reproduces these figures"), code(evaluation.commands[name])]
        page.section(name.capitalize(), *blocks, anchor=name)
    return page.write(folder / "index.html")


def lead(about: Mapping[str, Any]) -> str:
    """What was measured on what, in a line."""
    if not about["num_parameters"]:
        return "The true simulator in the place of a world: what is missed here is the planners' own error."
    size = f"{about['num_parameters']:,} parameters, {about['denoising_steps']} denoising steps per frame"
    if not about["num_episodes"]:
        return f"{size}."
    return f"{size}; {about['num_episodes']} episodes, {about['num_frames']:,} frames of {', '.join(about['data'])}"


def value_text(figure: Figure) -> str:
    """Its value with its unit."""
    return f"{number(figure.value)} {figure.unit}".strip()


def interval_text(figure: Figure) -> str:
    """Its interval, or nothing."""
    return "" if figure.interval is None else f"{number(figure.interval[0])} to {number(figure.interval[1])}"


def floors_text(figure: Figure) -> str:
    """Its floors by name."""
    return "; ".join(f"{name} {number(value)}" for name, value in figure.floors.items())


def number(value: float) -> str:
    """A number in a table: four significant digits at most."""
    if not math.isfinite(value):
        return "infinite" if value == math.inf else "undefined"
    return f"{value:.2e}" if value and not 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def _row(figure: Figure) -> tuple[str, ...]:
    count = f"{figure.sample.num_windows} / {figure.sample.num_episodes}" if figure.sample.num_windows else ""
    seeds = ", ".join(map(str, figure.sample.seeds))
    return figure.name, value_text(figure), interval_text(figure), floors_text(figure), count, seeds, figure.note


def _film(film: Film, path: Path) -> Html:
    frames = draw_panels([Panel(label=label, frames=shown) for label, shown in film.panels.items()])
    write_video(path, frames, rate_hz=film.rate_hz)
    inside = f"data:video/mp4;base64,{b64encode(path.read_bytes()).decode()}"
    return video(inside, film.title, poster=frames[-1])
