"""Soft: a jelly-like body drops on a ledge or on the floor and is pressed or pushed by a plate (MuJoCo flex).

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, numpy, mujoco (extra `sim-mujoco`).
Refuses to know: models, training, planners, files.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldline.envs.mujoco_stage import FLEX, GRAVITY, SCENERY, MujocoStage, color_attribute, rgba
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Value
from worldline.interfaces import ActionSpec

NUM_SIDE = 5
NUM_VERTICES = NUM_SIDE**3 - (NUM_SIDE - 2) ** 3 + 1
"""Those of the surface and the centre."""

NUM_NODES = 27
"""Of the body's single quadratic finite element, which its vertices follow: full finite elements of this surface diverge
within two steps."""

SPEED = 0.5
PLATE_START = (-0.13, 0.0, 0.3)
SQUASHED_SHARE = 0.75
"""A body is squashed when it is lower than this share of its height at the start."""


class Soft(MujocoStage):
    """A soft body that falls, and a plate on a rod. Action: velocity of the plate, metres per second."""

    name = "soft"
    look_at = (0.0, 0.0, 0.1)
    camera_distance_m = 0.68
    extent_m = 0.45
    timestep_seconds = 0.0025
    action_spec = ActionSpec(low=(-SPEED,) * 3, high=(SPEED,) * 3, names=("plate_velocity_x", "plate_velocity_y", "plate_velocity_z"))
    state_names = (
        *("plate_x", "plate_y", "plate_z"),
        *(f"vertex_{index}_{axis}" for index in range(NUM_VERTICES) for axis in "xyz"),
        *(f"node_{index}_velocity_{axis}" for index in range(NUM_NODES) for axis in "xyz"),
    )
    event_names = ("touches_floor", "touches_ledge", "plate_contact", "squashed", "slides_off_ledge")
    policy_names = ("press", "push", "watch", "random")
    attributes = (
        Attribute(name="shape", kind="scene", usual=("box", "ellipsoid", "cylinder"), unusual=("flat box",)),
        Attribute(name="ledge", kind="scene", usual=("none", "low", "low", "high"), unusual=("very high",)),
        Attribute(name="drop_height_m", kind="scene", usual=(0.02, 0.12), unusual=(0.18, 0.24)),
        color_attribute("body_color"),
        Attribute(name="ledge_color", kind="appearance", usual=("gray", "brown", "white"), unusual=("turquoise",)),
        Attribute(name="plate_color", kind="appearance", usual=("black", "white", "gray"), unusual=("pink",)),
        Attribute(name="stiffness_pa", kind="physics", usual=(1.5e3, 6e3), unusual=(2e4, 5e4)),
        Attribute(name="body_mass_kg", kind="physics", usual=(0.15, 0.4), unusual=(0.8, 1.2)),
        Attribute(name="friction", kind="physics", usual=(0.3, 0.9), unusual=(0.05, 0.12)),
        GRAVITY,
        *SCENERY,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode: the body hangs in the air and begins to fall."""
        shift = np.random.default_rng(seed).uniform(-0.045, 0.045, 2)
        self._set_stage(attributes, self._bodies(attributes, shift), further=_FURTHER, options=_OPTIONS)
        start = int(self.model.joint("plate_z").dofadr[0]) + 1
        self._node_speeds = slice(start, start + 3 * NUM_NODES)
        self._height = self._height_now()
        self._was_on_ledge = False
        self._events = dict.fromkeys(self.event_names, False)
        self._happened: set[str] = set()

    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame."""
        self._act(action)
        on_floor, on_ledge = self._touching([FLEX], [self._geom("floor")]), self._touching([FLEX], [self._geom("ledge")])
        off = "touches_ledge" in self._happened and on_floor and not on_ledge
        self._events = {
            "touches_floor": on_floor,
            "touches_ledge": on_ledge,
            "plate_contact": self._touching([FLEX], [self._geom("plate")]),
            "squashed": self._height_now() < SQUASHED_SHARE * self._height,
            "slides_off_ledge": off and "slides_off_ledge" not in self._happened,
        }
        self._happened |= {name for name, value in self._events.items() if value}

    def state(self) -> np.ndarray:
        """Ground truth, see `state_names`."""
        return np.concatenate([self.data.body("plate").xpos, self.data.flexvert_xpos.ravel(), self.data.qvel[self._node_speeds]])

    def events(self) -> Mapping[str, bool]:
        """What happened in the last step; all but `slides_off_ledge` last."""
        return dict(self._events)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`press` (comes down on the body), `push` (shoves it sideways), `watch` (keeps away) or `random`."""
        self._check_policy(name)
        if name == "watch":
            return lambda: np.zeros(3)
        if name == "random":
            return self._wander(generator)
        wait, speed, depth = int(generator.integers(8, 16)), float(generator.uniform(0.4, 1.0)) * SPEED, float(generator.uniform(0.3, 0.8))
        frame = [0]

        def act() -> np.ndarray:
            frame[0] += 1
            if frame[0] <= wait:
                return np.zeros(3)
            vertices, plate = self.data.flexvert_xpos, self.data.body("plate").xpos
            middle, bottom = vertices.mean(axis=0), float(vertices[:, 2].min())
            if name == "push":
                target = np.array([min(middle[0] + 0.2, 0.15), middle[1], max(0.03, middle[2])])
                if plate[2] > target[2] + 0.03 and plate[0] < vertices[:, 0].min() - 0.02:
                    target = np.array([plate[0], middle[1], target[2]])
            else:
                target = np.array([middle[0], middle[1], bottom + depth * self._height])
                if np.hypot(*(plate - middle)[:2]) > 0.04:
                    target[2] = 0.3
            return self._towards(target, plate, speed)

        return act

    def captions(self) -> Sequence[str]:
        """The body, what it falls on, and what is done to it."""
        facts = self._attributes
        shape = {"box": "cube", "ellipsoid": "ball", "cylinder": "cylinder", "flat box": "slab"}[str(facts["shape"])]
        body = f"soft {facts['body_color']} {shape}"
        ground = f"the {facts['floor_color']} floor" if facts["ledge"] == "none" else f"a {facts['ledge']} {facts['ledge_color']} ledge"
        subjects = (
            f"{article(body)} drops on {ground}",
            f"{article(str(facts['body_color']))} jelly {shape} falls",
            f"{article(body)} and {article(str(facts['plate_color']))} plate",
            f"{article(str(facts['body_color']))} {shape} of rubbery jelly lands on {ground}",
        )
        plate = f"the {facts['plate_color']} plate"
        if "slides_off_ledge" in self._happened:
            endings = ("it slides off and ends on the floor", "it does not stay on the ledge", "it tumbles over the edge")
        elif "plate_contact" in self._happened and "squashed" in self._happened:
            endings = (f"{plate} squashes it", "it is pressed flat", f"it gives way under {plate}")
        elif "plate_contact" in self._happened:
            endings = (f"{plate} touches it", "it is nudged and wobbles", f"it yields a little to {plate}")
        else:
            endings = ("it wobbles and comes to rest", "nothing touches it", "it bounces softly and lies still")
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)

    def _height_now(self) -> float:
        return float(np.ptp(self.data.flexvert_xpos[:, 2]))

    def _bodies(self, attributes: Mapping[str, Value], shift: np.ndarray) -> str:
        ledge = {"none": 0.0, "low": 0.025, "high": 0.045, "very high": 0.07}[str(attributes["ledge"])]
        flat = attributes["shape"] == "flat box"
        kind = "box" if flat else str(attributes["shape"])
        spacing = (0.03, 0.03, 0.014 if flat else 0.026)
        z = 2 * ledge + float(attributes["drop_height_m"]) + spacing[2] * (NUM_SIDE - 1) / 2
        # Without a ledge, its box lies under the floor: the model keeps its shape, and so does the state.
        ledge_z, ledge_half = (ledge, ledge) if ledge else (-0.1, 0.02)
        friction = f'friction="{attributes["friction"]} 0.003 0.0001"'
        x_start, y_start, z_start = PLATE_START
        joints = "".join(
            f'<joint name="plate_{axis}" type="slide" axis="{direction}" limited="true" range="{low} {high}"/>'
            for axis, direction, low, high in (
                ("x", "1 0 0", -0.3 - x_start, 0.3 - x_start),
                ("y", "0 1 0", -0.3 - y_start, 0.3 - y_start),
                ("z", "0 0 1", 0.01 - z_start, 0.4 - z_start),
            )
        )
        color = rgba(attributes["plate_color"])
        return f"""
<geom name="ledge" type="box" size="0.06 0.06 {ledge_half}" pos="0 0 {ledge_z}" rgba="{rgba(attributes["ledge_color"])}" {friction}/>
<body name="plate" pos="{x_start} {y_start} {z_start}" gravcomp="1">{joints}
  <geom name="plate" type="cylinder" size="0.04 0.006" mass="0.4" rgba="{color}" {friction}/>
  <geom type="capsule" fromto="0 0 0.01 0 0 0.25" size="0.006" mass="0.1" rgba="{color}" contype="0" conaffinity="0"/></body>
<flexcomp name="body" type="{kind}" dim="3" dof="quadratic" count="{NUM_SIDE} {NUM_SIDE} {NUM_SIDE}"
  spacing="{spacing[0]} {spacing[1]} {spacing[2]}" radius="0.004"
  pos="{shift[0]} {shift[1]} {z}" mass="{attributes["body_mass_kg"]}" rgba="{rgba(attributes["body_color"])}">
  <contact {friction} selfcollide="none" solref="0.01 1" condim="3"/>
  <elasticity young="{attributes["stiffness_pa"]}" poisson="0.3" damping="0.02"/>
</flexcomp>"""


_OPTIONS = 'integrator="discrete" solver="CG" iterations="30" tolerance="1e-6"'
_FURTHER = """
<actuator><velocity joint="plate_x" kv="60" forcelimited="true" forcerange="-20 20"/>
<velocity joint="plate_y" kv="60" forcelimited="true" forcerange="-20 20"/>
<velocity joint="plate_z" kv="60" forcelimited="true" forcerange="-20 20"/></actuator>"""
