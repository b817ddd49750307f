"""A stage for MuJoCo domains: builds a model, steps it, photographs it and says what touches what.

The picture is rendered at twice the size and averaged, because MuJoCo's own anti-aliasing costs ten times as much without a GPU;
shadow maps are small and reflections off for the same reason.

May import: interfaces, envs.simulator, numpy, mujoco (extra `sim-mujoco`). Refuses to know: what is on the stage.
"""

import atexit
import os
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from worldline.envs.simulator import Act, Attribute, Simulator, Value

OVERSAMPLING = 2
BUFFER_PIXELS = 512
STEPS_BETWEEN_LOOKS = 4
FLEX = -2
"""The number under which `_touching` knows the first flexible body."""

MAX_GEOMS = 3000

COLORS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.12),
    "orange": (0.95, 0.5, 0.08),
    "yellow": (0.95, 0.82, 0.15),
    "green": (0.18, 0.62, 0.24),
    "blue": (0.15, 0.35, 0.85),
    "purple": (0.55, 0.22, 0.68),
    "brown": (0.48, 0.3, 0.17),
    "gray": (0.55, 0.56, 0.58),
    "beige": (0.85, 0.76, 0.6),
    "pink": (0.97, 0.55, 0.7),
    "turquoise": (0.15, 0.78, 0.75),
    "black": (0.09, 0.09, 0.1),
    "white": (0.93, 0.93, 0.92),
}
USUAL_COLORS = ("red", "orange", "yellow", "green", "blue", "purple")
UNUSUAL_COLORS = ("pink", "turquoise", "black", "white")

SCENERY = (
    Attribute(name="floor_color", kind="appearance", usual=("gray", "beige", "brown"), unusual=("turquoise", "pink")),
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
    red, green, blue = COLORS[str(color)]
    return f"{red} {green} {blue} {alpha}"


def load_mujoco() -> ModuleType:
    """MuJoCo, imported only now and without a display.

    Raises:
        ImportError: if it is not installed.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco  # noqa: PLC0415
    except ImportError as error:
        raise ImportError('this domain needs the MuJoCo simulator; install it with: pip install "worldline[sim-mujoco]"') from error
    return mujoco


@lru_cache(maxsize=1)
def _graphics(process: int) -> Any:  # one per process: a forked one must not draw into its parent's
    context = load_mujoco().GLContext(BUFFER_PIXELS, BUFFER_PIXELS)
    atexit.register(context.free)
    return context


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
        kinds = self._mujoco.mjtWarning
        self._divergences = (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC)
        self._camera = self._mujoco.MjvCamera()
        self._option = self._mujoco.MjvOption()
        self._option.flags[self._mujoco.mjtVisFlag.mjVIS_FLEXSKIN] = True
        self._drawing: Any = None
        self._scene: Any = None
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
        floor = np.array(COLORS[str(attributes["floor_color"])])
        options = options or 'cone="elliptic" integrator="implicitfast" iterations="20"'
        xml = f"""
<mujoco>
  <option timestep="{self.timestep_seconds}" gravity="0 0 {-float(attributes.get("gravity_m_s2", 9.81))}" {options}/>
  <visual>
    <quality shadowsize="512" offsamples="0"/>
    <global offwidth="{BUFFER_PIXELS}" offheight="{BUFFER_PIXELS}"/>
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
        self._release_drawing()
        self._camera.lookat[:] = self.look_at
        self._camera.distance = self.camera_distance_m
        self._camera.azimuth = float(attributes["camera_azimuth_degrees"])
        self._camera.elevation = float(attributes["camera_elevation_degrees"])

    def _advance(self) -> None:
        """One frame of physics under the present controls. Contacts are noted on the way: a knock is shorter than a frame.

        Raises:
            FloatingPointError: if the simulation diverges.
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
        # MuJoCo starts over, without a word to the caller, when a number is out of hand.
        if any(self.data.warning[int(kind)].number for kind in self._divergences):
            raise FloatingPointError(f"the simulation of {self.name} diverged at {self.data.time:.2f} s with attributes {self._attributes}")

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
        pixels = OVERSAMPLING * size
        if not 1 <= pixels <= BUFFER_PIXELS:
            raise ValueError(f"pictures of {self.name} are 1 to {BUFFER_PIXELS // OVERSAMPLING} pixels wide, got {size}")
        graphics = _graphics(os.getpid())
        graphics.make_current()
        if self._drawing is None or self._scene is None:
            self._drawing = self._mujoco.MjrContext(self.model, self._mujoco.mjtFontScale.mjFONTSCALE_100)
            self._mujoco.mjr_setBuffer(self._mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
            self._scene = self._mujoco.MjvScene(self.model, MAX_GEOMS)
            self._scene.flags[self._mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        everything = self._mujoco.mjtCatBit.mjCAT_ALL
        self._mujoco.mjv_updateScene(self.model, self.data, self._option, None, self._camera, everything, self._scene)
        viewport = self._mujoco.MjrRect(0, 0, pixels, pixels)
        image = np.empty((pixels, pixels, 3), np.uint8)
        self._mujoco.mjr_render(viewport, self._scene, self._drawing)
        self._mujoco.mjr_readPixels(image, None, viewport, self._drawing)
        blocks = image[::-1].reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3)
        return blocks.mean(axis=(1, 3)).round().astype(np.uint8)

    def close(self) -> None:
        """Release the drawing buffers."""
        self._release_drawing()

    def _release_drawing(self) -> None:
        if self._drawing is not None:
            _graphics(os.getpid()).make_current()
            self._drawing.free()
        self._drawing = self._scene = None

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
