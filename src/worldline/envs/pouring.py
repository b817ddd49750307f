"""Pouring: a cup of small balls tilts over a bowl; they land in it or go over its edge (MuJoCo).

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, numpy, mujoco (extra `sim-mujoco`).
Refuses to know: models, training, planners, files.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldline.envs.mujoco_stage import GRAVITY, SCENERY, MujocoStage, color_attribute, rgba
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Value
from worldline.interfaces import ActionSpec

MAX_BALLS = 48
NUM_WALLS = 14
CUP_RADIUS, CUP_HEIGHT = 0.05, 0.11
WALL = 0.004
GOAL_X = 0.14
CUP_START = (-0.06, 0.0, 0.17)
OUT_OF_CUP_M = 0.02
"""A ball has left the cup once it is this far outside the cup's cylinder."""


class Pouring(MujocoStage):
    """A cup that is held in the air, moved sideways and tilted, and a bowl or a second cup on the floor.

    Action: velocity of the cup along x, metres per second, and its tilting rate, radians per second, positive towards the goal.
    """

    name = "pouring"
    look_at = (0.05, 0.0, 0.11)
    camera_distance_m = 0.55
    extent_m = 0.4
    rate_hz = 20.0
    timestep_seconds = 0.0025
    action_spec = ActionSpec(low=(-0.3, -2.5), high=(0.3, 2.5), names=("cup_velocity_x", "cup_tilt_rate"))
    state_names = (
        *("cup_x", "cup_tilt", "num_balls", "num_in_cup", "num_in_goal", "num_on_floor"),
        *(f"ball_{index}_{axis}" for index in range(MAX_BALLS) for axis in "xyz"),
        *(f"ball_{index}_velocity_{axis}" for index in range(MAX_BALLS) for axis in "xyz"),
    )
    event_names = ("leaves_cup", "lands_in_goal", "spill", "goal_full", "cup_touches_goal")
    policy_names = ("pour", "careless", "random")
    attributes = (
        Attribute(name="num_balls", kind="scene", usual=(24, 30, 36), unusual=(44, 48)),
        Attribute(name="goal", kind="scene", usual=("bowl", "cup"), unusual=("plate",)),
        Attribute(name="ball_radius_m", kind="scene", usual=(0.0085, 0.0105), unusual=(0.0065, 0.0075)),
        color_attribute("ball_color"),
        color_attribute("goal_color"),
        Attribute(name="cup_color", kind="appearance", usual=("glass", "white", "blue", "green"), unusual=("pink", "black")),
        Attribute(name="friction", kind="physics", usual=(0.1, 0.5), unusual=(0.9, 1.2)),
        Attribute(name="ball_density_kg_m3", kind="physics", usual=(800.0, 2500.0), unusual=(7000.0, 9000.0)),
        Attribute(name="bounce_damping", kind="physics", usual=(0.6, 1.0), unusual=(0.08, 0.15)),
        GRAVITY,
        *SCENERY,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode: the balls have come to rest in the upright cup."""
        generator = np.random.default_rng(seed)
        self._num_balls = int(attributes["num_balls"])
        self._goal_size = {"bowl": (0.075, 0.05), "cup": (0.05, 0.08), "plate": (0.1, 0.02)}[str(attributes["goal"])]
        self._set_stage(attributes, self._bodies(attributes, generator), further=_MOTORS)
        self._ball_joints = [int(self.model.joint(f"ball_{index}").qposadr[0]) for index in range(self._num_balls)]
        self._ball_speeds = [int(self.model.joint(f"ball_{index}").dofadr[0]) for index in range(self._num_balls)]
        for _ in range(round(0.6 * self.rate_hz)):
            self._advance()
        self.data.time = 0.0
        self._cup_geoms = [self._geom(f"cup_{index}") for index in range(NUM_WALLS + 1)]
        self._goal_geoms = [self._geom(f"goal_{index}") for index in range(NUM_WALLS + 1)]
        self._was_in_cup, self._was_in_goal, self._was_on_floor = self._places()
        self._spilled = self._was_on_floor.copy()
        self._events = dict.fromkeys(self.event_names, False)
        self._happened: set[str] = set()

    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame."""
        self._act(action)
        in_cup, in_goal, on_floor = self._places()
        self._events = {
            "leaves_cup": bool((self._was_in_cup & ~in_cup).any()),
            "lands_in_goal": bool((in_goal & ~self._was_in_goal).any()),
            "spill": bool((on_floor & ~self._spilled).any()),
            "goal_full": bool(in_goal.mean() >= 0.8),
            "cup_touches_goal": self._touching(self._cup_geoms, self._goal_geoms),
        }
        self._was_in_cup, self._was_in_goal, self._was_on_floor = in_cup, in_goal, on_floor
        self._spilled |= on_floor
        self._happened |= {name for name, value in self._events.items() if value}

    def state(self) -> np.ndarray:
        """Ground truth, see `state_names`; rows of balls that this episode lacks are zero."""
        positions, velocities = np.zeros((MAX_BALLS, 3)), np.zeros((MAX_BALLS, 3))
        positions[: self._num_balls] = self._balls()
        velocities[: self._num_balls] = [self.data.qvel[at : at + 3] for at in self._ball_speeds]
        counts = (int(place.sum()) for place in self._places())
        cup_x, tilt = CUP_START[0] + float(self.data.joint("cup_x").qpos[0]), float(self.data.joint("cup_tilt").qpos[0])
        return np.array([cup_x, tilt, self._num_balls, *counts, *positions.ravel(), *velocities.ravel()])

    def events(self) -> Mapping[str, bool]:
        """What happened in the last step; `goal_full` (80 % of the balls are in the goal) and `cup_touches_goal` last."""
        return dict(self._events)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`pour` (over the goal, then tilts; now and then too fast), `careless` (beside the middle, fast) or `random`."""
        self._check_policy(name)
        if name == "random":
            return self._wander(generator)
        careless = name == "careless"
        # The lip of the cup, not its middle, has to be over the goal.
        aim = GOAL_X - 0.1 + float(generator.uniform(-0.06, 0.06) if careless else generator.uniform(-0.02, 0.012))
        rate = float(generator.uniform(1.2, 2.5) if careless else generator.uniform(0.7, 1.5))
        full_tilt = float(generator.uniform(1.5, 2.6))
        wait = int(generator.integers(0, 6))
        frame = [0]

        def act() -> np.ndarray:
            frame[0] += 1
            cup_x, tilt = self.state()[:2]
            speed = float(np.clip((aim - cup_x) * 6, -0.25, 0.25)) if frame[0] > wait else 0.0
            there = abs(aim - cup_x) < 0.015
            return np.array([speed, float(np.clip((full_tilt - tilt) * 5, -rate, rate)) if there else 0.0])

        return act

    def captions(self) -> Sequence[str]:
        """What is poured into what, and how much of it arrives."""
        facts = self._attributes
        balls, goal = f"{facts['ball_color']} balls", f"{facts['goal_color']} {facts['goal']}"
        cup = "glass cup" if facts["cup_color"] == "glass" else f"{facts['cup_color']} plastic cup"
        subjects = (
            f"{article(cup)} full of {balls} over {article(goal)}",
            f"pouring {balls} from {article(cup)} into {article(goal)}",
            f"{article(cup)} tilts above {article(goal)} on a {facts['floor_color']} floor",
            f"{balls} in {article(cup)}",
        )
        if "leaves_cup" not in self._happened:
            endings = ("nothing is poured", "all of them stay in the cup", "no ball leaves the cup")
        elif not self._spilled.any():
            endings = ("none is spilled", f"they land in the {goal}", f"the {facts['goal']} catches what falls")
        elif "lands_in_goal" not in self._happened:
            endings = ("all that falls misses", f"they spill beside the {goal}", "the balls roll away over the floor")
        else:
            some = "a few" if self._spilled.mean() < 0.25 else "many"
            endings = (f"{some} are spilled", f"some land in the {goal}, {some} roll over the floor", f"{some} go over the edge")
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)

    def _balls(self) -> np.ndarray:
        return np.array([self.data.qpos[at : at + 3] for at in self._ball_joints])

    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each ball, whether it is in the cup, in the goal, lying on the floor outside of both; (balls,) bool each."""
        balls = self._balls()
        cup = self.data.body("cup")
        local = (balls - cup.xpos) @ cup.xmat.reshape(3, 3)
        radial = np.linalg.norm(local[:, :2], axis=1)
        in_cup = (radial < CUP_RADIUS + OUT_OF_CUP_M) & (np.abs(local[:, 2]) < CUP_HEIGHT / 2 + OUT_OF_CUP_M)
        radius, height = self._goal_size
        in_goal = (np.linalg.norm(balls[:, :2] - (GOAL_X, 0.0), axis=1) < radius) & (balls[:, 2] < height) & ~in_cup
        on_floor = (balls[:, 2] < 2 * float(self._attributes["ball_radius_m"])) & ~in_goal & ~in_cup
        return in_cup, in_goal, on_floor

    def _bodies(self, attributes: Mapping[str, Value], generator: np.random.Generator) -> str:
        damping = float(attributes["bounce_damping"])
        # The product of both numbers is the stiffness: were it to change with the damping, bouncing balls would go through the cup.
        contact = f'friction="{attributes["friction"]} 0.002 0.0001" condim="3" solref="{0.005 / damping:.6g} {damping}"'
        glass = attributes["cup_color"] == "glass"
        cup_color = "0.75 0.9 0.95 0.28" if glass else rgba(attributes["cup_color"], 0.3)
        cup = _vessel("cup", bottom=CUP_RADIUS, top=CUP_RADIUS, height=CUP_HEIGHT, z=-CUP_HEIGHT / 2, color=cup_color, contact=contact)
        radius, height = self._goal_size
        flare = 1.0 if attributes["goal"] == "cup" else 0.65
        goal = _vessel(
            "goal", bottom=radius * flare, top=radius, height=height, z=0.0, color=rgba(attributes["goal_color"]), contact=contact
        )
        size = float(attributes["ball_radius_m"])
        balls = []
        for index, shift in enumerate(generator.uniform(-0.002, 0.002, (MAX_BALLS, 2))[: self._num_balls]):
            # Rings of six with one in the middle, layer upon layer: nothing overlaps, and it fits into the cup.
            layer, place = divmod(index, 7)
            angle, ring = (place + 0.5 * (layer % 2)) * np.pi / 3, 0.0 if place == 6 else 2.6 * size
            x, y = CUP_START[0] + ring * np.cos(angle) + shift[0], ring * np.sin(angle) + shift[1]
            z = CUP_START[2] - CUP_HEIGHT / 2 + WALL + size * (1.3 + 2.3 * layer)
            balls.append(
                f'<body pos="{x:.6g} {y:.6g} {z:.6g}"><freejoint name="ball_{index}"/><geom name="ball_{index}" size="{size}" '
                f'density="{attributes["ball_density_kg_m3"]}" rgba="{rgba(attributes["ball_color"])}" {contact}/></body>'
            )
        return f"""
<body name="cup" pos="{CUP_START[0]} {CUP_START[1]} {CUP_START[2]}" gravcomp="1">
  <joint name="cup_x" type="slide" axis="1 0 0" limited="true" range="-0.2 0.35" damping="1"/>
  <joint name="cup_tilt" type="hinge" axis="0 1 0" limited="true" range="-35 160" damping="0.01" armature="0.001"/>
  {cup}
</body>
<body name="goal" pos="{GOAL_X} 0 0">{goal}</body>
{"".join(balls)}"""


_MOTORS = """<actuator><velocity joint="cup_x" kv="80"/><velocity joint="cup_tilt" kv="2"/></actuator>"""


def _vessel(name: str, *, bottom: float, top: float, height: float, z: float, color: str, contact: str) -> str:
    """A round vessel of flat walls, from `z` up, wider at the top if `top` is larger than `bottom`."""
    lean = np.arctan2(top - bottom, height)
    radius, width = (bottom + top) / 2, max(bottom, top) * np.tan(np.pi / NUM_WALLS) * 1.05
    parts = [
        f'<geom name="{name}_{NUM_WALLS}" type="cylinder" size="{bottom:.6g} {WALL}" pos="0 0 {z + WALL:.6g}" '
        f'rgba="{color}" mass="0.1" {contact}/>'
    ]
    for index in range(NUM_WALLS):
        angle = 2 * np.pi * index / NUM_WALLS
        parts.append(
            f'<geom name="{name}_{index}" type="box" size="{WALL / 2} {width:.6g} {np.hypot(height, top - bottom) / 2:.6g}" mass="0.02" '
            f'pos="{radius * np.cos(angle):.6g} {radius * np.sin(angle):.6g} {z + height / 2:.6g}" '
            f'quat="{_turned(angle, lean)}" rgba="{color}" {contact}/>'
        )
    return "".join(parts)


def _turned(yaw: float, pitch: float) -> str:
    """The quaternion that pitches about y and then turns about z."""
    (cos_yaw, sin_yaw), (cos_pitch, sin_pitch) = ((np.cos(angle / 2), np.sin(angle / 2)) for angle in (yaw, pitch))
    return f"{cos_yaw * cos_pitch:.8g} {-sin_yaw * sin_pitch:.8g} {cos_yaw * sin_pitch:.8g} {sin_yaw * cos_pitch:.8g}"
