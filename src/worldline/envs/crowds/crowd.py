"""Crowds: pedestrians of jupedsim's social force model, drawn as discs; person 0 walks to where the action says.

Walking, pushing and finding the way are jupedsim's; ours are the places, who starts where, the picture and the words.

May import: interfaces, numpy, jupedsim and cv2 (on demand), `places`. Refuses to know: clips, files.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import ClassVar

import numpy as np

from worldline.envs.colors import color
from worldline.envs.crowds.places import SIZE_METRES, Place, corridor, door
from worldline.envs.opencv import import_opencv
from worldline.envs.phrases import plural, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.envs.wander import hold_random, visit
from worldline.interfaces import ActionSpec

EXTRA = "sim-crowd"
MAX_PEOPLE = 24
STEP_SECONDS = 0.005
FRICTION = 24_000.0
"""Of bodies pressed together, kg/(m s): a tenth of the model's default, with which narrow doors threw people through walls at any step
that is affordable."""
SLOW_M = 0.25
"""Who gets no further than this in a second is slow."""
TOUCH_M = 0.02
"""Two people touch when less than this is between them."""
JAM_PEOPLE = 4


def import_jupedsim() -> ModuleType:
    """The `jupedsim` module; if it is missing, the error says how to install it without the gigabyte of its viewer."""
    try:
        import jupedsim  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            f"crowds need jupedsim and what it needs at run time ({error}); its full dependencies bring a viewer of more than a "
            f'gigabyte, so install it without them: pip install "worldline[{EXTRA}]" && pip install --no-deps jupedsim==1.4.2'
        ) from error
    return jupedsim


class Crowd(Simulator):
    """What corridor and door have in common."""

    extra: ClassVar[str] = EXTRA
    rate_hz: ClassVar[float] = 10.0
    action_spec: ClassVar[ActionSpec | None] = ActionSpec(low=(0.0, 0.0), high=(SIZE_METRES, SIZE_METRES), names=("goal_x", "goal_y"))
    state_names: ClassVar[tuple[str, ...]] = (
        *(f"person_{index:02d}_{value}" for index in range(MAX_PEOPLE) for value in ("x", "y", "velocity_x", "velocity_y", "present")),
        "body_radius",
        "num_present",
        "num_slow",
        "smallest_gap",
        "steered_gap",
        "goal_x",
        "goal_y",
    )
    event_names: ClassVar[tuple[str, ...]] = ("people_touch", "steered_person_touches", "someone_leaves", "steered_person_at_goal", "jam")
    policy_names: ClassVar[tuple[str, ...]] = ("cross", "join", "wander", "random")
    determinism: ClassVar[str] = "Bit-exact: jupedsim's social force model draws no random numbers, and starts are drawn from the seed."
    make_place: ClassVar[Callable[[np.random.Generator, Mapping[str, Value]], Place]]

    def __init__(self) -> None:
        self._cv2 = import_opencv(EXTRA)
        self._jupedsim = import_jupedsim()

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """People stand in their groups; `attributes` as in the class."""
        jupedsim, generator = self._jupedsim, np.random.default_rng(seed)
        self._attributes = dict(attributes)
        self._place = type(self).make_place(generator, attributes)
        self._inner = self._place.walkable.buffer(-0.12)
        self._radius = float(attributes["body_radius_m"])
        self._simulation = jupedsim.Simulation(
            model=jupedsim.SocialForceModel(friction=FRICTION), geometry=self._place.walkable, dt=STEP_SECONDS
        )
        steering = self._simulation.add_direct_steering_stage()
        steered_journey = self._simulation.add_journey(jupedsim.JourneyDescription([steering]))
        self._ids: list[int] = []
        self._groups: list[int] = []
        for group, (start, exit_corners) in enumerate(zip(self._place.starts, self._place.exits, strict=True)):
            stage = self._simulation.add_exit_stage(list(exit_corners))
            journey = self._simulation.add_journey(jupedsim.JourneyDescription([stage]))
            for position in self._positions(start, int(attributes["num_people"]) // len(self._place.starts), generator):
                steered = not self._ids
                parameters = jupedsim.SocialForceModelAgentParameters(
                    position=position,
                    journey_id=steered_journey if steered else journey,
                    stage_id=steering if steered else stage,
                    desired_speed=float(attributes["desired_speed_m_s"]) * generator.uniform(0.85, 1.15),
                    reaction_time=float(attributes["reaction_time_s"]),
                    agent_scale=float(attributes["avoidance_newton"]),
                    radius=self._radius,
                )
                self._ids.append(self._simulation.add_agent(parameters))
                self._groups.append(group)
        self._people = np.zeros((MAX_PEOPLE, 5))
        self._heading = np.zeros(MAX_PEOPLE)
        self._second_ago: deque[np.ndarray] = deque(maxlen=round(self.rate_hz) + 1)
        self._num_left = 0
        self._seen: set[str] = set()
        self._look()
        self._goal = self._people[0, :2].copy()
        self._events = dict.fromkeys(self.event_names, False)
        self._heading[: len(self._ids)] = [0.0 if group == 0 else math.pi for group in self._groups]

    def _positions(self, start, count: int, generator: np.random.Generator) -> list[tuple[float, float]]:
        return self._jupedsim.distribute_by_number(
            polygon=start,
            number_of_agents=count,
            distance_to_agents=2 * self._radius + 0.03,
            distance_to_polygon=self._radius + 0.03,
            seed=int(generator.integers(2**31)),
        )

    def step(self, action: np.ndarray | None) -> None:
        """Let everybody walk for one frame, person 0 towards the action; a goal inside a wall becomes the nearest free place."""
        assert action is not None
        self._goal = self._free_place(np.asarray(action, dtype=np.float64))
        self._simulation.agent(self._ids[0]).target = (float(self._goal[0]), float(self._goal[1]))
        before = int(self._people[:, 4].sum())
        self._simulation.iterate(round(1 / (self.rate_hz * STEP_SECONDS)))
        self._look()
        self._num_left += before - int(self._people[:, 4].sum())
        self._events = events_of(self._value, before)
        self._seen |= {event for event, happened in self._events.items() if happened}

    def _free_place(self, goal: np.ndarray) -> np.ndarray:
        from shapely import Point  # noqa: PLC0415
        from shapely.ops import nearest_points  # noqa: PLC0415

        place, _ = nearest_points(self._inner, Point(goal))
        return np.array([place.x, place.y])

    def _look(self) -> None:
        here = {agent.id: (agent.position, agent.model.velocity) for agent in self._simulation.agents()}
        self._people[:, 4] = 0
        for index, person in enumerate(self._ids):
            if person in here:
                position, velocity = here[person]
                self._people[index] = [*position, *velocity, 1]
                if np.hypot(*velocity) > 0.3:
                    self._heading[index] = math.atan2(velocity[1], velocity[0])
            else:
                self._people[index, 2:4] = 0
        self._second_ago.append(self._people[:, :2].copy())

    def state(self) -> np.ndarray:
        """Everybody's place and velocity, in metres; who has left keeps the last place and is not `present`."""
        present = self._people[:, 4] > 0
        distance = np.linalg.norm(self._people[:, None, :2] - self._people[None, :, :2], axis=-1) - 2 * self._radius
        distance[~present] = distance[:, ~present] = SIZE_METRES
        np.fill_diagonal(distance, SIZE_METRES)
        way = np.linalg.norm(self._people[:, :2] - self._second_ago[0], axis=1)
        slow = present & (way < SLOW_M) & (len(self._second_ago) == self._second_ago.maxlen)
        return np.array([*self._people.ravel(), self._radius, present.sum(), slow.sum(), distance.min(), distance[0].min(), *self._goal])

    def events(self) -> Mapping[str, bool]:
        """Touches and jams last as long as they hold; leaving is the frame in which somebody is gone."""
        return dict(self._events)

    def _value(self, name: str) -> float:
        return float(self.state()[self.state_names.index(name)])

    def render(self, size: int) -> np.ndarray:
        """Seen from above: shoulders and heads, in the colour of their group; the steered person is ringed, its goal is a cross."""
        fine = size * (4 if size <= 128 else 2)
        scale = fine / SIZE_METRES
        picture = np.empty((fine, fine, 3))
        picture[:] = color(self._attributes["wall_color"])
        floor = color(self._attributes["floor_color"])
        outline = np.array([self._pixel(point, scale) for point in self._place.walkable.exterior.coords], np.int32)
        self._cv2.fillPoly(picture, [outline + round(0.05 * scale)], tuple(floor * 0.6))
        self._cv2.fillPoly(picture, [outline], tuple(floor))
        for corners, group in zip(self._place.exits, ("first_color", "second_color"), strict=False):
            area = np.array([self._pixel(point, scale) for point in corners], np.int32)
            self._cv2.fillPoly(picture, [area], tuple(0.6 * floor + 0.4 * color(self._attributes.get(group, "green"))))
        goal, arm = self._pixel(self._goal, scale), round(0.16 * scale)
        for x, y in ((arm, arm), (arm, -arm)):
            ends = (goal[0] - x, goal[1] - y), (goal[0] + x, goal[1] + y)
            self._cv2.line(picture, *ends, (240.0, 205.0, 40.0), max(2, round(0.07 * scale)), self._cv2.LINE_AA)
        for index in reversed(range(len(self._ids))):
            if self._people[index, 4] > 0:
                self._draw_person(picture, index, scale)
        small = self._cv2.resize(picture, (size, size), interpolation=self._cv2.INTER_AREA)
        return np.clip(np.rint(small), 0, 255).astype(np.uint8)

    def _draw_person(self, picture: np.ndarray, index: int, scale: float) -> None:
        cv2, heading, radius = self._cv2, float(self._heading[index]), self._radius * scale
        center = self._pixel(self._people[index, :2], scale)
        paint = color(self._attributes["first_color" if self._groups[index] == 0 else "second_color"])
        if index == 0:
            cv2.circle(picture, center, round(radius * 1.35), (255.0, 225.0, 60.0), -1, cv2.LINE_AA)
        cv2.circle(picture, center, round(radius), tuple(paint * 0.55), -1, cv2.LINE_AA)
        axes, angle = (round(radius * 0.65), round(radius * 0.95)), -math.degrees(heading)
        cv2.ellipse(picture, center, axes, angle, 0, 360, tuple(paint), -1, cv2.LINE_AA)
        head = self._pixel(self._people[index, :2] + 0.25 * self._radius * np.array([math.cos(heading), math.sin(heading)]), scale)
        cv2.circle(picture, head, round(radius * 0.42), (236.0, 200.0, 170.0), -1, cv2.LINE_AA)

    @staticmethod
    def _pixel(point: Sequence[float] | np.ndarray, scale: float) -> tuple[int, int]:
        return round(float(point[0]) * scale), round((SIZE_METRES - float(point[1])) * scale)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`cross` heads into the others, `join` for the exit, `wander` from place to place, `random` holds uniform goals for a while."""
        assert self.action_spec is not None
        if name == "random":
            return hold_random(self.action_spec, generator, shortest=8, longest=20)
        if name == "join":
            goal = np.mean(self._place.exits[0], axis=0)
            return lambda: goal
        if name in ("cross", "wander"):
            source = self._meet(generator) if name == "cross" else self._stroll(generator)
            return lambda: next(source)
        raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")

    def _meet(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Follows one of the others for a while, then another: through the thick of the crowd."""
        while True:
            others = [index for index in range(1, len(self._ids)) if self._people[index, 4] > 0]
            person = int(generator.choice(others)) if others else 0
            for _ in range(int(generator.integers(10, 25))):
                yield self._people[person, :2].copy()

    def _stroll(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        left, bottom, right, top = self._inner.bounds
        points = (generator.uniform((left, bottom), (right, top)) for _ in range(1 << 30))
        return visit(points, self._people[0, :2].copy(), speed=0.2)

    def captions(self) -> Sequence[str]:
        """Phrasings that name the groups and what became of them."""
        names = self._attributes
        people = plural(len(self._ids), "person").replace("persons", "people")
        outcome = [
            *(["a jam forms"] if "jam" in self._seen else ["everybody keeps moving"]),
            *(["people bump into each other"] if "people_touch" in self._seen else ["nobody touches anybody"]),
            *([f"{plural(self._num_left, 'person').replace('persons', 'people')} left"] if self._num_left else ["nobody gets out"]),
        ]
        hurry = "hurrying" if float(names["desired_speed_m_s"]) > 1.75 else "walking"
        return self._tell(people, hurry, outcome[0], outcome[1], outcome[2])

    def _tell(self, people: str, hurry: str, flow: str, contact: str, left: str) -> list[str]:
        raise NotImplementedError


_PHYSICS = (
    Attribute(name="desired_speed_m_s", kind="physics", usual=(1.0, 1.6), unusual=(2.0, 2.8)),
    Attribute(name="body_radius_m", kind="physics", usual=(0.19, 0.23), unusual=(0.24, 0.26)),
    Attribute(name="avoidance_newton", kind="physics", usual=(400.0, 2000.0), unusual=(80.0, 250.0)),
    Attribute(name="reaction_time_s", kind="physics", usual=(0.4, 0.6), unusual=(0.8, 1.2)),
)
_FIRST = Attribute(name="first_color", kind="appearance", usual=("blue", "red", "green"), unusual=("purple", "black"))
_SURFACES = (
    Attribute(name="floor_color", kind="appearance", usual=("gray", "cream", "white"), unusual=("mint", "lilac")),
    Attribute(name="wall_color", kind="appearance", usual=("black", "brown", "navy"), unusual=("pink", "yellow")),
)


class Counterflow(Crowd):
    """Two groups walk through one corridor in opposite directions."""

    name: ClassVar[str] = "counterflow"
    make_place = staticmethod(corridor)
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="num_people", kind="scene", usual=(10, 12, 14, 16), unusual=(18,)),
        Attribute(name="width_m", kind="physics", usual=(2.6, 4.5), unusual=(2.3, 2.5)),
        *_PHYSICS,
        _FIRST,
        Attribute(name="second_color", kind="appearance", usual=("orange", "teal", "pink"), unusual=("brown", "yellow")),
        *_SURFACES,
    )

    def _tell(self, people: str, hurry: str, flow: str, contact: str, left: str) -> list[str]:
        first, second = self._attributes["first_color"], self._attributes["second_color"]
        floor, half = self._attributes["floor_color"], plural(len(self._ids) // 2, "person").replace("persons", "people")
        both = f"people in {first} and people in {second}"
        return [
            sentence(f"{both} walk through a corridor in opposite directions; {flow} and {contact}"),
            sentence(f"a group in {first} goes right, a group in {second} goes left, seen from above; {flow}"),
            sentence(f"counterflow of {people} in a corridor with a {floor} floor: {flow}, {contact}, {left}"),
            sentence(f"{half} in {first} meet as many in {second} {hurry} the other way; {contact}"),
            sentence(f"two streams of pedestrians, {first} and {second}, pass through each other; {flow}"),
            sentence(f"from above, {people} share a corridor; {left} by the end"),
            sentence(f"one person in {first}, marked with a yellow ring, makes their way through people in {second}; {contact}"),
            sentence(f"{both} {hurry} towards each other on a {floor} floor; {flow}"),
            sentence(f"oncoming traffic on foot: {first} against {second}; {flow} and {left}"),
            sentence(f"{flow} when {both} want to get past each other"),
            sentence(f"a corridor {float(self._attributes['width_m']):.1f} metres wide with {people}; {contact}"),
            sentence(f"pedestrians dressed in {first} and {second} walk past each other; {left}, {contact}"),
        ]


class Bottleneck(Crowd):
    """Everybody wants out through one door."""

    name: ClassVar[str] = "bottleneck"
    make_place = staticmethod(door)
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="num_people", kind="scene", usual=(10, 13, 16, 19), unusual=(22, 24)),
        Attribute(name="width_m", kind="physics", usual=(0.8, 1.4), unusual=(0.65, 0.75)),
        *_PHYSICS,
        _FIRST,
        *_SURFACES,
    )

    def _tell(self, people: str, hurry: str, flow: str, contact: str, left: str) -> list[str]:
        names = self._attributes
        first, floor, wall = names["first_color"], names["floor_color"], names["wall_color"]
        width = f"{float(names['width_m']):.1f} metres"
        narrow = "narrow" if float(names["width_m"]) < 1.0 else "wide"
        return [
            sentence(f"{people} in {first} leave a room through one {narrow} door; {flow} and {contact}"),
            sentence(f"a crowd in {first} squeezes through a door in a {wall} wall, seen from above; {flow}"),
            sentence(f"bottleneck: {people}, one door of {width}; {left}"),
            sentence(f"everybody is {hurry} to the only door of a room with a {floor} floor; {flow}"),
            sentence(f"{people} evacuate a room; {contact} in front of the {narrow} door"),
            sentence(f"from above, people in {first} queue at a door; {left} by the end, {flow}"),
            sentence(f"one person, marked with a yellow ring, moves among {people} who want out; {contact}"),
            sentence(f"the door is {width} wide and {people} are {hurry} towards it; {flow}"),
            sentence(f"an emptying room: {left}, {contact}"),
            sentence(f"{flow} as a crowd in {first} heads for an exit between {wall} walls"),
            sentence(f"people in {first} on a {floor} floor push to the right through an opening; {contact}"),
            sentence(f"pedestrians pass a {narrow} gap one by one; {left} and {flow}"),
        ]


def events_of(value: Callable[[str], float], num_before: int) -> dict[str, bool]:
    """The events that hold in a state, which `num_before` people walked into; `value` looks a component up by its name."""
    to_goal = math.hypot(value("person_00_x") - value("goal_x"), value("person_00_y") - value("goal_y"))
    return {
        "people_touch": value("smallest_gap") <= TOUCH_M,
        "steered_person_touches": value("steered_gap") <= TOUCH_M,
        "someone_leaves": value("num_present") < num_before,
        "steered_person_at_goal": to_goal <= value("body_radius"),
        "jam": value("num_slow") >= JAM_PEOPLE,
    }
