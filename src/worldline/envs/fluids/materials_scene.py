"""What there is in the tank of liquid, jelly and snow, who stirs it, and how it is told.

May import: numpy, envs.simulator, envs.wander. Refuses to know: the solver, pictures.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np

from worldline.envs.simulator import Act, Value
from worldline.envs.wander import visit

LIQUID, JELLY, SNOW = 0, 1, 2
WALL = 0.06
"""Where the solver's boundary begins, seen from each side of the tank."""

Inside = Callable[[np.ndarray], np.ndarray]
"""Which of points (N, 2) a body fills."""


def place(generator: np.random.Generator, attributes: Mapping[str, Value], num_particles: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions (N, 2), materials (N,), and the x of the edge over which the liquid can spill (1 if there is none)."""
    arrangement, jelly_shape = str(attributes["arrangement"]), str(attributes["jelly_shape"])
    edge = 1.0
    if arrangement == "dam":
        wall = SNOW if attributes["wall_material"] == "snow" else JELLY
        left, thick, tall = generator.uniform(0.4, 0.5), generator.uniform(0.09, 0.13), generator.uniform(0.16, 0.3)
        edge = left + thick
        deep = generator.uniform(0.45, 0.65)
        width = generator.uniform(0.22, 0.3)
        bodies = {LIQUID: _box(WALL, WALL, WALL + width, WALL + deep), wall: _box(left, WALL, edge, WALL + tall)}
        radius = generator.uniform(0.08, 0.11)
        center = np.array([generator.uniform(edge + radius + 0.03, 0.94 - radius), WALL + radius + generator.uniform(0.0, 0.25)])
        bodies[JELLY if wall == SNOW else SNOW] = _shape(jelly_shape if wall == SNOW else "disc", center, radius)
    elif arrangement == "drop":
        bodies = {LIQUID: _box(WALL, WALL, 1 - WALL, WALL + generator.uniform(0.12, 0.22))}
        columns = generator.permutation([generator.uniform(0.2, 0.38), generator.uniform(0.62, 0.8)])
        for material, x in zip((JELLY, SNOW), columns, strict=True):
            radius = generator.uniform(0.09, 0.13)
            bodies[material] = _shape(jelly_shape if material == JELLY else "block", np.array([x, generator.uniform(0.45, 0.78)]), radius)
    else:
        heights, columns = generator.permutation([0.18, 0.48, 0.78]), generator.uniform(0.32, 0.68, 3)
        bodies = {}
        for material in (LIQUID, JELLY, SNOW):
            shape = {LIQUID: "block", JELLY: jelly_shape, SNOW: "disc"}[material]
            bodies[material] = _shape(shape, np.array([columns[material], heights[material]]), generator.uniform(0.1, 0.13))
    return *_fill(generator, bodies, num_particles), edge


def _fill(generator: np.random.Generator, bodies: Mapping[int, Inside], num_particles: int) -> tuple[np.ndarray, np.ndarray]:
    """Particles on a jittered lattice fine enough to give each body its share of them by area."""
    probe = generator.uniform(WALL, 1 - WALL, (4000, 2))
    area = np.array([max(float(bodies[material](probe).mean()), 1e-3) for material in (LIQUID, JELLY, SNOW)])
    counts = np.maximum((num_particles * area / area.sum()).astype(int), 50)
    counts[LIQUID] += num_particles - counts.sum()
    material = np.repeat(np.arange(3), counts)
    positions = np.concatenate([_sample(generator, bodies[index], int(count)) for index, count in enumerate(counts)])
    return positions, material


def _sample(generator: np.random.Generator, inside: Inside, count: int) -> np.ndarray:
    lattice = np.stack(np.meshgrid(*[np.linspace(WALL, 1 - WALL, 200)] * 2), -1).reshape(-1, 2)
    filled = lattice[inside(lattice)]
    chosen = filled[np.linspace(0, len(filled) - 1, count).astype(int)] if len(filled) < count else generator.permutation(filled)[:count]
    return np.clip(chosen + generator.uniform(-0.002, 0.002, (count, 2)), WALL, 1 - WALL)


def _box(left: float, bottom: float, right: float, top: float) -> Inside:
    return lambda points: (points[:, 0] >= left) & (points[:, 0] <= right) & (points[:, 1] >= bottom) & (points[:, 1] <= top)


def _shape(name: str, center: np.ndarray, radius: float) -> Inside:
    def inside(points: np.ndarray) -> np.ndarray:
        x, y = ((points - center) / radius).T
        distance = np.hypot(x, y)
        if name == "disc":
            return distance <= 1
        if name == "ring":
            return (distance <= 1.1) & (distance >= 0.55)
        if name == "triangle":
            return (y >= -0.9) & (y <= 1.1 - 2 * np.abs(x))
        return (np.abs(x) <= 0.9) & (np.abs(y) <= 0.9)

    return inside


def stir(generator: np.random.Generator) -> Act:
    """A hand that goes from place to place, pulls what is there for a while, then lets go or pushes."""

    def actions() -> Iterator[np.ndarray]:
        targets = (generator.uniform(0.15, 0.85, 2) for _ in range(1 << 30))
        path = visit(targets, generator.uniform(0.2, 0.8, 2), speed=0.03)
        for _ in range(int(generator.integers(4, 12))):
            yield np.array([0.0, *next(path), 0.0])
        while True:
            pull = generator.choice([0.55, 0.4, -0.4])
            for _ in range(int(generator.integers(10, 22))):
                yield np.array([0.0, *next(path), pull])
            for _ in range(int(generator.integers(5, 15))):
                yield np.array([0.0, *next(path), 0.0])

    source = actions()
    return lambda: next(source)


def slosh(generator: np.random.Generator) -> Act:
    """Tilts the tank from side to side."""
    period, strength, phase = generator.uniform(24, 48), generator.uniform(0.5, 1.0), generator.uniform(0, 2 * math.pi)
    frames = iter(range(1 << 30))
    return lambda: np.array([strength * math.sin(2 * math.pi * next(frames) / period + phase), 0.5, 0.5, 0.0])


def tell(attributes: Mapping[str, Value], seen: Collection[str], *, hand: bool, tilted: bool) -> list[str]:
    """Phrasings of an episode, given the events that were seen in it."""
    liquid, shape = str(attributes["liquid_color"]), str(attributes["jelly_shape"])
    liquid, jelly = f"{liquid} liquid", f"{attributes['jelly_color']} jelly"
    wall, other = (jelly, "a ball of snow") if attributes["wall_material"] == "jelly" else ("white snow", f"a {jelly} {shape}")
    start = {
        "dam": f"a column of {liquid} collapses against a wall of {wall}, with {other} behind it",
        "drop": f"a {jelly} {shape} and a block of snow fall into {liquid}",
        "pile": f"{liquid}, a {jelly} {shape} and a ball of snow fall onto each other",
    }[str(attributes["arrangement"])]
    outcomes = []
    if "spill" in seen:
        outcomes.append(f"the {liquid.split()[0]} liquid spills over the wall")
    elif attributes["arrangement"] == "dam":
        outcomes.append(f"the wall holds the {liquid} back")
    if "splash" in seen:
        outcomes.append("it splashes high")
    if "snow_breaks" in seen:
        outcomes.append("the snow breaks up")
    if not outcomes:
        outcomes.append("little is broken or spilled")
    end = outcomes[0] if len(outcomes) == 1 else ", ".join(outcomes[:-1]) + " and " + outcomes[-1]
    force = "while a hand stirs the tank" if hand else "while the tank is tilted from side to side" if tilted else "under gravity alone"
    return [
        f"{start[0].upper()}{start[1:]}; {end}.",
        f"In a glass tank, {start}, {force}.",
        f"{start[0].upper()}{start[1:]} {force}, and {end}.",
        f"Side view of a tank with {liquid}, {jelly} and white snow: {end}.",
        f"A simulation of {liquid}, {jelly} and snow {force}.",
        f"Three materials meet: {liquid}, a {jelly} {shape} and snow. {end[0].upper()}{end[1:]}.",
        f"Watch {liquid} and {jelly} and snow move {force}; {end}.",
        f"{force[0].upper()}{force[1:]}, {start}.",
        f"What happens when {start}? {end[0].upper()}{end[1:]}.",
        f"A {jelly} {shape} wobbles, the snow crumbles where it is hit, and the {liquid} flows {force}.",
        f"{liquid[0].upper()}{liquid[1:]}, snow and jelly in a box; {end}.",
        f"The tank holds {liquid}, white snow and {jelly}. First {start}; then {end}.",
    ]
