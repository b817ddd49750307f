"""Suite `physics`: does the world know what is there and how it moves.

A linear probe reads the simulator's state off latents, true and imagined, and off a code of frames beside them; objects come back from
behind an occluder; balls keep the velocity that mechanics gives them. What the data does not carry is not measured, and said so.

May import: eval.metrics, eval.probe, eval.suites.*. Refuses to know: which world it is.

Shapes: B windows, P prompt frames, T frames, S tokens, C channels, D components of a state.
"""

import math
from collections.abc import Callable, Mapping
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
FITTED_ROWS = 48_000  # a probe of 2,500 features still gains from 13,000 to 39,000
AHEAD = 16

_MOST_LISTED = 24
_PIXEL_GRID = 8


Features = Callable[[Tensor], Tensor]
"""(..., S, C) -> (..., F), such as `reward.FrameCode.features`."""


def measure_physics(
    world: World, episodes: Episodes, plan: EvalPlan, *, probe_episodes: Episodes | None = None, features: Features | None = None
) -> Suite:
    """Measure whichever of the parts the data allows.

    Args:
        world: to measure.
        episodes: that it was not trained on.
        plan: how much.
        probe_episodes: that the linear probe is fitted on; they may be of the world's training. If None, other measured episodes.
        features: of a code of frames, on the CPU; a probe of latents and of these is then measured beside that of the latents alone.
    """
    probes = _probes(world, episodes, plan, probe_episodes, features)
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
    """Frames with what a probe sees and what it is to find: (N, F), (N, pixels), (N, K), (N,), and the K labels.

    `coded` has the latents and the features of a code beside them, (N, F'), if there is one.
    """

    latents: Tensor
    coded: Tensor | None
    pixels: Tensor
    targets: Tensor
    owners: Tensor
    labels: list[tuple[str, str]]


def _rows(world: World, episodes: Episodes, max_rows: int, features: Features | None) -> _Rows:
    usable = [index for index, length in enumerate(episodes.lengths()) if length >= 2]
    latents, coded, pixels, targets, owners = [], [], [], [], []
    labels: list[tuple[str, str]] = []
    for index in usable:
        count = min(episodes.lengths()[index], max(2, max_rows // len(usable) + 1))
        frames = episodes.frames((index, 0), count)
        encoded = encode(world, frames)
        latents.append(_pairs(encoded))
        if features is not None:
            coded.append(_pairs(torch.cat([encoded, features(encoded.unflatten(1, world.noise_shape))], dim=1)))
        pixels.append(_pairs(F.adaptive_avg_pool2d(frames, _PIXEL_GRID).flatten(1)))
        states = episodes.states((index, 0), count).double()
        values, labels = probe_targets(states, episodes.state_names, world.config.rate_hz or 1.0)
        targets.append(values)
        owners += [index] * (count - 1)
    return _Rows(
        latents=torch.cat(latents),
        coded=torch.cat(coded) if coded else None,
        pixels=torch.cat(pixels),
        targets=torch.cat(targets),
        owners=torch.tensor(owners),
        labels=labels,
    )


def _why_no_probe(episodes: Episodes) -> str | None:
    if any(clip.states is None for clip in episodes.clips):
        return "not every episode has ground-truth states"
    if not episodes.state_names:
        return "the components of the states have no names; give them with --state-names"
    num_usable = sum(length >= 2 for length in episodes.lengths())
    return None if num_usable >= 10 else f"needs 10 episodes of two frames or more, the data has {num_usable}"


def _probes(world: World, episodes: Episodes, plan: EvalPlan, fitted_on: Episodes | None, features: Features | None) -> Suite:
    name = "linear probe"
    why = _why_no_probe(episodes) or (None if fitted_on is None else _why_no_probe(fitted_on))
    if why:
        return Suite(name=name, not_measured={name: why})
    rows = _rows(world, episodes, MAX_ROWS, features)
    varies = rows.targets.std(0) > 1e-6 * (1 + rows.targets.abs().mean(0))
    pairs = list(zip(rows.labels, varies.tolist(), strict=True))
    not_measured = {f"probe of {label}": "does not vary" for (label, _), one in pairs if not one}
    truth, labels = rows.targets[:, varies], [label for label, one in pairs if one]
    if not labels:
        return Suite(name=name, not_measured={name: "nothing in the states varies"})
    base = None if fitted_on is None else _rows(world, fitted_on, FITTED_ROWS, features)

    def probed(shown: Tensor, known: Tensor | None) -> CrossProbe:
        if base is None:
            return cross_probe(shown, truth, rows.owners)
        assert known is not None
        return _applied(best_probe(known, base.targets[:, varies], base.owners), shown)

    found = probed(rows.latents, None if base is None else base.latents)
    floor = probed(rows.pixels, None if base is None else base.pixels)
    if base is None:
        basis = f"fitted on four fifths of {len(rows.owners.unique())} episodes, five times"
    else:
        basis = f"fitted on {len(base.owners):,} frames of {len(base.owners.unique())} other episodes"
    pixels = f"probe of {_PIXEL_GRID} x {_PIXEL_GRID} pixels"
    figures = _correlations(found, {pixels: floor}, truth, rows.owners, labels, basis=f"latents of two frames; {basis}")
    if rows.coded is not None:
        with_code = probed(rows.coded, None if base is None else base.coded)
        basis = f"latents of two frames and features of their code; {basis}"
        floors = {"probe of the latents": found, pixels: floor}
        figures += _correlations(with_code, floors, truth, rows.owners, labels, basis=basis, title="probe r with the frame code")
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
    found: CrossProbe,
    floors: Mapping[str, CrossProbe],
    truth: Tensor,
    clusters: Tensor,
    labels: list[tuple[str, str]],
    *,
    basis: str,
    title: str = "probe r",
) -> list[Figure]:
    count = Sample(num_windows=len(truth), num_episodes=len(clusters.unique()))

    def moments(probe: CrossProbe, columns: list[int]) -> Tensor:
        values = (probe.predicted - truth.mean(0), truth - truth.mean(0))
        x, y = (value[:, columns] / truth[:, columns].std(0) for value in values)
        return torch.stack([x, y, x * x, y * y, x * y], dim=-1)

    figures = []
    for kind in ("position", "angle", "velocity", "other"):
        columns = [index for index, (_, one) in enumerate(labels) if one == kind]
        if not columns:
            continue
        bars = {name: correlation(moments(floor, columns).mean(0)) for name, floor in floors.items()}
        note = f"Pearson's r on episodes that the probe has not seen; {basis}"
        ((mean, interval),) = pooled(lambda means: correlation(means).mean(-1), moments(found, columns), clusters)
        means = {name: float(bar.mean()) for name, bar in bars.items()} | {"chance": 0.0}
        name = f"{title}, mean of {len(columns)} {kind} components"
        figures.append(Figure(name=name, value=mean, interval=interval, floors=means, note=note, sample=count))
        results = pooled(correlation, moments(found, columns), clusters)
        for place, (column, (value, interval)) in enumerate(list(zip(columns, results, strict=True))[:_MOST_LISTED]):
            single = {name: float(bar[place]) for name, bar in bars.items()} | {"chance": 0.0}
            figures.append(Figure(name=f"{title} of {labels[column][0]}", value=value, interval=interval, floors=single, sample=count))
    return figures


def _imagined(
    world: World, episodes: Episodes, plan: EvalPlan, found: CrossProbe, *, labels: list[tuple[str, str]], folds: dict[int, int]
) -> tuple[list[Figure], dict[str, str]]:
    """Where things are in imagined latents, by the probe: median distance from the truth, of positions and angles."""
    span = plan.prompt_frames + AHEAD
    if plan.prompt_frames == 1:
        return [], {f"probe of imagined frame {AHEAD}": "needs a prompt of 2 frames, since a state is read off a pair"}
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
