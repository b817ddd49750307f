"""Suite `video`: how good are the pictures, 1 to 64 frames after a prompt, beside what needs no world.

Errors are averaged over windows and seeds before they become decibels. What moves is also judged apart: a pixel moves if it differs from
the prompt's last frame by more than 0.06.

May import: eval.metrics, eval.filters, eval.suites.episodes, eval.suites.figures. Refuses to know: which world it is.

Shapes: B windows, T predicted frames, K principal components.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worldline.eval.filters import filter_distance, frechet_distance, moments, principal_components, video_features
from worldline.eval.metrics import copy_last, linear_extrapolation, psnr_of_error, random_frames, ssim
from worldline.eval.suites.episodes import Episodes, EvalPlan, roll
from worldline.eval.suites.figures import Figure, Film, Line, Sample, Suite, pooled
from worldline.eval.video import Windows
from worldline.world import World

HORIZONS = (1, 4, 16, 32, 64)
MOVED = 0.06

_COPY = "copy last frame"
_DISTANCE = "a fixed bank of oriented filters; not LPIPS"
_FRECHET = "Gaussians over 16 principal components of oriented-filter statistics, in units of the true videos' variance; not FVD"


def measure_video(world: World, episodes: Episodes, plan: EvalPlan) -> Suite:
    """Measure rollouts on usual episodes, and their gain on unusual ones where there are some."""
    unusual = episodes.is_unusual
    usual = [index for index, odd in enumerate(unusual) if not odd] or list(range(len(episodes)))
    horizons, not_measured = _horizons(episodes, plan.prompt_frames, usual)
    if not horizons:
        return Suite(name="video", not_measured=not_measured)
    windows = _windows(episodes, plan, horizons[-1], usual)
    rolled = [roll(world, windows, seed=seed, batch_size=plan.batch_size)[0] for seed in plan.seeds]
    floors = _floors(windows)
    figures = [
        *_errors(windows, rolled, floors, horizons, plan),
        *_likeness(windows, rolled, floors, horizons, plan),
        *_frechet(windows, rolled, floors, horizons, plan),
    ]
    odd = [index for index, is_odd in enumerate(unusual) if is_odd]
    if odd and len(odd) < len(episodes):
        few, _ = _horizons(episodes, plan.prompt_frames, odd)
        if few:
            strange = _windows(episodes, plan, few[-1], odd)
            seen = [roll(world, strange, seed=seed, batch_size=plan.batch_size)[0] for seed in plan.seeds]
            gains = [f for f in _errors(strange, seen, _floors(strange), few, plan) if f.name.startswith("gain")]
            figures += [replace(figure, name=f"out of distribution: {figure.name}") for figure in gains]
    elif not odd:
        not_measured["out of distribution"] = "no episode's facts say that it is of the split `ood`"
    return Suite(
        name="video",
        figures=tuple(figures),
        lines=_lines(windows, rolled, floors),
        films=_films(windows, rolled[0], world.config.rate_hz or 5.0),
        not_measured=not_measured,
    )


def _horizons(episodes: Episodes, prompt_frames: int, among: Sequence[int]) -> tuple[list[int], dict[str, str]]:
    """Those that at least half of the episodes are long enough for, and why not the others."""
    lengths = sorted((episodes.lengths()[index] for index in among), reverse=True)
    typical = lengths[(len(lengths) - 1) // 2]
    horizons = [horizon for horizon in HORIZONS if prompt_frames + horizon <= typical]
    why = f"needs episodes of {prompt_frames} + {{}} frames; half of the {len(lengths)} have at most {typical}"
    return horizons, {f"{horizon} frames": why.format(horizon) for horizon in HORIZONS if horizon not in horizons}


def _windows(episodes: Episodes, plan: EvalPlan, num_frames: int, among: Sequence[int]) -> Windows:
    places = episodes.places(plan.prompt_frames + num_frames, plan.num_windows, seed=plan.seed, among=among)
    return episodes.cut(places, plan.prompt_frames, num_frames)


def _floors(windows: Windows) -> dict[str, Tensor]:
    num_frames = windows.future.shape[1]
    floors = {_COPY: copy_last(windows.prompt, num_frames)}
    if windows.prompt.shape[1] > 1:
        floors["linear extrapolation"] = linear_extrapolation(windows.prompt, num_frames)
    if windows.num_episodes > 1:
        floors["random frame"] = random_frames(windows.prompt, num_frames)
    return floors


def squared_error(predicted: Tensor, true: Tensor) -> Tensor:
    """(B, T) of videos (B, T, 3, H, W)."""
    return (predicted - true).square().mean((-3, -2, -1))


def gain(error: Tensor, floor: Tensor) -> Tensor:
    """Decibels by which an error is below a floor's: 0 for an equal one, infinite for none."""
    return 10 * (floor / error).log10()


def moving(windows: Windows) -> Tensor:
    """(B, T, 1, H, W) float: where the future differs from the prompt's last frame."""
    return ((windows.future - windows.prompt[:, -1:]).abs().amax(2, keepdim=True) > MOVED).float()


def _errors(windows: Windows, rolled: Sequence[Tensor], floors: dict[str, Tensor], horizons: list[int], plan: EvalPlan) -> list[Figure]:
    """PSNR, gain, and the gain where something moves, at each horizon."""
    at = torch.tensor(horizons) - 1
    error = torch.stack([squared_error(frames, windows.future) for frames in rolled]).mean(0)
    others = {name: squared_error(frames, windows.future) for name, frames in floors.items()}
    moved = moving(windows)
    weight = moved.mean((2, 3, 4))
    masked = torch.stack([((frames - windows.future).square() * moved).mean((2, 3, 4)) for frames in rolled]).mean(0)
    masked_copy = ((floors[_COPY] - windows.future).square() * moved).mean((2, 3, 4))
    count = Sample(num_windows=len(windows), num_episodes=windows.num_episodes, seeds=plan.seeds)
    clusters = windows.clusters
    psnr = pooled(psnr_of_error, error[:, at], clusters)
    pair = torch.cat([error[:, at], others[_COPY][:, at]], dim=1)
    gains = pooled(lambda means: gain(*means.chunk(2, -1)), pair, clusters)
    pair = torch.cat([masked[:, at], masked_copy[:, at]], dim=1)
    moving_gains = pooled(lambda means: gain(*means.chunk(2, -1)), pair, clusters)
    figures = []
    for index, horizon in enumerate(horizons):
        bar = {name: float(psnr_of_error(values[:, horizon - 1].mean())) for name, values in others.items()}
        figures.append(_figure(f"PSNR at frame {horizon}", psnr[index], count, unit="dB", floors=bar))
        figures.append(_figure(f"gain over copy last frame at frame {horizon}", gains[index], count, unit="dB", floors={_COPY: 0.0}))
        share = float(weight[:, horizon - 1].mean())
        note = f"{share:.1%} of the pixels move"
        name = f"gain where pixels move at frame {horizon}"
        figures.append(_figure(name, moving_gains[index], count, unit="dB", floors={_COPY: 0.0}, note=note))
    means = torch.cat([error, others[_COPY]], dim=1)
    (whole,) = pooled(lambda values: gain(*values.chunk(2, -1)).mean(-1), means, clusters)
    figures.append(_figure(f"gain over copy last frame, mean of {horizons[-1]} frames", whole, count, unit="dB", floors={_COPY: 0.0}))
    return figures


def _likeness(windows: Windows, rolled: Sequence[Tensor], floors: dict[str, Tensor], horizons: list[int], plan: EvalPlan) -> list[Figure]:
    """SSIM and the filter distance at each horizon."""
    at = torch.tensor(horizons) - 1
    true = windows.future[:, at]
    measures: list[tuple[str, Callable[[Tensor, Tensor], Tensor], str]] = [("filter distance", filter_distance, _DISTANCE)]
    if min(true.shape[-2:]) >= 11:
        measures.insert(0, ("SSIM", ssim, ""))
    count = Sample(num_windows=len(windows), num_episodes=windows.num_episodes, seeds=plan.seeds)
    figures = []
    for name, function, note in measures:
        values = torch.stack([function(frames[:, at], true) for frames in rolled]).mean(0)
        results = pooled(lambda means: means, values, windows.clusters)
        bars = {floor: function(frames[:, at], true).mean(0) for floor, frames in floors.items()}
        for index, horizon in enumerate(horizons):
            bar = {floor: float(value[index]) for floor, value in bars.items()}
            figures.append(_figure(f"{name} at frame {horizon}", results[index], count, floors=bar, note=note))
    return figures


def _frechet(windows: Windows, rolled: Sequence[Tensor], floors: dict[str, Tensor], horizons: list[int], plan: EvalPlan) -> list[Figure]:
    """The Fréchet distance of the first frames of imagined and true videos."""
    last = windows.prompt[:, -1:]

    def features(frames: Tensor) -> Tensor:
        return video_features(torch.cat([last, frames], dim=1))

    true = features(windows.future)
    mean, directions = principal_components(true.flatten(0, 1))

    def points(values: Tensor) -> Tensor:
        return moments((values.double() - mean) @ directions)

    real, seen = points(true), torch.stack([points(features(frames)) for frames in rolled]).mean(0)
    bars = {name: points(features(frames)) for name, frames in floors.items()}
    variance = float((real[:, :, : directions.shape[1]] ** 2).sum(-1).mean())
    even = windows.clusters.unique(return_inverse=True)[1] % 2 == 0
    count = Sample(num_windows=len(windows), num_episodes=windows.num_episodes, seeds=plan.seeds)
    figures = []
    for horizon in horizons:
        true_means = real[:, :horizon].mean(1)
        values = torch.cat([true_means, seen[:, :horizon].mean(1)], dim=1)
        (result,) = pooled(lambda means: frechet_distance(*means.chunk(2, -1)) / variance, values, windows.clusters, unbiased=True)
        bar = {n: float(frechet_distance(true_means.mean(0), v[:, :horizon].mean((0, 1))) / variance) for n, v in bars.items()}
        if bool(even.any()) and not bool(even.all()):
            halves = true_means[even].mean(0), true_means[~even].mean(0)
            bar["true against true, half of the episodes each"] = float(frechet_distance(*halves) / variance)
        figures.append(_figure(f"filter Fréchet distance of the first {horizon} frames", result, count, floors=bar, note=_FRECHET))
    return figures


def _figure(
    name: str,
    result: tuple[float, tuple[float, float] | None],
    count: Sample,
    *,
    floors: dict[str, float],
    unit: str = "",
    note: str = "",
) -> Figure:
    value, interval = result
    return Figure(name=name, value=value, interval=interval, unit=unit, floors=floors, note=note, sample=count)


def _lines(windows: Windows, rolled: Sequence[Tensor], floors: dict[str, Tensor]) -> tuple[Line, ...]:
    error = torch.stack([squared_error(frames, windows.future) for frames in rolled]).mean((0, 1))
    series = {"world": psnr_of_error(error).tolist()}
    series |= {name: psnr_of_error(squared_error(frames, windows.future).mean(0)).tolist() for name, frames in floors.items()}
    x = list(range(1, len(error) + 1))
    return (Line(title="PSNR of each predicted frame", series=series, x=x, x_label="predicted frame", y_label="PSNR, dB"),)


def _films(windows: Windows, rolled: Tensor, rate_hz: float) -> tuple[Film, ...]:
    """Three windows: evenly spread from the best to the worst."""
    order = squared_error(rolled, windows.future).mean(1).argsort()
    films = []
    for title, row in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
        index = int(row)
        prompt = windows.prompt[index]
        true, imagined = torch.cat([prompt, windows.future[index]]), torch.cat([prompt, rolled[index]])
        error = torch.cat([torch.zeros_like(prompt), (rolled[index] - windows.future[index]).abs()])
        panels = {"truth": true, "imagined": imagined, "error": error}
        films.append(Film(title=f"{title} window by squared error", panels=panels, rate_hz=rate_hz))
    return tuple(films)
