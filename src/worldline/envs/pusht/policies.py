"""Scripted Push-T policies: they see the true state, and they push.

A random walk rarely touches the block, so a world filmed under one learns a static block. `Pusher` goes behind the block, pushes
through, retreats and does it again; `Wanderer` strolls about; `Prober` now and then does what a planner would try; `Aimer` puts the block
in one place after another, with corrections.

May import: numpy, the simulator's constants. Refuses to know: the simulator itself, pictures, clips.

Points and directions in the plane are complex numbers: adding shifts, multiplying by `exp(1j * angle)` rotates.
"""

import cmath
import math
from dataclasses import dataclass

import numpy as np

from worldline.envs.pusht.simulator import ARENA_SIZE, GOAL_POSE

# The block in its own coordinates: corners of the T, centre of mass, and moment of inertia per mass (environment units squared).
CORNERS = (-60 + 0j, 60 + 0j, 60 + 30j, 15 + 30j, 15 + 120j, -15 + 120j, -15 + 30j, -60 + 30j)
CENTER_OF_MASS = 45j
GYRATION_SQUARED = 3000.0
BLOCK_REACH = 80.0  # from the centre of mass to the farthest corner, rounded up
AGENT_RADIUS = 15.0
STAND_OFF = AGENT_RADIUS + 10  # a push starts this far from the outline
TABLE_CENTER = complex(ARENA_SIZE / 2, ARENA_SIZE / 2)
RING = (BLOCK_REACH + AGENT_RADIUS + 10) * np.exp(2j * np.pi * np.arange(12) / 12)
MARGIN = 22.0  # the agent's target stays this far inside the walls


def distance_to_block(points: np.ndarray) -> np.ndarray:
    """Distance of points (...) in the block's coordinates from its two bars; zero inside."""
    top = np.hypot(np.maximum(np.abs(points.real) - 60, 0), np.maximum(np.abs(points.imag - 15) - 15, 0))
    stem = np.hypot(np.maximum(np.abs(points.real) - 15, 0), np.maximum(np.abs(points.imag - 60) - 60, 0))
    return np.minimum(top, stem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """A push in the block's coordinates: touch the outline at `contact`, move along `normal` (unit length) for `travel`."""

    contact: complex
    normal: complex
    travel: float


def _candidate_contacts() -> tuple[tuple[complex, complex], ...]:
    """Points on the T's outline with their inward normals, about 10 units apart, none where the disc does not fit."""
    contacts = []
    for start, end in zip(CORNERS, CORNERS[1:] + CORNERS[:1], strict=True):
        edge = end - start
        normal = edge / abs(edge) * 1j
        num_points = round(abs(edge) / 10)
        for index in range(num_points):
            contact = start + edge * (index + 0.5) / num_points
            if distance_to_block(np.array(contact - normal * STAND_OFF)) > AGENT_RADIUS:
                contacts.append((contact, normal))
    return tuple(contacts)


CONTACTS = _candidate_contacts()


class Wanderer:
    """Strolls over the whole table: a target that follows smooth coloured noise and ignores the block."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._noise = ColoredNoise(generator, standard_deviation=140.0, correlation=float(generator.uniform(0.85, 0.96)))

    def __call__(self, state: np.ndarray) -> complex:
        """The next target of the agent."""
        return TABLE_CENTER + self._noise()


class Pusher:
    """Goes behind the block, pushes, and does it again elsewhere, under coloured noise.

    With `to_goal` each push is the one that most quickly brings the block nearer to the goal pose, and it ends when it no longer
    does; a block at the goal is pushed away again. Otherwise pushes are random and straight through, as long as the block stays
    on the table. `goal` is another pose than the task's; `hurry` is how much faster than it pushes it goes where it is to push.
    """

    def __init__(self, generator: np.random.Generator, *, to_goal: bool, goal: "Pose | None" = None, hurry: float = 1.0) -> None:
        self._generator = generator
        self._to_goal, self._goal, self._hurry = to_goal, goal or GOAL, hurry
        # The agent is drawn to its target like a critically damped spring: a lead of d units settles at d / 2 units per frame.
        self._lead = float(generator.uniform(30.0, 70.0))
        self._noise = ColoredNoise(generator, standard_deviation=3.0 if to_goal else 12.0, correlation=0.8)
        self._push: Push | None = None
        self._end: complex | None = None
        self._frames_left = 0

    def __call__(self, state: np.ndarray) -> complex:
        """The next target of the agent, from the true state (7,)."""
        agent, pose = complex(state[0], state[1]), Pose(origin=complex(state[2], state[3]), angle=float(state[4]))
        self._frames_left -= 1
        if self._push is None or self._frames_left <= 0:
            self._push, self._end, self._frames_left = self._choose(agent, pose), None, 40
        if self._push is None:
            return agent + self._noise()
        normal = self._push.normal * pose.rotation
        start = pose.to_table(self._push.contact) - normal * STAND_OFF
        if self._end is None and abs(agent - start) < 12:
            self._end = start + normal * (10 + self._push.travel)
            self._frames_left = 4 + int((10 + self._push.travel) / (self._lead / 2))
        if self._end is None:
            # A careless approach shoves the block aside on its way, which is half of what there is to film.
            careful = self._to_goal or not _inside(pose.center, 1.3 * BLOCK_REACH)
            return self._toward(agent, way_around(agent, start, pose) if careful else start, self._lead * self._hurry)
        if self._seeks_goal(pose):
            return self._push_on(agent, pose, self._push)
        if abs(agent - self._end) < 8:
            self._push = None
        return self._toward(agent, self._end, self._lead)

    def _push_on(self, agent: complex, pose: "Pose", push: Push) -> complex:
        """Push along the face's present normal, ever slower, until the block gains no more from it."""
        normal = push.normal * pose.rotation
        contact = (agent + AGENT_RADIUS * normal - pose.origin) / pose.rotation
        travel, _ = push_toward_goal(pose, contact, push.normal, self._goal)
        if travel < 2:
            self._push = None
            return agent
        return self._toward(agent, agent + normal * self._lead, min(self._lead, 10 + travel))

    def _toward(self, agent: complex, point: complex, lead: float) -> complex:
        offset = point - agent
        return agent + offset * min(1.0, lead / max(abs(offset), 1e-9)) + self._noise()

    def _seeks_goal(self, pose: "Pose") -> bool:
        return self._to_goal and goal_error(pose, self._goal) > 4

    def _choose(self, agent: complex, pose: "Pose") -> Push | None:
        pushes: list[Push] = []
        values: list[float] = []
        for contact, normal in CONTACTS:
            start = pose.to_table(contact - normal * STAND_OFF)
            value = float(self._generator.uniform(0.3, 1.0))
            if self._seeks_goal(pose):
                travel, gain = push_toward_goal(pose, contact, normal, self._goal)
                value *= gain / (60 + abs(agent - start) + travel)
            else:
                travel = float(self._generator.uniform(40.0, 160.0))
                value /= 60 + abs(agent - start)
            pushed = pose.center + normal * pose.rotation * travel
            leaves = not _inside(pushed, BLOCK_REACH) and abs(pushed - TABLE_CENTER) > abs(pose.center - TABLE_CENTER)
            if travel > 0 and _inside(start, MARGIN) and not leaves:
                pushes.append(Push(contact=contact, normal=normal, travel=travel))
                values.append(value)
        return pushes[int(np.argmax(values))] if pushes else None


class Prober:
    """A `Pusher` who every few frames is carried away: bursts of targets far apart, near the block or anywhere.

    That is what a planner proposes, and what careful policies never show: the disc crossing half of the table in a frame, the block hit at
    full speed. A world that has not seen it has no idea of it (docs/log.md).
    """

    _CALM_FRAMES, _BURST_FRAMES = (2, 6), (4, 11)  # from, to below

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._pusher = Pusher(generator, to_goal=False)
        self._burst: ColoredNoise | None = None
        self._about_block = False
        self._frames_left = int(generator.integers(*self._CALM_FRAMES))

    def __call__(self, state: np.ndarray) -> complex:
        """The next target of the agent, from the true state (7,)."""
        pose = Pose(origin=complex(state[2], state[3]), angle=float(state[4]))
        self._frames_left -= 1
        if self._frames_left < 0:
            self._burst = self._new_burst() if self._burst is None else None
            self._frames_left = int(self._generator.integers(*(self._CALM_FRAMES if self._burst is None else self._BURST_FRAMES)))
        if self._burst is None or not _inside(pose.center, BLOCK_REACH):  # hit hard at a wall, the block goes through it
            return self._pusher(state)
        return (pose.center if self._about_block else TABLE_CENTER) + self._burst()

    def _new_burst(self) -> "ColoredNoise":
        self._about_block = bool(self._generator.random() < 0.6)
        spread = math.exp(float(self._generator.uniform(math.log(40), math.log(150 if self._about_block else 256))))
        return ColoredNoise(self._generator, standard_deviation=spread, correlation=float(self._generator.uniform(0.0, 0.9)))


class Aimer:
    """Brings the block to one place after another, most of them near, each with as many pushes as it takes, and goes elsewhere in between.

    So recordings show how a block that is nearly right is put right: around it to the other side, a nudge, and away. Straight pushes
    never show it, and hindsight makes every place that was reached a goal.
    """

    _FAR, _TURN = (4.0, 110.0), 0.5  # environment units, drawn evenly in their logarithm; radians, standard deviation
    _NEAR_ENOUGH = 7.0**2  # of `goal_error`
    _PATIENCE, _STROLL = 40, 16  # frames at most
    _STRIDE = 50.0  # of a stroll

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._goal: Pose | None = None
        self._pusher: Pusher | None = None
        self._place: complex | None = None
        self._hurry = float(generator.uniform(1.0, 2.5))
        self._frames_left = 0

    def __call__(self, state: np.ndarray) -> complex:
        """The next target of the agent, from the true state (7,)."""
        agent, pose = complex(state[0], state[1]), Pose(origin=complex(state[2], state[3]), angle=float(state[4]))
        self._frames_left -= 1
        if self._place is not None and (abs(agent - self._place) < 12 or self._frames_left <= 0):
            self._goal = self._place = None
        if self._goal is None:
            self._goal, self._frames_left = self._new_goal(pose), self._PATIENCE
            self._pusher = Pusher(self._generator, to_goal=True, goal=self._goal, hurry=self._hurry)
        if self._place is None and (goal_error(pose, self._goal) < self._NEAR_ENOUGH or self._frames_left <= 0):
            self._place, self._frames_left = self._new_place(pose), self._STROLL
        if self._place is None:
            assert self._pusher is not None
            return self._pusher(state)
        offset = way_around(agent, self._place, pose) - agent
        return agent + offset * min(1.0, self._STRIDE * self._hurry / max(abs(offset), 1e-9))

    def _new_goal(self, pose: "Pose") -> "Pose":
        near, far = np.log(self._FAR)
        while True:
            far_away = math.exp(float(self._generator.uniform(near, far)))
            center = pose.center + cmath.rect(far_away, float(self._generator.uniform(-math.pi, math.pi)))
            angle = pose.angle + self._TURN * float(self._generator.normal()) * min(1.0, 0.3 + far_away / 40)
            if _inside(center, BLOCK_REACH + AGENT_RADIUS) or abs(center - TABLE_CENTER) < abs(pose.center - TABLE_CENTER):
                return Pose(origin=center - CENTER_OF_MASS * cmath.exp(1j * angle), angle=angle)

    def _new_place(self, pose: "Pose") -> complex:
        while True:
            place = complex(*self._generator.uniform(MARGIN, ARENA_SIZE - MARGIN, 2))
            if distance_to_block(np.array((place - pose.origin) / pose.rotation)) > STAND_OFF:
                return place


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where the block is: its origin in environment units and its angle in radians."""

    origin: complex
    angle: float

    @property
    def rotation(self) -> complex:
        """Unit complex number that turns the block's coordinates into the table's."""
        return cmath.exp(1j * self.angle)

    @property
    def center(self) -> complex:
        """Centre of mass on the table."""
        return self.to_table(CENTER_OF_MASS)

    def to_table(self, point: complex) -> complex:
        """A point of the block on the table."""
        return self.origin + point * self.rotation


GOAL = Pose(origin=complex(GOAL_POSE[0], GOAL_POSE[1]), angle=GOAL_POSE[2])


def goal_error(pose: Pose, goal: Pose = GOAL) -> float:
    """`|center error|^2 + gyration^2 angle error^2`, environment units squared; coverage is about 95 % at 4."""
    angle_error = math.remainder(goal.angle - pose.angle, 2 * math.pi)
    return abs(goal.center - pose.center) ** 2 + GYRATION_SQUARED * angle_error**2


def push_toward_goal(pose: Pose, contact: complex, normal: complex, goal: Pose = GOAL) -> tuple[float, float]:
    """How far to push at `contact` along `normal` (block's coordinates) to bring the block nearest to the goal, and the gain.

    Frictionless quasi-static pushing with impulse p moves the centre by `normal p` and turns the block by
    `(arm x normal) p / gyration^2`; p minimises `goal_error`, which is a parabola in p.
    """
    center_error = goal.center - pose.center
    angle_error = math.remainder(goal.angle - pose.angle, 2 * math.pi)
    turn = ((contact - CENTER_OF_MASS).conjugate() * normal).imag
    slope = (center_error.conjugate() * normal * pose.rotation).real + angle_error * turn
    curvature = 1 + turn**2 / GYRATION_SQUARED
    impulse = min(slope / curvature, 60.0)
    return impulse * curvature, 2 * slope * impulse - curvature * impulse**2


class ColoredNoise:
    """First-order autoregressive noise in the plane: stationary, with a given standard deviation per component."""

    def __init__(self, generator: np.random.Generator, *, standard_deviation: float, correlation: float) -> None:
        self._generator = generator
        self._correlation = correlation
        self._innovation = standard_deviation * math.sqrt(1 - correlation**2)
        self._value = complex(*generator.normal(0, standard_deviation, 2))

    def __call__(self) -> complex:
        """The next value."""
        self._value = self._correlation * self._value + complex(*self._generator.normal(0, self._innovation, 2))
        return self._value


def _inside(point: complex, margin: float) -> bool:
    return margin <= point.real <= ARENA_SIZE - margin and margin <= point.imag <= ARENA_SIZE - margin


def way_around(agent: complex, point: complex, pose: Pose) -> complex:
    """Where to head from `agent` to reach `point` without touching the block: the next corner of a shortest path.

    A visibility graph over the two and a ring of points around the block, searched by Bellman and Ford's recursion. Straight to
    `point` where no path is free.
    """
    ends = (np.array([agent, point]) - pose.origin) / pose.rotation
    if np.isfinite(_path_costs(ends)[0, 1]):
        return point
    ring = (pose.center + RING).view(float).clip(MARGIN, ARENA_SIZE - MARGIN).view(complex)
    nodes = np.concatenate([ends, (ring - pose.origin) / pose.rotation])
    costs = _path_costs(nodes)
    distance = np.where(np.arange(len(nodes)) == 1, 0.0, np.inf)  # of each node from `point`
    for _ in range(len(nodes) // 2):
        distance = np.minimum(distance, (costs + distance).min(1))
    following = 1 + int(np.argmin((costs + distance)[0, 1:]))
    return pose.to_table(complex(nodes[following])) if np.isfinite(distance[0]) else point


def _path_costs(nodes: np.ndarray) -> np.ndarray:
    """Costs (N, N) of the straight paths between nodes (N,) in the block's coordinates; infinite where the disc would touch."""
    steps = nodes - nodes[:, None]
    paths = nodes[:, None, None] + steps[:, :, None] * np.linspace(0, 1, 12)
    clearance = distance_to_block(nodes)
    # A path may start or end close to the block, but must not come closer than its ends do.
    needed = np.minimum(AGENT_RADIUS + 8, np.minimum(clearance[:, None], clearance)) - 1
    # One unit per path makes fewer corners win a tie, as when the agent stands on one.
    return np.where(distance_to_block(paths).min(-1) >= needed, np.abs(steps) + 1, np.inf)
