"""The whole path once: film Push-T, train a `nano` world from scratch, measure it on episodes it never saw, plan in it, write a page.

Every step goes on where an earlier call with the same settings left off; a finished training is loaded, and only the measuring is repeated.

May import: everything below cli. Refuses to know: the command line, how the page looks.
"""

import hashlib
import json
import math
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from worldline.control import CEMConfig
from worldline.data import EpisodeStore, read_video
from worldline.dynamics import SamplerConfig, ShortcutConfig
from worldline.envs.pusht import agent_pixel_position, collect_pusht, find_agent, pusht_action_spec
from worldline.eval import Windows, evaluate_rollouts, imagine, sample_windows
from worldline.eval.gradients import check_gradients
from worldline.eval.predict import predict_video
from worldline.eval.tracking import track_agent
from worldline.recipes.demo_first_act import FirstAct, find_bundled, in_words, play_first_act
from worldline.recipes.demo_page import Evidence, Steered, write_page
from worldline.recipes.demo_verdicts import judge
from worldline.recipes.planning import PlannedEpisode, plan_pusht_episode
from worldline.recipes.push import FRAME_SKIP, push
from worldline.recipes.recipe import Recipe, train_world
from worldline.recipes.watch import watch_rollouts
from worldline.scale import write_whole
from worldline.world import World

RATE_HZ = 10 / FRAME_SKIP
PROMPT_FRAMES, NUM_FRAMES = 4, 8
TOKENIZER_SHARE = 0.35
"""Of the training budget; the dynamics get the rest."""
HELD_OUT_SHARE = 0.1
PLANNER = CEMConfig(horizon=5, num_candidates=64, num_iterations=3, num_elites=8, correlation=0.5, covariance="diagonal")
PLANNING_SAMPLING_STEPS = 1
"""Per imagined frame of a plan: half of what the measured rollouts take, since a plan imagines hundreds of futures."""
REPLAN_EVERY = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """What the demo does.

    Attributes:
        out: folder for the page, its videos, the figures, the data, the training runs and the finished world.
        video: a video of the user's own, which the world is prompted with as well.
        seed: of all randomness: scenes, weights, batches, windows, plans.
        minutes: training budget, tokenizer and dynamics together.
        num_workers: processes that film the simulator.
        num_threads: threads of torch.
        num_episodes: episodes to film; a tenth of them is held out.
        episode_frames: frames per episode, at 2.5 Hz.
        image_size: side of the frames, pixels.
        num_windows: held-out windows that the figures are measured on.
        num_plans: episodes that are planned in the simulator; the page shows the first.
        planning_steps: actions per planned episode.
        planner: how the plans are searched for.
        bundled: the world of the first act, by the name under which it comes with the package, or a folder; without one the demo begins
            with its second act, as it does if None.

    Raises:
        ValueError: if a number is out of its range.
    """

    out: Path = Path("demo")
    video: Path | None = None
    seed: int = 0
    minutes: float = 7.0
    num_workers: int = 2
    num_threads: int = 2
    num_episodes: int = 400
    episode_frames: int = 40
    image_size: int = 64
    num_windows: int = 64
    num_plans: int = 3
    planning_steps: int = 16
    planner: CEMConfig = PLANNER
    bundled: str | Path | None = "push"

    def __post_init__(self) -> None:
        least = {"num_workers": 1, "num_threads": 1, "num_episodes": 10, "episode_frames": 16, "image_size": 16}
        least |= {"num_windows": 3, "num_plans": 1, "planning_steps": PROMPT_FRAMES, "seed": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least {limit}")
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes is {self.minutes}; give a positive number of minutes to train for")

    @property
    def command(self) -> str:
        """The command line that does the same."""
        words = ["worldline", "demo", "--out", str(self.out), "--minutes", f"{self.minutes:g}", "--seed", str(self.seed)]
        return shlex.join(words + (["--video", str(self.video)] if self.video else []))


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoResult:
    """What the demo left behind.

    Attributes:
        page: `index.html`.
        world: folder of the finished world, for `World.load`.
        figures: everything measured, as written to `figures.json`.
    """

    page: Path
    world: Path
    figures: dict[str, Any]


def demo_recipe(minutes: float, *, image_size: int = 64) -> Recipe:
    """A `nano` world of Push-T that is trained in a few minutes on two CPU cores."""
    base = push(tokenizer_minutes=TOKENIZER_SHARE * minutes, dynamics_minutes=(1 - TOKENIZER_SHARE) * minutes)
    return replace(
        base,
        name="demo",
        size="nano",
        tokenizer=replace(base.tokenizer, image_size=image_size, width=128),
        shortcut=ShortcutConfig(metric_share=0.9, self_share=0.0),
        sampler=SamplerConfig(num_steps=1),
        max_steps=1,  # steps of other sizes cost more than they give in so short a run (docs/log.md)
        tokenizer_batch=(16, 4),
        dynamics_batch=(16, 12),
    )


def run_demo(config: DemoConfig) -> DemoResult:
    """Collect, train, measure, plan and write the page; says on stderr what it is doing.

    Raises:
        VideoError: if `config.video` cannot be read; it is looked at before anything else is done.
        ImportError: if `gym-pusht` is not installed.
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost, the same call goes on.
    """
    num_shown = 0 if config.video is None else _count_prompt_frames(config.video)
    with _threads(config.num_threads):
        first = _first_act(config)
        _say(1, f"collecting {config.num_episodes} episodes of Push-T")
        store = _collect(config)
        train_set, held_out = store.split_by_source(HELD_OUT_SHARE, seed=config.seed)
        _say(2, f"training on {train_set.num_frames:,} frames, {config.minutes:g} minutes in all")
        world = _train(config, train_set, held_out).cpu()  # wherever it was trained; what is left is small
        _say(3, f"measuring on {config.num_windows} windows of {len(held_out)} episodes that were never trained on")
        evidence, figures = _measure(config, world, held_out)
        _say(4, "checking gradients against finite differences")
        gradients = check_gradients(world, evidence.windows, seed=config.seed)
        _say(5, f"planning {config.num_plans} episodes in the real simulator")
        planned = [_plan(config, world, config.seed + index) for index in range(config.num_plans)]
        user = None
        if config.video is not None:
            user = predict_video(world, config.video, num_frames=NUM_FRAMES, prompt_frames=num_shown, seed=config.seed)
    _say(6, "writing the page")
    evidence = replace(evidence, planned=planned[0], user=user, first=first)
    figures |= {
        "gradients": gradients.to_dict(),
        "planning": [episode.to_dict() for episode in planned],
        "replan_every": REPLAN_EVERY,
        "planning_sampling_steps": PLANNING_SAMPLING_STEPS,
        "first_act": None if first is None else first.figures,
        "user_video": None if user is None or config.video is None else {"name": config.video.name, **user.to_dict()},
    }
    verdicts = judge(figures)
    figures["verdicts"] = [asdict(verdict) for verdict in verdicts]
    card = {verdict.question: f"{verdict.figure} (bar: {verdict.bar})" for verdict in verdicts}
    world = World(replace(world.config, figures=card), world.tokenizer, world.dynamics)
    world_folder = world.save_pretrained(config.out / "world")
    # Read back, so that the page and the caller see exactly what is in the file.
    text = json.dumps(figures, indent=1, allow_nan=False)
    write_whole(config.out / "figures.json", text + "\n")
    figures = json.loads(text)
    page = write_page(config.out, figures, evidence)
    _print(f"{sum(verdict.met for verdict in verdicts)} of {len(verdicts)} bars met; see {page}")
    return DemoResult(page=page, world=world_folder, figures=figures)


def _first_act(config: DemoConfig) -> FirstAct | None:
    """What a world that comes with the package does, in seconds; None if there is none."""
    world = find_bundled(config.bundled)
    if world is None:
        return None
    act = play_first_act(world, seed=config.seed)
    _print(f"first act, the world `{config.bundled}` that comes along: {in_words(act.figures)}")
    _print("second act, a world from nothing:")
    return act


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)


def _collect(config: DemoConfig) -> EpisodeStore:
    folder = config.out / "data" / f"seed{config.seed}_{config.num_episodes}x{config.episode_frames}_{config.image_size}px"
    if (folder / "store.json").is_file():
        return EpisodeStore.open(folder)
    clips = collect_pusht(
        config.num_episodes,
        num_frames=config.episode_frames,
        size=config.image_size,
        seed=config.seed,
        frame_skip=FRAME_SKIP,
        num_workers=config.num_workers,
    )
    shown = track(clips, "collecting", total=config.num_episodes, console=_console())
    return EpisodeStore.build(folder, shown, action_spec=pusht_action_spec())


def _train(config: DemoConfig, train_set: EpisodeStore, held_out: EpisodeStore) -> World:
    recipe = demo_recipe(config.minutes, image_size=config.image_size)
    watch = watch_rollouts(held_out, prompt_frames=PROMPT_FRAMES, num_frames=NUM_FRAMES, num_windows=16)
    return train_world(recipe, train_set, run_folder(config, recipe, train_set), watch=watch, seed=config.seed)


def run_folder(config: DemoConfig, recipe: Recipe, train_set: EpisodeStore) -> Path:
    """Where a training goes on: another seed, budget, recipe or data set is another run, and must not take up this one's weights."""
    digest = hashlib.sha256(f"{json.dumps(asdict(recipe), sort_keys=True)} {train_set.fingerprint}".encode()).hexdigest()[:8]
    return config.out / "run" / f"seed{config.seed}_{config.minutes:g}min_{digest}"


def _measure(config: DemoConfig, world: World, held_out: EpisodeStore) -> tuple[Evidence, dict[str, Any]]:
    windows = sample_windows(held_out, prompt_frames=PROMPT_FRAMES, num_frames=NUM_FRAMES, num_windows=config.num_windows, seed=config.seed)
    imagined = imagine(world, windows, seed=config.seed)
    agent = track_agent(windows, imagined)
    steered = _steer(world, windows, config.seed)
    figures = {
        "settings": asdict(config) | {name: _text(getattr(config, name)) for name in ("out", "video", "bundled")},
        "command": config.command,
        "world": {
            "num_parameters": sum(parameter.numel() for parameter in world.parameters()),
            "num_dynamics_parameters": sum(parameter.numel() for parameter in world.dynamics.parameters()),
            "sampling_steps": world.sampler.num_steps,
            "fingerprint": world.fingerprint(),
            **world.config.provenance,
        },
        "held_out_episodes": len(held_out),
        "rollouts": evaluate_rollouts(world, windows, seed=config.seed).to_dict(),
        "agent": agent.to_dict(),
        "steered": steered.to_dict(),
    }
    shuffled = imagine(world, _first(windows, 2), shuffled=True, seed=config.seed)
    return Evidence(windows=windows, imagined=imagined, shuffled=shuffled, steered=steered, rate_hz=RATE_HZ), figures


def _first(windows: Windows, count: int) -> Windows:
    actions = None if windows.actions is None else windows.actions[:count]
    return Windows(prompt=windows.prompt[:count], future=windows.future[:count], actions=actions)


@torch.no_grad()
def _steer(world: World, windows: Windows, seed: int) -> Steered:
    """One prompt, four futures: the agent is sent towards each corner."""
    assert windows.actions is not None
    assert world.action_spec is not None
    low, high = torch.tensor(world.action_spec.low), torch.tensor(world.action_spec.high)
    targets = low + (high - low) * torch.tensor([[0.15, 0.15], [0.85, 0.15], [0.15, 0.85], [0.85, 0.85]])
    state = world.prompt(windows.prompt[0], windows.actions[0, : PROMPT_FRAMES - 1])
    frames = world.decode(world.rollout(state, targets[:, None].expand(-1, NUM_FRAMES, -1), seed=seed))[0]
    pixels = agent_pixel_position(targets, frames.shape[-1])

    def distance(pictures: torch.Tensor) -> tuple[float | None, ...]:
        return tuple(x if math.isfinite(x) else None for x in (find_agent(pictures) - pixels).norm(dim=-1).tolist())

    return Steered(frames=frames, start_px=distance(windows.prompt[0, -1].expand(4, -1, -1, -1)), end_px=distance(frames[:, -1]))


def _plan(config: DemoConfig, world: World, seed: int) -> PlannedEpisode:
    return plan_pusht_episode(
        world.with_sampling(PLANNING_SAMPLING_STEPS),
        seed=seed,
        max_steps=config.planning_steps,
        planner=config.planner,
        replan_every=REPLAN_EVERY,
        prompt_frames=PROMPT_FRAMES,
    )


def _count_prompt_frames(video: Path) -> int:
    """Frames of the user's video to show: as many as of any other, or all of a shorter one. Reading them shows that it can be read."""
    return len(read_video(video, size=16, rate_hz=RATE_HZ, max_frames=PROMPT_FRAMES))


@contextmanager
def _threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _say(number: int, text: str) -> None:
    _print(f"{number}/6 {text}")


def _print(text: str) -> None:
    _console().print(text, highlight=False, markup=False, soft_wrap=True)


def _console() -> Console:
    return Console(file=sys.stderr)
