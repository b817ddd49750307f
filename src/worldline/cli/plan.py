"""`worldline plan`: see `cli.arguments.Plan`.

May import: recipes.planning, control, data, eval, the other files of cli. Refuses to know: how a plan is found.
"""

from collections import Counter
from collections.abc import Sequence

import torch

from worldline.cli.arguments import Plan
from worldline.cli.load import load_world
from worldline.cli.report import Report, check_output, table
from worldline.control import CEMConfig, MPPIConfig, RandomShootingConfig
from worldline.data import write_video
from worldline.eval import bootstrap_interval
from worldline.eval.panels import Panel, draw_panels
from worldline.recipes.planning import PlannedEpisode, PlannerConfig, plan_pusht_episode, read_goal

_DOMAIN = "push"


def run(arguments: Plan) -> Report:
    """Plan one episode per scene, write the film, and say how near the goal is."""
    check_output(arguments.out, ".mp4")
    if arguments.episodes < 1:
        raise ValueError(f"--episodes is {arguments.episodes}; give at least 1")
    world = load_world(arguments.world, arguments.num_steps)
    world = world.with_action_space(_DOMAIN) if _DOMAIN in world.config.action_spaces else world
    goal = None if arguments.goal is None else read_goal(arguments.goal, size=world.config.tokenizer.image_size)
    episodes = [
        plan_pusht_episode(
            world,
            seed=seed,
            max_steps=arguments.steps,
            planner=_planner(arguments),
            replan_every=arguments.replan_every,
            goal=goal,
        )
        for seed in range(arguments.seed, arguments.seed + arguments.episodes)
    ]
    write_video(arguments.out, torch.cat([_film(episode) for episode in episodes]), rate_hz=episodes[0].rate_hz)
    figures = {
        "world": arguments.world,
        "planner": arguments.planner,
        "out": str(arguments.out),
        "image_size": episodes[0].goal.shape[-1],
        "episodes": [episode.to_dict() for episode in episodes],
        "mean_agent_px": {name: _mean_agent(episodes, name) for name in ("start", "end", "random_end")},
    }
    if len(episodes) > 1:
        ends = torch.tensor([episode.end.agent_px for episode in episodes])
        figures["mean_agent_end_interval_px"] = bootstrap_interval(ends)
    return Report(figures=figures, text=_text(arguments, episodes, figures))


def _planner(arguments: Plan) -> PlannerConfig:
    horizon, candidates = arguments.horizon, arguments.candidates
    if arguments.planner == "random":
        return RandomShootingConfig(horizon=horizon, num_candidates=candidates * arguments.iterations, correlation=0.5)
    if arguments.planner == "mppi":
        return MPPIConfig(
            horizon=horizon,
            num_candidates=candidates,
            num_iterations=arguments.iterations,
            temperature=0.05,
            noise_decay=1.0,
            correlation=0.5,
        )
    elites = max(2, candidates // 10)
    return CEMConfig(
        horizon=horizon,
        num_candidates=candidates,
        num_iterations=arguments.iterations,
        num_elites=elites,
        correlation=0.5,
        covariance="diagonal",  # a handful of refits is too few to learn another
    )


def _film(episode: PlannedEpisode) -> torch.Tensor:
    goal = episode.goal.expand_as(episode.frames)
    panels = (("real", episode.frames), ("imagined", episode.imagined), ("goal", goal))
    return draw_panels([Panel(label=label, frames=frames) for label, frames in panels])


def _mean_agent(episodes: Sequence[PlannedEpisode], name: str) -> float:
    return sum(getattr(episode, name).agent_px for episode in episodes) / len(episodes)


def _text(arguments: Plan, episodes: Sequence[PlannedEpisode], figures: dict) -> str:
    rows = []
    for episode in episodes:
        row = [str(episode.seed), f"{episode.start.agent_px:.1f}", f"{episode.end.agent_px:.1f}", f"{episode.random_end.agent_px:.1f}"]
        rows.append(row + [_or_unknown(value) for value in (episode.end.block_px, episode.end.block_degrees)])
    if len(episodes) > 1:
        means = figures["mean_agent_px"]
        rows.append(["mean", *(f"{means[name]:.1f}" for name in ("start", "end", "random_end")), "", ""])
    header = ["scene", "start", "end", "random policy", "block off, px", "block off, degrees"]
    first = episodes[0]
    lines = [
        f"Distance of the agent to the goal, in pixels of {first.goal.shape[-1]}; {arguments.planner}, {len(first.actions)} actions, "
        f"{first.num_plans} plans, {first.num_evaluations:,} imagined futures per scene:",
        "",
        table(header, rows),
    ]
    if "mean_agent_end_interval_px" in figures:
        low, high = figures["mean_agent_end_interval_px"]
        lines.append(f"mean end distance: 95 % interval {low:.1f} to {high:.1f} over {len(episodes)} scenes")
    statuses = sum((Counter(episode.statuses) for episode in episodes), Counter())
    if set(statuses) != {"ok"}:
        lines.append("how the plans ended: " + ", ".join(f"{count} {status}" for status, count in statuses.most_common()))
    return "\n".join([*lines, "", f"wrote {arguments.out}"])


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"
