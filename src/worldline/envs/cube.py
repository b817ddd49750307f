"""Cube: a robot arm picks a cube and puts it where it should be (OGBench's manipulation suite, MIT; physics by MuJoCo).

The arm's controller is OGBench's own and lives in Python: a state of MuJoCo alone does not restore it, an episode from its seed is exact.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.mujoco_engine, envs.mujoco_camera, numpy, ogbench and mujoco
(extra `sim-mujoco`). Refuses to know: clips, files.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from worldline.envs.colors import share_of_full
from worldline.envs.mujoco_camera import MujocoCamera, free_view
from worldline.envs.mujoco_engine import check_physics, load_mujoco
from worldline.envs.phrases import sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.interfaces import ActionSpec

_STEPS_PER_FRAME = 2  # of the environment, 0.05 s each
GOAL_DISTANCE_M = 0.04
LIFTED_M = 0.06
"""Height of the cube's centre above which it counts as lifted; at rest it is at 0.02."""


class Cube(Simulator):
    """See `Simulator`. Metres and radians; the action moves the hand, turns it, and opens or closes it, as shares of the largest step."""

    name = "cube"
    extra = "sim-mujoco"
    rate_hz = 10.0
    action_spec = ActionSpec(low=(-1.0,) * 5, high=(1.0,) * 5, names=("x", "y", "z", "yaw", "gripper"))
    state_names = (
        *("hand_x", "hand_y", "hand_z", "hand_yaw", "gripper_opening", "cube_x", "cube_y", "cube_z", "cube_yaw"),
        *("cube_velocity_x", "cube_velocity_y", "cube_velocity_z", "goal_x", "goal_y", "goal_z"),
        *(f"joint_{index}" for index in range(6)),
    )
    event_names = ("contact", "lifted", "goal_reached")
    policy_names = ("oracle", "wander", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="cube_color", kind="appearance", usual=("red", "blue", "orange", "green"), unusual=("magenta", "cyan", "black")),
        Attribute(name="floor_tint", kind="appearance", usual=("white", "light gray", "sand"), unusual=("lime", "pink")),
        Attribute(name="camera_azimuth_degrees", kind="appearance", usual=(160.0, 200.0), unusual=(120.0, 145.0)),
        Attribute(name="camera_elevation_degrees", kind="appearance", usual=(-40.0, -25.0), unusual=(-65.0, -50.0)),
        Attribute(name="friction_scale", kind="physics", usual=(0.8, 1.3), unusual=(0.1, 0.3)),
        Attribute(name="mass_scale", kind="physics", usual=(0.7, 1.5), unusual=(3.0, 5.0)),
        Attribute(name="gravity_m_s2", kind="physics", usual=(8.5, 11.0), unusual=(2.0, 5.0)),
    )

    def __init__(self) -> None:
        self._mujoco = load_mujoco()
        from ogbench.manipspace.envs.cube_env import CubeEnv  # noqa: PLC0415

        # The permanent target, seen through; success does not repaint the cube, because colours are set before each picture.
        self._env: Any = CubeEnv("single", mode="data_collection", visualize_info=True, terminate_at_goal=False)
        _, self._info = self._env.reset(seed=0)
        model = self._env.model
        self._camera = MujocoCamera(model, None)
        self._cube_geoms = np.flatnonzero(model.geom_bodyid == model.body("object_0").id)
        self._target_geoms = np.flatnonzero(model.geom_bodyid == model.body("object_target_0").id)
        self._floor = model.geom("floor").id
        self._usual = {name: getattr(model, name).copy() for name in ("body_mass", "body_inertia", "geom_friction")}
        self._attributes: dict[str, Value] = {}
        self._events: dict[str, bool] = {}
        self._happened: set[str] = set()

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        model = self._env.model
        self._attributes = dict(attributes)
        for name, value in self._usual.items():
            getattr(model, name)[:] = value
        body = model.body("object_0").id
        model.body_mass[body] *= float(attributes["mass_scale"])
        model.body_inertia[body] *= float(attributes["mass_scale"])
        model.geom_friction[self._cube_geoms, 0] *= float(attributes["friction_scale"])
        model.opt.gravity[2] = -float(attributes["gravity_m_s2"])
        self._mujoco.mj_setConst(model, self._env.data)  # what else follows from a mass
        _, self._info = self._env.reset(seed=seed)
        azimuth, elevation = (float(attributes[f"camera_{angle}_degrees"]) for angle in ("azimuth", "elevation"))
        self._camera.view = free_view((0.4, 0.0, 0.08), distance=0.9, azimuth=azimuth, elevation=elevation)
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        touched = False
        for _ in range(_STEPS_PER_FRAME):
            _, _, _, _, self._info = self._env.step(np.asarray(action, np.float64))
            touched = touched or self._touches_hand()
        check_physics(self._env.data, self.name, self._attributes)
        cube, goal = self._info["privileged/block_0_pos"], self._info["privileged/target_block_pos"]
        self._events = {
            "contact": touched,
            "lifted": bool(cube[2] > LIFTED_M),
            "goal_reached": bool(np.linalg.norm(cube - goal) <= GOAL_DISTANCE_M),
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        rgba = self._env.model.geom_rgba
        rgba[self._cube_geoms, :3] = rgba[self._target_geoms, :3] = share_of_full(self._attributes["cube_color"])
        rgba[self._target_geoms, 3] = 0.3
        material = self._env.model.geom_matid[self._floor]
        self._env.model.mat_rgba[material, :3] = share_of_full(self._attributes["floor_tint"])
        return self._camera.take(self._env.data, size)

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        info, data = self._info, self._env.data
        return np.concatenate(
            [
                *(info[f"proprio/{name}"] for name in ("effector_pos", "effector_yaw", "gripper_opening")),
                *(info[f"privileged/block_0_{name}"] for name in ("pos", "yaw")),
                data.joint("object_joint_0").qvel[:3],
                info["privileged/target_block_pos"],
                info["proprio/joint_pos"],
            ]
        )

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`oracle` is OGBench's own; `wander` moves the hand about at random but smoothly, `random` jitters."""
        if name == "random":
            return lambda: generator.uniform(-1, 1, 5)
        if name == "wander":
            noise = np.zeros(5)

            def stroll() -> np.ndarray:
                nonlocal noise
                noise = 0.9 * noise + generator.normal(0, 0.35, 5)
                return np.clip(noise, -1, 1)

            return stroll
        from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle  # noqa: PLC0415

        oracle = CubeMarkovOracle(env=self._env, min_norm=0.3)
        state = np.random.get_state()  # the oracle draws from numpy's global generator
        np.random.seed(int(generator.integers(2**31)))
        oracle.reset(None, self._info)
        np.random.set_state(state)
        return lambda: np.clip(oracle.select_action(None, self._info) + generator.normal(0, 0.05, 5), -1, 1)

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        cube = str(self._attributes["cube_color"])
        slippery = "slippery " if float(self._attributes["friction_scale"]) < 0.5 else ""
        thing = f"{slippery}{cube} cube"
        if {"lifted", "goal_reached"} <= self._happened:
            outcomes = (
                f"picks up the {thing} and puts it on its goal",
                f"carries the {thing} to its goal",
                f"moves the {thing} into place",
            )
        elif "lifted" in self._happened:
            outcomes = (f"lifts the {thing}", f"picks up the {thing}", f"holds the {thing} in the air")
        elif "contact" in self._happened:
            outcomes = (f"touches the {thing}", f"nudges the {thing}", f"reaches for the {thing} and touches it")
        else:
            outcomes = (f"moves without touching the {thing}", f"keeps away from the {thing}", f"leaves the {thing} where it is")
        subjects = ("a robot arm", "a UR5e arm with a gripper", "on a dark floor, a gripper", "the robot's hand")
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]

    def close(self) -> None:
        """See `Simulator.close`."""
        self._camera.close()

    def _touches_hand(self) -> bool:
        """Whether the cube touches anything but the ground."""
        pairs = self._env.data.contact.geom
        with_cube = np.isin(pairs, self._cube_geoms)
        others = pairs[with_cube.any(1)][~with_cube[with_cube.any(1)]]
        ground = self._env.model.geom_bodyid[others] == 0
        return bool((~ground).any())
