"""A stage for MuJoCo domains: builds a model, steps it, photographs it and says what touches what.

May import: interfaces, envs.simulator, envs.colors, envs.mujoco_engine, envs.mujoco_camera, numpy, mujoco (extra `sim-mujoco`).
Refuses to know: what is on the stage.
"""

from collections.abc import Collection, Mapping

import numpy as np

from worldline.envs.colors import share_of_full
from worldline.envs.mujoco_camera import MujocoCamera, free_view
from worldline.envs.mujoco_engine import check_physics, load_mujoco
from worldline.envs.simulator import Act, Attribute, Simulator, Value

STEPS_BETWEEN_LOOKS = 4
FLEX = -2
"""The number under which `_touching` knows the first flexible body."""

USUAL_COLORS = ("red", "orange", "yellow", "green", "blue", "purple")
UNUSUAL_COLORS = ("pink", "turquoise", "black", "white")

SCENERY = (
    Attribute(name="floor_color", kind="appearance", usual=("gray", "beige", "brown"), unusual=("mint", "lilac")),
    Attribute(name="light_azimuth_degrees", kind="appearance", usual=(0.0, 360.0)),
    Attribute(name="light_brightness", kind="appearance", usual=(0.65, 0.9), unusual=(0.3, 0.45)),
    Attribute(name="camera_azimuth_degrees", kind="appearance", usual=(60.0, 120.0), unusual=(150.0, 210.0)),
    Attribute(name="camera_elevation_degrees", kind="appearance", usual=(-30.0, -15.0), unusual=(-60.0, -45.0)),
)
"""Attributes that every stage has."""

GRAVITY = Attribute(name="gravity_m_s2", kind="physics", usual=(8.5, 11.0), unusual=(2.0, 5.0))


def color_attribute(name: str) -> Attribute:
    """An attribute that is one of the named colours."""
    return Attribute(name=name, kind="appearance", usual=USUAL_COLORS, unusual=UNUSUAL_COLORS)


def rgba(color: Value, alpha: float = 1.0) -> str:
    """A named colour as MuJoCo's XML wants it."""
    return f"{_numbers(share_of_full(color))} {alpha}"


class MujocoStage(Simulator):
    """A domain on MuJoCo. A subclass's `reset` calls `_set_stage`, its `step` calls `_advance`.

    Class attributes:
        timestep_seconds: of the physics; small enough that stacks stand still.
        look_at: what the camera looks at, in metres.
        camera_distance_m: from there.
        extent_m: how far from there shadows are drawn.
    """

    extra = "sim-mujoco"
    rate_hz = 20.0
    timestep_seconds: float = 0.0025
    look_at: tuple[float, float, float] = (0.0, 0.0, 0.1)
    camera_distance_m: float = 1.2
    extent_m: float = 0.6

    def __init__(self) -> None:
        self._mujoco = load_mujoco()
        self._camera: MujocoCamera | None = None
        self._attributes: Mapping[str, Value] = {}
        self._contacts = np.empty((0, 2), np.int32)

    def _set_stage(self, attributes: Mapping[str, Value], bodies: str, *, assets: str = "", further: str = "", options: str = "") -> None:
        """Build the model: a lit floor and what the arguments hold, as MuJoCo XML.

        Args:
            attributes: values of `SCENERY` and, if the domain has it, `gravity_m_s2`.
            bodies: inside `worldbody`.
            assets: inside `asset`.
            further: actuators, equalities and whatever else stands at the top.
            options: attributes of `option`, which replace the defaults.
        """
        self._attributes = dict(attributes)
        azimuth = np.deg2rad(float(attributes["light_azimuth_degrees"]))
        direction = np.array([0.45 * np.cos(azimuth), 0.45 * np.sin(azimuth), -1.0])
        brightness = float(attributes["light_brightness"])
        floor = share_of_full(attributes["floor_color"])
        options = options or 'cone="elliptic" integrator="implicitfast" iterations="20"'
        xml = f"""
<mujoco>
  <option timestep="{self.timestep_seconds}" gravity="0 0 {-float(attributes.get("gravity_m_s2", 9.81))}" {options}/>
  <visual>
    <headlight ambient="0.3 0.3 0.3" diffuse="0.25 0.25 0.25" specular="0 0 0"/>
    <map znear="0.02" zfar="20" shadowclip="1"/>
  </visual>
  <statistic extent="{self.extent_m}" center="{_numbers(np.array(self.look_at))}"/>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.95 0.96 0.98" rgb2="0.62 0.7 0.8" width="32" height="192"/>
    <texture name="floor" type="2d" builtin="checker" rgb1="{_numbers(floor * 0.82)}" rgb2="{_numbers(floor)}" width="64" height="64"/>
    <material name="floor" texture="floor" texrepeat="10 10" specular="0.1"/>
    {assets}
  </asset>
  <worldbody>
    <light name="sun" directional="true" pos="{_numbers(np.array(self.look_at) - 1.5 * self.extent_m * direction)}"
      dir="{_numbers(direction)}"
      diffuse="{_numbers(np.full(3, brightness))}" specular="0.3 0.3 0.3"/>
    <geom name="floor" type="plane" size="3 3 0.1" material="floor" friction="0.8 0.005 0.0001"/>
    {bodies}
  </worldbody>
  {further}
</mujoco>"""
        self.model = self._mujoco.MjModel.from_xml_string(xml)
        self.data = self._mujoco.MjData(self.model)
        self._mujoco.mj_forward(self.model, self.data)
        self._contacts = np.empty((0, 2), np.int32)
        self.close()
        azimuth, elevation = (float(attributes[f"camera_{angle}_degrees"]) for angle in ("azimuth", "elevation"))
        view = free_view(self.look_at, distance=self.camera_distance_m, azimuth=azimuth, elevation=elevation)
        self._camera = MujocoCamera(self.model, view)
        self._camera.option.flags[self._mujoco.mjtVisFlag.mjVIS_FLEXSKIN] = True

    def _advance(self) -> None:
        """One frame of physics under the present controls. Contacts are noted on the way: a knock is shorter than a frame.

        Raises:
            FloatingPointError: if the simulation diverges or runs away.
        """
        num_steps = round(1 / (self.rate_hz * self.timestep_seconds))
        contacts = []
        for start in range(0, num_steps, STEPS_BETWEEN_LOOKS):
            self._mujoco.mj_step(self.model, self.data, nstep=min(STEPS_BETWEEN_LOOKS, num_steps - start))
            found = self.data.contact
            # A contact with a flexible body has no geom on that side, but its flex: counted from -2 downwards, since -1 is none.
            contacts.append(np.where(found.geom >= 0, found.geom, -2 - found.flex))
        self._contacts = np.concatenate(contacts)
        # A step ends with new coordinates and the old places of bodies: state, events and picture have to be of one moment.
        self._mujoco.mj_kinematics(self.model, self.data)
        self._mujoco.mj_flex(self.model, self.data)
        check_physics(self.data, self.name, self._attributes)

    def _act(self, action: np.ndarray | None) -> None:
        """One frame under an action, whose components are the actuators' controls in order."""
        assert action is not None
        assert self.action_spec is not None
        self.data.ctrl[:] = np.clip(action, self.action_spec.low, self.action_spec.high)
        self._advance()

    def _wander(self, generator: np.random.Generator) -> Act:
        """Smooth random actions that know nothing of the scene."""
        assert self.action_spec is not None
        low, high = np.array(self.action_spec.low), np.array(self.action_spec.high)
        action = np.zeros(len(low))

        def act() -> np.ndarray:
            action[:] = 0.85 * action + 0.15 * 3 * generator.uniform(low, high)
            return np.clip(action, low, high)

        return act

    def _check_policy(self, name: str) -> None:
        if name not in self.policy_names:
            raise ValueError(f"{self.name} has no policy {name!r}; choose one of {', '.join(self.policy_names)}")

    def _towards(self, target: np.ndarray, position: np.ndarray, speed: float) -> np.ndarray:
        """The velocity (3,) that brings a point to a target within some frames, no faster than `speed` along any axis."""
        wanted = (target - position) * self.rate_hz * 0.3
        return wanted * min(1.0, speed / max(1e-9, float(np.abs(wanted).max())))

    def render(self, size: int) -> np.ndarray:
        """The present picture, (size, size, 3) uint8, RGB."""
        assert self._camera is not None
        return self._camera.take(self.data, size)

    def close(self) -> None:
        """Release the drawing buffers."""
        if self._camera is not None:
            self._camera.close()
        self._camera = None

    def _geom(self, name: str) -> int:
        """Index of a named geom."""
        return int(self._mujoco.mj_name2id(self.model, self._mujoco.mjtObj.mjOBJ_GEOM, name))

    def _touching(self, ones: Collection[int], others: Collection[int]) -> bool:
        """Whether a geom of `ones` touched a geom of `others` in the last step."""
        pairs = self._contacts
        first, second = np.isin(pairs, list(ones)), np.isin(pairs, list(others))
        return bool(((first[:, 0] & second[:, 1]) | (first[:, 1] & second[:, 0])).any())


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.5g}" for value in values)
