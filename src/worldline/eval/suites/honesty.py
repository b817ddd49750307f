"""Suite `honesty`: do the other figures mean what they say.

Are actions heeded; does a batch change a row; does a seed change the verdict; how do errors and image statistics drift; do few denoising
steps give what many give; and does the spread of samples say how far off they are.

May import: eval.metrics, eval.suites.episodes, eval.suites.figures, eval.suites.video. Refuses to know: which world it is.

Shapes: M samples, B windows, P prompt frames, T predicted frames.
"""

import torch
from torch import Tensor

from worldline.eval.metrics import copy_last
from worldline.eval.suites.episodes import Episodes, EvalPlan, first_rows, roll
from worldline.eval.suites.figures import Figure, Film, Line, Sample, Suite, pooled
from worldline.eval.suites.video import gain, squared_error
from worldline.eval.video import Windows
from worldline.world import World

MOST_FRAMES = 16
LONG_PROMPT = 16
NUM_STEPS = (1, 2, 4, 8)
STATISTICS = ("brightness", "contrast", "edges", "motion")

_LAST = 16  # frames at the end of a long rollout that are judged


def measure_honesty(world: World, episodes: Episodes, plan: EvalPlan) -> Suite:
    """Measure all of it, on windows of at most 16 predicted frames, and on long rollouts that need no truth."""
    num_frames = min(MOST_FRAMES, sorted(episodes.lengths())[len(episodes) // 2] - plan.prompt_frames)
    if num_frames < 2:
        return Suite(
            name="honesty", not_measured={"honesty": f"most episodes are shorter than a prompt of {plan.prompt_frames} and 2 frames"}
        )
    places = episodes.places(plan.prompt_frames + num_frames, plan.num_windows, seed=plan.seed)
    windows = episodes.cut(places, plan.prompt_frames, num_frames)
    rolled = {seed: roll(world, windows, seed=seed, batch_size=plan.batch_size)[0] for seed in plan.seeds}
    error = torch.stack([squared_error(frames, windows.future) for frames in rolled.values()])
    not_measured: dict[str, str] = {}
    figures = [*_shuffled(world, windows, error, plan, not_measured), _batches(world, windows, plan)]
    figures += [*_seeds(windows, error, plan, not_measured), *_growth(windows, error.mean(0), plan)]
    more, step_line = _steps(world, windows, plan, not_measured)
    figures += [*more, *_spread(world, windows, plan)]
    long_figures, long_lines, films = _long(world, episodes, plan, not_measured)
    return Suite(
        name="honesty",
        figures=(*figures, *long_figures),
        lines=(_growth_line(windows, error.mean((0, 1))), *step_line, *long_lines),
        films=films,
        not_measured=not_measured,
    )


def _count(windows: Windows, seeds: tuple[int, ...]) -> Sample:
    return Sample(num_windows=len(windows), num_episodes=windows.num_episodes, seeds=seeds)


def _copy_error(windows: Windows) -> Tensor:
    return squared_error(copy_last(windows.prompt, windows.future.shape[1]), windows.future)


def _shuffled(world: World, windows: Windows, error: Tensor, plan: EvalPlan, not_measured: dict[str, str]) -> list[Figure]:
    """Error under another window's actions over that under the true ones; the noise is the same."""
    name = "shuffled-action ratio"
    if world.action_spec is None or windows.actions is None:
        not_measured[name] = "the world has no actions" if world.action_spec is None else "not every episode has actions"
        return []
    if windows.num_episodes < 2:
        not_measured[name] = "needs windows of two episodes or more"
        return []
    seed = plan.seeds[0]
    wrong = squared_error(roll(world, windows, seed=seed, batch_size=plan.batch_size, shuffled=True)[0], windows.future)
    pair = torch.stack([wrong.mean(1), error[0].mean(1), wrong[:, -1], error[0, :, -1]], dim=1)
    results = pooled(lambda means: means[..., [0, 2]] / means[..., [1, 3]], pair, windows.clusters)
    floor, count = {"a world that ignores actions": 1.0}, _count(windows, (seed,))
    frames = windows.future.shape[1]
    labels = (f"{name}, mean of {frames} frames", f"{name} at frame {frames}")
    return [
        Figure(name=label, value=value, interval=interval, floors=floor, sample=count)
        for label, (value, interval) in zip(labels, results, strict=True)
    ]


def _batches(world: World, windows: Windows, plan: EvalPlan) -> Figure:
    """The largest difference of a pixel between batches of one row, of three, and of all."""
    few = first_rows(windows, min(8, len(windows)))
    num_frames = min(4, few.future.shape[1])
    whole, *parts = (roll(world, few, seed=plan.seed, batch_size=size, num_frames=num_frames) for size in (len(few), 3, 1))
    worst = max(float((part - whole).abs().max()) for part in parts)
    note = (
        f"largest difference of any pixel, between batches of 1, 3 and {len(few)} rows, over {num_frames} frames; 1 is one step of 8 bits"
    )
    return Figure(name="batch invariance", value=worst * 255, unit="/ 255", note=note, sample=_count(few, (plan.seed,)))


def _seeds(windows: Windows, error: Tensor, plan: EvalPlan, not_measured: dict[str, str]) -> list[Figure]:
    """Standard deviation between seeds of the mean gain."""
    if len(error) < 2:
        not_measured["seed spread"] = "needs two noise seeds or more"
        return []
    floor = _copy_error(windows).mean(0)
    gains = gain(error.mean(1), floor).mean(1)
    note = "mean gain of each seed: " + ", ".join(f"{value:+.2f}" for value in gains.tolist()) + " dB"
    name = f"seed spread of the mean gain of {error.shape[2]} frames"
    return [Figure(name=name, value=float(gains.std()), unit="dB", note=note, sample=_count(windows, plan.seeds))]


def _growth(windows: Windows, error: Tensor, plan: EvalPlan) -> list[Figure]:
    """The power of time that squared errors grow with, by least squares on logarithms."""

    def exponent(means: Tensor) -> Tensor:
        time = torch.arange(1, means.shape[-1] + 1, dtype=means.dtype).log()
        time = time - time.mean()
        return (means.clamp_min(1e-12).log() * time).sum(-1) / time.square().sum()

    ((value, interval),) = pooled(exponent, error, windows.clusters)
    floor = {"copy last frame": float(exponent(_copy_error(windows).double().mean(0)))}
    note = "squared error grows as the frame number to this power; 1 is linear"
    name = f"error growth exponent over {error.shape[1]} frames"
    return [Figure(name=name, value=value, interval=interval, floors=floor, note=note, sample=_count(windows, plan.seeds))]


def _growth_line(windows: Windows, error: Tensor) -> Line:
    series = {"world": error.tolist(), "copy last frame": _copy_error(windows).mean(0).tolist()}
    return Line(title="Error growth", series=series, x=list(range(1, len(error) + 1)), x_label="predicted frame", y_label="squared error")


def _steps(world: World, windows: Windows, plan: EvalPlan, not_measured: dict[str, str]) -> tuple[list[Figure], list[Line]]:
    """Frames drawn in K steps: their gain, and how far they are from those drawn in the most steps, with the same noise."""
    most = world.config.dynamics.max_steps
    counts = [steps for steps in NUM_STEPS if steps <= most]
    not_measured |= {f"K = {steps}": f"the world draws in at most {most} steps" for steps in NUM_STEPS if steps > most}
    few = first_rows(windows, min(32, len(windows)))
    copy = _copy_error(few)
    rolled = {k: roll(world.with_sampling(k), few, seed=plan.seed, batch_size=plan.batch_size)[0] for k in counts}
    finest = rolled[counts[-1]]
    another = roll(world.with_sampling(counts[-1]), few, seed=plan.seed + 1, batch_size=plan.batch_size)[0]
    floor = {"another seed": float(squared_error(another, finest).mean() / copy.mean())}
    figures, gains = [], {}
    for steps, frames in rolled.items():
        error = squared_error(frames, few.future)
        apart = squared_error(frames, finest).mean(1, keepdim=True)
        ((value, interval),) = pooled(lambda means: gain(*means.chunk(2, -1)).mean(-1), torch.cat([error, copy], dim=1), few.clusters)
        gains[steps] = value
        count = _count(few, (plan.seed,))
        name = f"gain over copy last frame at K = {steps}"
        figures.append(Figure(name=name, value=value, interval=interval, unit="dB", floors={"copy last frame": 0.0}, sample=count))
        if steps < counts[-1]:
            pair = torch.cat([apart, copy.mean(1, keepdim=True)], dim=1)
            ((value, interval),) = pooled(lambda means: means[..., 0] / means[..., 1], pair, few.clusters)
            note = f"squared difference to K = {counts[-1]} with the same noise, over the error of copying the last frame"
            name = f"self-consistency of K = {steps}"
            figures.append(Figure(name=name, value=value, interval=interval, floors=floor, note=note, sample=count))
    line = Line(
        title="Gain against denoising steps",
        series={"gain": list(gains.values())},
        x=list(gains),
        x_label="steps per frame, K",
        y_label="mean gain over copy last frame, dB",
    )
    return figures, [line] if len(gains) > 1 else []


def _spread(world: World, windows: Windows, plan: EvalPlan) -> list[Figure]:
    """Does the spread of samples match the error of their mean (Fortin et al., 2014), and is it larger where that is?"""
    few = first_rows(windows, min(16, len(windows)))
    samples = roll(world, few, seed=plan.seed, batch_size=max(1, plan.batch_size // plan.num_samples), samples=plan.num_samples)
    mean = samples.mean(0)
    # The mean of M samples is off by 1 / M of the variance even if they are drawn from the truth.
    spread = samples.var(0).mean((-3, -2, -1)) * (plan.num_samples + 1) / plan.num_samples
    skill = squared_error(mean, few.future)
    pair = torch.stack([spread.mean(1), skill.mean(1)], dim=1)
    ((ratio, interval),) = pooled(lambda means: (means[..., 0] / means[..., 1]).sqrt(), pair, few.clusters)
    count = _count(few, (plan.seed,))
    note = f"{plan.num_samples} samples; 1: as uncertain as it is wrong; below 1: too sure"
    first = Figure(name="spread over skill", value=ratio, interval=interval, floors={"one certain future": 0.0}, note=note, sample=count)
    x, y = (values.clamp_min(1e-12).log().flatten().double() for values in (spread, skill))
    rows = torch.stack([x, y, x * x, y * y, x * y], dim=1)
    clusters = few.clusters.repeat_interleave(spread.shape[1])
    ((r, interval),) = pooled(correlation, rows, clusters)
    note = "correlation of log spread with log squared error of the mean, over windows and frames"
    second = Figure(
        name="spread foretells error", value=r, interval=interval, floors={"spread that says nothing": 0.0}, note=note, sample=count
    )
    return [first, second]


def correlation(means: Tensor) -> Tensor:
    """Pearson's r (...,) from the means (..., 5) of x, y, x^2, y^2 and xy."""
    x, y, xx, yy, xy = means.unbind(-1)
    return (xy - x * y) / ((xx - x * x) * (yy - y * y)).clamp_min(1e-24).sqrt()


def image_statistics(frames: Tensor) -> Tensor:
    """Brightness, contrast, edges and motion of each frame but the first of videos (B, T, 3, H, W): (B, T - 1, 4)."""
    later = frames[:, 1:]
    across = (later[..., 1:] - later[..., :-1]).abs().mean((-3, -2, -1))
    down = (later[..., 1:, :] - later[..., :-1, :]).abs().mean((-3, -2, -1))
    motion = (later - frames[:, :-1]).abs().mean((-3, -2, -1))
    return torch.stack([later.mean((-3, -2, -1)), later.std((-3, -2, -1)), (across + down) / 2, motion], dim=-1)


def collapsed(statistics: Tensor, real: Tensor) -> Tensor:
    """(B,) bool: rollouts whose last frames look like nothing real.

    Contrast or edges, averaged over the last 16 frames, are less than half of what 99 % of the real frames have, or more than twice of what
    99 % stay below; or a value is not finite.

    Args:
        statistics: (B, T, 4) of the rollouts, as in `image_statistics`.
        real: (N, 4) of real frames.
    """
    low, high = torch.quantile(real[:, 1:3].double(), torch.tensor([0.01, 0.99], dtype=torch.float64), dim=0)
    last = statistics[:, -_LAST:, 1:3].mean(1)
    return ~statistics.isfinite().all(-1).all(-1) | (last < low / 2).any(-1) | (last > 2 * high).any(-1)


def _long(
    world: World, episodes: Episodes, plan: EvalPlan, not_measured: dict[str, str]
) -> tuple[list[Figure], list[Line], tuple[Film, ...]]:
    """Rollouts of 128 frames: nothing is known of what would be true, but something of what real pictures are like."""
    name = f"{plan.long_frames}-frame rollouts"
    prompt_frames = min(LONG_PROMPT, sorted(episodes.lengths())[len(episodes) // 2])
    places = episodes.places(prompt_frames, plan.num_long, seed=plan.seed)
    if prompt_frames < 2 or len(places) < 2:
        not_measured[name] = "needs two episodes of two frames or more"
        return [], [], ()
    windows = episodes.cut(places, prompt_frames, 0)
    if windows.actions is not None:
        actions = torch.stack([episodes.actions(place, prompt_frames + plan.long_frames - 1) for place in places])
        windows = Windows(prompt=windows.prompt, future=windows.future, actions=actions, episodes=windows.episodes)
    statistics, shown = [], []
    for start in range(0, len(windows), plan.batch_size):
        rows = slice(start, start + plan.batch_size)
        acted = None if windows.actions is None else windows.actions[rows]
        part = Windows(prompt=windows.prompt[rows], future=windows.future[rows], actions=acted)
        rolled = roll(world, part, seed=plan.seed, batch_size=plan.batch_size, num_frames=plan.long_frames)[0]
        statistics.append(image_statistics(torch.cat([part.prompt[:, -1:], rolled], dim=1)))
        shown += [rolled[0]] if start == 0 else []
    imagined, real = torch.cat(statistics), image_statistics(windows.prompt)
    lost = collapsed(imagined, real.flatten(0, 1))
    count = _count(windows, (plan.seed,))
    beyond = "" if windows.actions is None else "; where an episode ends its actions are gone through again"
    note = f"of {len(windows)}, from a prompt of {prompt_frames} frames{beyond}"
    figures = [Figure(name=f"collapsed {name}", value=int(lost.sum()), note=note, sample=count)]
    pair = torch.cat([imagined[:, -_LAST:].mean(1), real.mean(1)], dim=1)
    results = pooled(lambda means: means[..., :4] / means[..., 4:], pair, windows.clusters)
    note = f"mean of the last {min(_LAST, plan.long_frames)} frames over that of the prompts; 1 is real"
    for statistic, (value, interval) in zip(STATISTICS, results, strict=True):
        label = f"{statistic} of {name} over real"
        floors = {"a still picture": 0.0 if statistic == "motion" else 1.0}
        figures.append(
            Figure(
                name=label,
                value=value,
                interval=interval,
                floors=floors,
                note=note,
                sample=count,
            )
        )
    ratio = imagined.mean(0) / real.mean((0, 1))
    line = Line(
        title=f"Image statistics over {plan.long_frames} frames",
        series={statistic: ratio[:, index].tolist() for index, statistic in enumerate(STATISTICS)},
        x=list(range(1, plan.long_frames + 1)),
        x_label="predicted frame",
        y_label="imagined over real",
    )
    film = Film(title=f"A {plan.long_frames}-frame rollout", panels={"imagined": shown[0]}, rate_hz=world.config.rate_hz or 5.0)
    return figures, [line], (film,)
