"""Suite `physics`: does the world know what is there and how it moves.

A linear probe reads the simulator's state off latents, true and imagined; objects come back from behind an occluder; balls keep the
velocity that mechanics gives them. What the data does not carry is not measured, and said so.

May import: eval.metrics, eval.probe, eval.suites.*. Refuses to know: which world it is.

Shapes: B windows, P prompt frames, T frames, S tokens, C channels, D components of a state.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worldline.eval.metrics import bootstrap_interval
from worldline.eval.probe import CrossProbe, Probe, best_probe, cross_probe
from worldline.eval.suites.episodes import Episodes, EvalPlan, roll
from worldline.eval.suites.figures import Figure, Sample, Suite, pooled
from worldline.eval.suites.honesty import correlation
from worldline.eval.suites.permanence import measure_permanence
from worldline.eval.suites.phyworld import measure_phyworld
from worldline.world import World

MAX_ROWS = 6000
AHEAD = 16

_MOST_LISTED = 24
_PIXEL_GRID = 8


def measure_physics(world: World, episodes: Episodes, plan: EvalPlan, *, probe_episodes: Episodes | None = None) -> Suite:
    """Measure whichever of the parts the data allows.

    Args:
        world: to measure.
        episodes: that it was not trained on.
        plan: how much.
        probe_episodes: that the linear probe is fitted on; they may be of the world's training. If None, other measured episodes.
    """
    probes = _probes(world, episodes, plan, probe_episodes)
    parts = [probes, measure_permanence(world, episodes, plan), measure_phyworld(world, episodes, plan)]
    return Suite(
        name="physics",
        figures=tuple(figure for part in parts for figure in part.figures),
        lines=tuple(line for part in parts for line in part.lines),
        films=tuple(film for part in parts for film in part.films),
        not_measured={name: why for part in parts for name, why in part.not_measured.items()},
    )


def probe_targets(states: Tensor, names: tuple[str, ...], rate_hz: float) -> tuple[Tensor, list[tuple[str, str]]]:
    """What a probe is to find, from states (T, D) of one episode: (T - 1, K) from the second frame on, and (name, kind) of each.

    Kinds are `position`, `angle` (as sine and cosine), `velocity` and `other`. Positions without a velocity among the components get one,
    from their last change.
    """
    columns, labels = [], []
    stems = {name.replace("_velocity", "") for name in names if "velocity" in name}
    for index, name in enumerate(names):
        values = states[1:, index]
        if "angular" in name or "velocity" in name or "speed" in name:
            columns, labels = [*columns, values], [*labels, (name, "velocity")]
        elif name.rsplit("_", 1)[-1] in ("angle", "tilt", "yaw", "heading"):
            columns, labels = [*columns, values.sin(), values.cos()], [*labels, (f"sin {name}", "angle"), (f"cos {name}", "angle")]
        elif name.rsplit("_", 1)[-1] in ("x", "y", "z"):
            columns, labels = [*columns, values], [*labels, (name, "position")]
            if name not in stems:
                change = (states[1:, index] - states[:-1, index]) * rate_hz
                columns, labels = [*columns, change], [*labels, (f"change of {name}", "velocity")]
        else:
            columns, labels = [*columns, values], [*labels, (name, "other")]
    return torch.stack(columns, dim=1), labels


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """Frames with what a probe sees and what it is to find: (N, F), (N, pixels), (N, K), (N,), and the K labels."""

    latents: Tensor
    pixels: Tensor
    targets: Tensor
    owners: Tensor
    labels: list[tuple[str, str]]


def _rows(world: World, episodes: Episodes, max_rows: int) -> _Rows:
    usable = [index for index, length in enumerate(episodes.lengths()) if length >= 2]
    latents, pixels, targets, owners = [], [], [], []
    labels: list[tuple[str, str]] = []
    for index in usable:
        count = min(episodes.lengths()[index], max(2, max_rows // len(usable) + 1))
        frames = episodes.frames((index, 0), count)
        latents.append(_pairs(encode(world, frames)))
        pixels.append(_pairs(F.adaptive_avg_pool2d(frames, _PIXEL_GRID).flatten(1)))
        states = episodes.states((index, 0), count).double()
        values, labels = probe_targets(states, episodes.state_names, world.config.rate_hz or 1.0)
        targets.append(values)
        owners += [index] * (count - 1)
    return _Rows(
        latents=torch.cat(latents), pixels=torch.cat(pixels), targets=torch.cat(targets), owners=torch.tensor(owners), labels=labels
    )


def _why_no_probe(episodes: Episodes) -> str | None:
    if any(clip.states is None for clip in episodes.clips):
        return "not every episode has ground-truth states"
    if not episodes.state_names:
        return "the components of the states have no names; give them with --state-names"
    num_usable = sum(length >= 2 for length in episodes.lengths())
    return None if num_usable >= 10 else f"needs 10 episodes of two frames or more, the data has {num_usable}"


def _probes(world: World, episodes: Episodes, plan: EvalPlan, fitted_on: Episodes | None) -> Suite:
    name = "linear probe"
    why = _why_no_probe(episodes) or (None if fitted_on is None else _why_no_probe(fitted_on))
    if why:
        return Suite(name=name, not_measured={name: why})
    rows = _rows(world, episodes, MAX_ROWS)
    varies = rows.targets.std(0) > 1e-6 * (1 + rows.targets.abs().mean(0))
    pairs = list(zip(rows.labels, varies.tolist(), strict=True))
    not_measured = {f"probe of {label}": "does not vary" for (label, _), one in pairs if not one}
    truth, labels = rows.targets[:, varies], [label for label, one in pairs if one]
    if not labels:
        return Suite(name=name, not_measured={name: "nothing in the states varies"})
    if fitted_on is None:
        found, floor = (cross_probe(features, truth, rows.owners) for features in (rows.latents, rows.pixels))
        basis = f"fitted on four fifths of {len(rows.owners.unique())} episodes, five times"
    else:
        base = _rows(world, fitted_on, 4 * MAX_ROWS)
        found, floor = (
            _applied(best_probe(known, base.targets[:, varies], base.owners), features)
            for known, features in ((base.latents, rows.latents), (base.pixels, rows.pixels))
        )
        basis = f"fitted on {len(base.owners):,} frames of {len(base.owners.unique())} other episodes"
    figures = _correlations(found, floor, truth, rows.owners, labels, basis=basis)
    folds = dict(zip(rows.owners.tolist(), found.folds.tolist(), strict=True))
    ahead, more = _imagined(world, episodes, plan, found, labels=labels, folds=folds)
    return Suite(name=name, figures=(*figures, *ahead), not_measured=not_measured | more)


def _applied(probe: Probe, features: Tensor) -> CrossProbe:
    """One probe for all rows."""
    return CrossProbe(probes=(probe,), folds=torch.zeros(len(features), dtype=torch.long), predicted=probe(features))


@torch.no_grad()
def encode(world: World, frames: Tensor) -> Tensor:
    """Latents (T, S * C) of one video (T, 3, H, W), on the CPU."""
    like = world.tokenizer.encoder_position
    return world.tokenizer.encode(frames[None].to(device=like.device, dtype=like.dtype))[0].flatten(1).float().cpu()


def _pairs(features: Tensor) -> Tensor:
    """(T - 1, 2 F): each frame's beside those of the frame before, so that velocities can be seen."""
    return torch.cat([features[:-1], features[1:]], dim=1)


def _correlations(
    found: CrossProbe, floor: CrossProbe, truth: Tensor, clusters: Tensor, labels: list[tuple[str, str]], *, basis: str
) -> list[Figure]:
    count = Sample(num_windows=len(truth), num_episodes=len(clusters.unique()))

    def rows(predicted: Tensor, columns: list[int]) -> Tensor:
        x, y = (values[:, columns] / truth[:, columns].std(0) for values in (predicted - truth.mean(0), truth - truth.mean(0)))
        return torch.stack([x, y, x * x, y * y, x * y], dim=-1)

    figures = []
    for kind in ("position", "angle", "velocity", "other"):
        columns = [index for index, (_, one) in enumerate(labels) if one == kind]
        if not columns:
            continue
        moments, floor_moments = rows(found.predicted, columns), rows(floor.predicted, columns)
        bars = correlation(floor_moments.mean(0))
        note = f"Pearson's r on episodes that the probe has not seen; latents of two frames; {basis}"
        ((mean, interval),) = pooled(lambda means: correlation(means).mean(-1), moments, clusters)
        floors = {f"probe of {_PIXEL_GRID} x {_PIXEL_GRID} pixels": float(bars.mean()), "chance": 0.0}
        title = f"probe r, mean of {len(columns)} {kind} components"
        figures.append(Figure(name=title, value=mean, interval=interval, floors=floors, note=note, sample=count))
        results = pooled(correlation, moments, clusters)
        for column, (value, interval), bar in list(zip(columns, results, bars.tolist(), strict=True))[:_MOST_LISTED]:
            floors = {f"probe of {_PIXEL_GRID} x {_PIXEL_GRID} pixels": bar, "chance": 0.0}
            figures.append(Figure(name=f"probe r of {labels[column][0]}", value=value, interval=interval, floors=floors, sample=count))
    return figures


def _imagined(
    world: World, episodes: Episodes, plan: EvalPlan, found: CrossProbe, *, labels: list[tuple[str, str]], folds: dict[int, int]
) -> tuple[list[Figure], dict[str, str]]:
    """Where things are in imagined latents, by the probe: median distance from the truth, of positions and angles."""
    span = plan.prompt_frames + AHEAD
    places = episodes.places(span, plan.num_windows, seed=plan.seed, among=list(folds))
    if len(places) < 2:
        return [], {f"probe of imagined frame {AHEAD}": f"needs episodes of {span} frames"}
    windows = episodes.cut(places, plan.prompt_frames, AHEAD)
    imagined = roll(world, windows, seed=plan.seed, batch_size=plan.batch_size, decoded=False)[0].flatten(2)
    pair = torch.cat([imagined[:, -2], imagined[:, -1]], dim=1)
    rate = world.config.rate_hz or 1.0
    video = torch.cat([windows.prompt, windows.future], dim=1)
    encoded = torch.stack([_pairs(encode(world, frames))[-1] for frames in video])
    probes = [found.probes[folds[episode]] for episode, _ in places]
    predicted, reread = (torch.stack([probe(row) for probe, row in zip(probes, rows, strict=True)]) for rows in (pair, encoded))
    wanted, all_labels = [], []
    for place in places:
        values, all_labels = probe_targets(episodes.states(place, span).double(), episodes.state_names, rate)
        wanted.append(values)
    columns = [all_labels.index(label) for label in labels]
    states = torch.stack(wanted)[:, :, columns]
    truth, last = states[:, -1], states[:, plan.prompt_frames - 2]
    count = Sample(num_windows=len(places), num_episodes=windows.num_episodes, seeds=(plan.seed,))
    figures = []
    for thing, kind, unit in _things(labels):
        distances = [_distance(values, truth, labels, thing, kind) for values in (predicted, reread, last)]
        floors = {"the probe on true latents": float(distances[1].median()), "copy last frame": float(distances[2].median())}
        interval = bootstrap_interval(distances[0], lambda rows: rows.median(), clusters=windows.clusters)
        title = f"{thing} at imagined frame {AHEAD}, median error"
        note = "found by the probe in imagined latents; units of the states"
        figures.append(
            Figure(name=title, value=float(distances[0].median()), interval=interval, unit=unit, floors=floors, note=note, sample=count)
        )
    return figures[:_MOST_LISTED], {}


def _things(labels: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """(name, kind, unit) of every position, its axes together, and of every angle."""
    places = dict.fromkeys(name.rsplit("_", 1)[0] for name, kind in labels if kind == "position")
    angles = dict.fromkeys(name.split(" ", 1)[1] for name, kind in labels if kind == "angle")
    return [(name, "position", "") for name in places] + [(name, "angle", "degrees") for name in angles]


def _distance(values: Tensor, truth: Tensor, labels: list[tuple[str, str]], thing: str, kind: str) -> Tensor:
    """(B,)."""
    if kind == "position":
        columns = [index for index, (name, one) in enumerate(labels) if one == kind and name.rsplit("_", 1)[0] == thing]
        return (values[:, columns] - truth[:, columns]).norm(dim=1)
    names = [name for name, _ in labels]
    sine, cosine = (names.index(f"{function} {thing}") for function in ("sin", "cos"))
    apart = torch.atan2(values[:, sine], values[:, cosine]) - torch.atan2(truth[:, sine], truth[:, cosine])
    return torch.rad2deg((apart + math.pi) % (2 * math.pi) - math.pi).abs()
