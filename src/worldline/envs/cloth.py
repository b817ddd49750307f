"""Cloth: a gripper holds one corner of a cloth and drags it over an obstacle (MuJoCo flex).

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, numpy, mujoco (extra `sim-mujoco`).
Refuses to know: models, training, planners, files.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldline.envs.mujoco_stage import FLEX, GRAVITY, SCENERY, MujocoStage, color_attribute, rgba
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Value
from worldline.interfaces import ActionSpec

NUM_SIDE = 9
NUM_VERTICES = NUM_SIDE**2
SPACING_M = 0.035
SPEED = 0.5


class Cloth(MujocoStage):
    """A square of cloth above an obstacle. Action: velocity of the gripper that holds its corner, metres per second."""

    name = "cloth"
    look_at = (0.0, 0.0, 0.06)
    camera_distance_m = 0.68
    extent_m = 0.5
    timestep_seconds = 0.005
    action_spec = ActionSpec(low=(-SPEED,) * 3, high=(SPEED,) * 3, names=("gripper_velocity_x", "gripper_velocity_y", "gripper_velocity_z"))
    state_names = (
        *("gripper_x", "gripper_y", "gripper_z"),
        *(f"vertex_{index}_{axis}" for index in range(NUM_VERTICES) for axis in "xyz"),
        *(f"vertex_{index}_velocity_{axis}" for index in range(NUM_VERTICES) for axis in "xyz"),
    )
    event_names = ("touches_obstacle", "touches_floor", "over_obstacle", "slides_off", "all_on_floor")
    policy_names = ("drag", "drape", "random")
    attributes = (
        Attribute(name="obstacle", kind="scene", usual=("ball", "box", "cylinder"), unusual=("post",)),
        Attribute(name="obstacle_size_m", kind="scene", usual=(0.045, 0.065), unusual=(0.03, 0.036)),
        color_attribute("cloth_color"),
        Attribute(name="pattern", kind="appearance", usual=("plain", "checkered"), unusual=("striped",)),
        color_attribute("obstacle_color"),
        Attribute(name="friction", kind="physics", usual=(0.2, 0.7), unusual=(1.2, 1.6)),
        Attribute(name="cloth_mass_kg", kind="physics", usual=(0.1, 0.3), unusual=(0.6, 1.0)),
        Attribute(name="bending_stiffness_pa", kind="physics", usual=(1e4, 1e5), unusual=(1e6, 2e6)),
        GRAVITY,
        *SCENERY,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode: the cloth is stretched out in the air, and falls over the obstacle."""
        generator = np.random.default_rng(seed)
        size = float(attributes["obstacle_size_m"])
        self._radius, self._top = {
            "ball": (size, 1.6 * size),
            "box": (size, 1.4 * size),
            "cylinder": (size, 1.8 * size),
            "post": (size, 5 * size),
        }[str(attributes["obstacle"])]
        shift = generator.uniform(-0.05, 0.05, 2)
        self._corner = np.array([*(shift - SPACING_M * (NUM_SIDE - 1) / 2), self._top + 0.03])
        self._set_stage(attributes, self._bodies(attributes, shift), assets=_assets(attributes), further=_FURTHER, options=_OPTIONS)
        start = int(self.model.joint("gripper_z").dofadr[0]) + 1
        self._vertex_speeds = slice(start, start + 3 * NUM_VERTICES)
        self._floor, self._obstacle = [self._geom("floor")], [self._geom("obstacle")]
        self._was_over = False
        self._events = dict.fromkeys(self.event_names, False)
        self._happened: set[str] = set()

    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame."""
        self._act(action)
        over = self._is_over()
        self._events = {
            "touches_obstacle": self._touching([FLEX], self._obstacle),
            "touches_floor": self._touching([FLEX], self._floor),
            "over_obstacle": over,
            "slides_off": self._was_over and not over,
            "all_on_floor": bool((self.data.flexvert_xpos[:, 2] < 0.03).mean() > 0.9),
        }
        self._was_over = over
        self._happened |= {name for name, value in self._events.items() if value}

    def state(self) -> np.ndarray:
        """Ground truth, see `state_names`."""
        vertices = self.data.flexvert_xpos.ravel()
        return np.concatenate([self.data.body("gripper").xpos, vertices, self.data.qvel[self._vertex_speeds]])

    def events(self) -> Mapping[str, bool]:
        """What happened in the last step; all but `slides_off` last."""
        return dict(self._events)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`drag` (pulls the corner across and away), `drape` (lays it down) or `random`."""
        self._check_policy(name)
        if name == "random":
            return self._wander(generator)
        if name == "drag":
            angle = float(generator.uniform(0, 2 * np.pi))
            reach, height = float(generator.uniform(0.12, 0.38)), float(generator.uniform(0.02, 0.16))
            target = np.array([reach * np.cos(angle), reach * np.sin(angle), height])
        else:
            target = np.array([*(self._corner[:2] * generator.uniform(0.9, 1.1)), 0.02])
        speed, wait = float(generator.uniform(0.5, 1.0)) * SPEED, int(generator.integers(4, 16))
        frame = [0]

        def act() -> np.ndarray:
            frame[0] += 1
            if frame[0] <= wait:
                return np.zeros(3)
            return self._towards(target, self.data.body("gripper").xpos, speed)

        return act

    def captions(self) -> Sequence[str]:
        """The cloth, what it lies on, and whether it stays there."""
        facts = self._attributes
        cloth, obstacle = f"{facts['pattern']} {facts['cloth_color']} cloth", f"{facts['obstacle_color']} {facts['obstacle']}"
        subjects = (
            f"{article(cloth)} over {article(obstacle)}",
            f"a gripper drags {article(cloth)} by its corner across {article(obstacle)}",
            f"{article(cloth)} is pulled over {article(obstacle)} on a {facts['floor_color']} floor",
            f"a piece of {facts['cloth_color']} fabric and {article(obstacle)}",
        )
        if "over_obstacle" not in self._happened:
            endings = ("the cloth misses it", f"the {facts['obstacle']} stays uncovered", "the fabric falls beside it")
        elif not self._was_over:
            endings = (
                "the cloth slides off",
                f"the fabric is pulled down from the {facts['obstacle']}",
                f"the {facts['obstacle']} is uncovered",
            )
        elif "touches_floor" in self._happened:
            endings = ("it drapes down to the floor", f"the fabric covers the {facts['obstacle']}", "it hangs over it and stays")
        else:
            endings = ("it stays up", "it hangs over it without reaching the floor", f"the fabric rests on the {facts['obstacle']}")
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)

    def _is_over(self) -> bool:
        """Whether a vertex of the cloth lies above the obstacle's upper half."""
        vertices = self.data.flexvert_xpos
        return bool(((np.linalg.norm(vertices[:, :2], axis=1) < 0.8 * self._radius) & (vertices[:, 2] > 0.5 * self._top)).any())

    def _bodies(self, attributes: Mapping[str, Value], shift: np.ndarray) -> str:
        size, kind = float(attributes["obstacle_size_m"]), str(attributes["obstacle"])
        shapes = {
            "ball": f'type="sphere" size="{size}" pos="0 0 {0.6 * size}"',
            "box": f'type="box" size="{size} {size} {0.7 * size}" pos="0 0 {0.7 * size}"',
            "cylinder": f'type="cylinder" size="{size} {0.9 * size}" pos="0 0 {0.9 * size}"',
            "post": f'type="capsule" size="{size} {2 * size}" pos="0 0 {2 * size}"',
        }
        friction = f'friction="{attributes["friction"]} 0.003 0.0001"'
        x, y, z = self._corner
        joints = "".join(
            f'<joint name="gripper_{axis}" type="slide" axis="{direction}" limited="true" range="{low} {high}"/>'
            for axis, direction, low, high in (
                ("x", "1 0 0", -0.4 - x, 0.4 - x),
                ("y", "0 1 0", -0.4 - y, 0.4 - y),
                ("z", "0 0 1", 0.015 - z, 0.4 - z),
            )
        )
        return f"""
<geom name="obstacle" {shapes[kind]} rgba="{rgba(attributes["obstacle_color"])}" {friction} solref="0.01 1"/>
<body name="gripper" pos="{x} {y} {z}" gravcomp="1">{joints}
  <geom type="sphere" size="0.012" mass="0.5" rgba="0.2 0.2 0.22 1" contype="0" conaffinity="0"/>
  <geom type="capsule" fromto="0 0 0.01 0 0 0.09" size="0.005" mass="0.1" rgba="0.5 0.5 0.52 1" contype="0" conaffinity="0"/></body>
<flexcomp name="cloth" type="grid" dim="2" count="{NUM_SIDE} {NUM_SIDE} 1" spacing="{SPACING_M} {SPACING_M} {SPACING_M}" radius="0.004"
  pos="{shift[0]} {shift[1]} {z}" mass="{attributes["cloth_mass_kg"]}" material="cloth" rgba="{rgba(attributes["cloth_color"])}">
  <contact {friction} selfcollide="none" solref="0.01 1" condim="3"/>
  <edge equality="true" damping="0.002" solref="0.012 1"/>
  <elasticity young="{attributes["bending_stiffness_pa"]}" poisson="0.2" thickness="0.002" elastic2d="bend" damping="0.0005"/>
</flexcomp>"""


_OPTIONS = 'integrator="discrete" solver="CG" iterations="30" tolerance="1e-6"'
_FURTHER = """
<equality><connect body1="gripper" body2="cloth_0" anchor="0 0 0" solref="0.012 1"/></equality>
<actuator><velocity joint="gripper_x" kv="100"/><velocity joint="gripper_y" kv="100"/><velocity joint="gripper_z" kv="100"/></actuator>"""


def _assets(attributes: Mapping[str, Value]) -> str:
    if attributes["pattern"] == "plain":
        return '<material name="cloth" specular="0.05"/>'
    repeat = "4 4" if attributes["pattern"] == "checkered" else "0.001 4"
    return (
        '<texture name="cloth" type="2d" builtin="checker" rgb1="1 1 1" rgb2="0.45 0.45 0.45" width="64" height="64"/>'
        f'<material name="cloth" texture="cloth" texrepeat="{repeat}" specular="0.05"/>'
    )
