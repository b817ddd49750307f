"""`worldline eval`: see `cli.arguments.Eval`.

May import: eval.suites, data, world, the other files of cli. Refuses to know: how anything is measured.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldline.cli.arguments import Eval
from worldline.cli.load import device_of, frame_code_of, load_world
from worldline.cli.report import Report, table
from worldline.data import EpisodeStore
from worldline.eval.suites.control import ControlPlan
from worldline.eval.suites.episodes import Episodes, EvalPlan, domain_of, held_out_of_domain, held_out_of_run, open_episodes
from worldline.eval.suites.figures import Figure
from worldline.eval.suites.report import (
    SUITES,
    ControlRun,
    Evaluation,
    SuiteName,
    evaluate,
    floors_text,
    interval_text,
    lead,
    value_text,
    write_evaluation,
)
from worldline.world import World

_DEFAULTS = Eval(world="")
SIMULATOR = "simulator"
_NOT_IN_COMMAND = ("world", "suite", "out", "json")


def run(arguments: Eval) -> Report:
    """Measure, write, and list the figures."""
    plan = EvalPlan(
        prompt_frames=arguments.prompt_frames,
        num_windows=arguments.windows,
        num_seeds=arguments.seeds,
        seed=arguments.seed,
        num_samples=arguments.samples,
        num_long=arguments.long_rollouts,
        batch_size=arguments.batch_size,
    )
    if arguments.episodes < 1:
        raise ValueError(f"--episodes is {arguments.episodes}; give at least 1")
    suites = arguments.suite or SUITES
    control = ControlRun(plan=_control_plan(arguments), folder=arguments.out / "control") if "control" in suites else None
    world = None
    if arguments.world != SIMULATOR:
        world = load_world(arguments.world, arguments.num_steps).to(device_of(arguments.device))
    elif set(suites) != {"control"}:
        raise ValueError(f"{SIMULATOR} stands for the true simulator, of which only --suite control can be measured")
    measured = features = None
    if world is not None and set(suites) != {"control"}:
        paths = arguments.data or _data_of_run(arguments.world, arguments.domain)
        world = _of_domain(world, arguments.domain, paths)
        measured = _measured(world, arguments, paths)
        code = frame_code_of(arguments.world, world)
        features = None if code is None else code.features
    elif world is not None:
        world = _of_environment(world, arguments)
    evaluation = evaluate(
        world,
        None if measured is None else measured.episodes,
        plan,
        commands={suite: _command(arguments, suite) for suite in suites},
        data=() if measured is None else measured.data,
        probe_episodes=None if measured is None else measured.probed,
        features=features,
        control=control,
        progress=lambda text: print(text, file=sys.stderr),
    )
    page = write_evaluation(evaluation, arguments.out, title=arguments.world)
    if not any(suite.figures for suite in evaluation.suites.values()):
        reasons = "; ".join(f"{what}: {why}" for suite in evaluation.suites.values() for what, why in suite.not_measured.items())
        raise ValueError(f"nothing was measured: {reasons}")
    return Report(figures=evaluation.to_dict(), text=_text(evaluation, page))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """The data that the suites are measured on: episodes, those that probes are fitted on, and what they are in words."""

    episodes: Episodes
    probed: Episodes | None
    data: list[str]


def _measured(world: World, arguments: Eval, paths: tuple[Path, ...]) -> _Measured:
    sources = [arguments.sources or held_out_of_run(path) for path in paths]
    episodes = open_episodes(world, paths, sources=sources, max_episodes=arguments.episodes, state_names=arguments.state_names)
    data = [f"{path} ({'sources that were held out' if kept else 'all sources'})" for path, kept in zip(paths, sources, strict=True)]
    return _Measured(episodes=episodes, probed=_probe_data(world, arguments, paths, sources), data=data)


def _control_plan(arguments: Eval) -> ControlPlan:
    return ControlPlan(
        environments=arguments.environments,
        planners=arguments.planners,
        frame_evaluations=arguments.budgets,
        protocols=arguments.protocols,
        offsets=arguments.offsets,
        num_pairs=arguments.pairs,
        num_seeds=arguments.seeds,
        seed=arguments.seed,
        horizon=arguments.horizon,
        execute=arguments.execute,
        prompt_frames=arguments.prompt_frames,
        batch_size=arguments.batch_size,
        num_together=arguments.together,
        in_simulator=arguments.in_simulator,
        num_lessons=arguments.lessons,
        lessons_from=arguments.lessons_from,
        num_policy_updates=arguments.policy_updates,
    )


def _of_domain(world: World, domain: str | None, paths: tuple[Path, ...]) -> World:
    """The world as it is in the domain that is measured: as told, else as the data says."""
    spaces = world.config.action_spaces
    if domain is None and len(spaces) > 1:
        found = {domain_of(path, world.config.tokenizer.image_size) for path in paths}
        domain = found.pop() if len(found) == 1 else None
        if domain not in spaces:
            raise ValueError(f"the data does not say which of the world's domains it is of; choose with --domain: {', '.join(spaces)}")
    return world if domain is None else world.with_action_space(domain)


def _of_environment(world: World, arguments: Eval) -> World:
    """The world as it is in the environment that it acts in, where it knows several domains: as told, else by the environment's name."""
    spaces, domain = world.config.action_spaces, arguments.domain
    if domain is None and len(spaces) > 1:
        found = set(arguments.environments) & spaces.keys()
        if len(arguments.environments) != 1 or not found:
            raise ValueError(
                f"this world knows {len(spaces)} domains, so measure one environment at a time, and say with --domain which of them it is; "
                f"{', '.join(sorted(spaces))}"
            )
        domain = found.pop()
    return world if domain is None else world.with_action_space(domain)


def _data_of_run(world: str, domain: str | None) -> tuple[Path, ...]:
    """The data of the training run that the world is from, if it is there: what it held out, or was not trained on."""
    for folder in (Path(world), Path(world).parent):
        if held_out_of_run(folder / "data") is not None:
            return (folder / "data",)
        found = {path.name: path for path in sorted((folder / "data").glob("*")) if list(path.glob("*/store.json"))}
        if found and domain is None and len(found) > 1:
            raise ValueError(f"{world} is a run of several domains; choose one with --domain: {', '.join(found)}")
        if found and (domain is None or domain in found):
            paths = held_out_of_domain(found[domain or next(iter(found))])
            if paths:
                return paths
    raise FileNotFoundError(
        f"{world} is no run of `worldline train` that still has its data; give --data with a store or a LeRobotDataset that the world has "
        "not seen"
    )


def _probe_data(world: World, arguments: Eval, paths: tuple[Path, ...], sources: Sequence[tuple[str, ...] | None]) -> Episodes | None:
    """What linear probes are fitted on: as told, else what the run was trained on, else nothing but the measured episodes themselves."""
    most = 2 * arguments.episodes
    if arguments.probe_data:
        return open_episodes(world, arguments.probe_data, max_episodes=most, state_names=arguments.state_names)
    if arguments.data or sources[0] is None or (arguments.suite and "physics" not in arguments.suite):
        return None
    kept = set(sources[0])
    training = [source for source in EpisodeStore.open(paths[0]).sources if source not in kept]
    return open_episodes(world, paths, sources=[training], max_episodes=most, state_names=arguments.state_names) if training else None


def _command(arguments: Eval, suite: SuiteName) -> str:
    words = ["worldline", "eval", arguments.world]
    for name in Eval.__dataclass_fields__:
        value = getattr(arguments, name)
        if name in _NOT_IN_COMMAND or value == getattr(_DEFAULTS, name):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join([*words, "--suite", suite, "--out", str(arguments.out)])


def _text(evaluation: Evaluation, page: Path) -> str:
    lines = [lead(evaluation.about)]
    for name, suite in evaluation.suites.items():
        lines += ["", name, ""]
        if suite.figures:
            rows = table(("", "value", "95 % interval", "windows/episodes"), [_row(figure) for figure in suite.figures]).splitlines()
            floors = ["floors", *map(floors_text, suite.figures)]
            lines += [f"{row}  {floor}".rstrip() for row, floor in zip(rows, floors, strict=True)]
        lines += [f"not measured: {what}: {why}" for what, why in suite.not_measured.items()]
        lines.append(f"again: {evaluation.commands[name]}")
    return "\n".join([*lines, "", f"wrote {page} and {page.parent / 'figures.json'}"])


def _row(figure: Figure) -> tuple[str, ...]:
    count = f"{figure.sample.num_windows}/{figure.sample.num_episodes}" if figure.sample.num_windows else ""
    return figure.name, value_text(figure), interval_text(figure), count
