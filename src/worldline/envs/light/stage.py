"""A lit scene in mitsuba: photographs it, caustics included, and follows single rays through it.

A picture is the sum of two renderings of the same scene, since light adds up: the path tracer sees everything but what a sharp beam
does behind glass or off a mirror (a path from the eye cannot find a beam without width), and the particle tracer follows that beam from
its lamp. Both, and the single rays that say where the beam lands, are mitsuba's.

May import: envs.simulator, envs.colors, numpy, mitsuba (extra `sim-light`). Refuses to know: what is in the scene.
"""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from worldline.envs.colors import reflectance
from worldline.envs.simulator import Act, Attribute, Simulator, Value

Kind = Literal["day", "fill", "beam", "rays"]

VARIANT = "scalar_rgb"
"""Mitsuba's scalar variant needs nothing else installed. The LLVM one is 3 to 5 times as fast and needs LLVM 19."""

NUM_SAMPLES = 6
NUM_FILL_SAMPLES = 4
NUM_BEAM_SAMPLES = 8
BEAM = "beam"
SUN, FILL = "sun", "fill"
"""Keys of the lamps in a scene: the sharp beam, the sun, and a weaker light from another side. One lamp per rendering: a path tracer that
has to choose among lamps is grainy."""

CAMERA = (
    Attribute(name="camera_azimuth_degrees", kind="appearance", usual=(-20.0, 20.0), unusual=(28.0, 40.0)),
    Attribute(name="daylight", kind="appearance", usual=(1.2, 2.0), unusual=(0.5, 0.8)),
)


def load_mitsuba() -> Any:
    """Mitsuba, imported only now.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        mitsuba: Any = importlib.import_module("mitsuba")
    except ImportError as error:
        raise ImportError('this domain needs the mitsuba renderer; install it with: pip install "worldline[sim-light]"') from error
    if mitsuba.variant() != VARIANT:
        mitsuba.set_variant(VARIANT)
        mitsuba.logger().clear_appenders()  # progress bars; what goes wrong is raised as well
    return mitsuba


class LightStage(Simulator):
    """A domain of light. Nothing has mass here: an action moves the glass or the mirror, and light follows at once."""

    extra = "sim-light"
    rate_hz = 10.0
    view: ClassVar[tuple[tuple[float, float, float], tuple[float, float, float], float]]
    """Where the camera stands, what it looks at (metres), and its field of view in degrees."""

    def __init__(self) -> None:
        self._mitsuba = load_mitsuba()
        self._attributes: Mapping[str, Value] = {}
        self._scenes: dict[Kind, Any] = {}
        self._seed = 0

    def render(self, size: int) -> np.ndarray:
        """The present picture, (size, size, 3) uint8, RGB. The grain is an episode's own and does not flicker."""
        if size < 1:
            raise ValueError(f"pictures of {self.name} are at least 1 pixel wide, got {size}")
        sensor = self._sensor(size)
        path, particles = {"type": "path", "max_depth": 4}, {"type": "ptracer", "max_depth": 6, "hide_emitters": True}
        passes: tuple[tuple[Kind, dict[str, Any], int], ...] = (
            ("day", path, NUM_SAMPLES),
            ("fill", path, NUM_FILL_SAMPLES),
            ("beam", particles, NUM_BEAM_SAMPLES),
        )
        light = sum(
            np.asarray(
                self._mitsuba.render(
                    self._scene(kind), sensor=sensor, integrator=self._mitsuba.load_dict(integrator), spp=samples, seed=self._seed
                )
            )
            for kind, integrator, samples in passes
        )
        # The sRGB curve: cameras and screens agree on it.
        light = np.clip(np.nan_to_num(light), 0.0, 1.0)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return (255 * encoded + 0.5).astype(np.uint8)

    def _objects(self, *, smooth: bool) -> Mapping[str, Any]:
        """The scene as it is now, in mitsuba's words, its lamps under `SUN`, `FILL` and `BEAM`; `smooth`: with perfect mirrors."""
        raise NotImplementedError

    def _scene(self, kind: Kind) -> Any:
        """The scene with one of its lamps, or without any for single rays."""
        if kind not in self._scenes:
            objects = self._objects(smooth=kind != "beam")
            lamp = {"day": SUN, "fill": FILL, "beam": BEAM, "rays": ""}[kind]
            scene = {name: value for name, value in objects.items() if name == lamp or name not in {SUN, FILL, BEAM}}
            self._scenes[kind] = self._mitsuba.load_dict({"type": "scene", **scene})
        return self._scenes[kind]

    def _moved(self) -> None:
        """Forget the scene that was."""
        self._scenes = {}

    def _sensor(self, size: int) -> Any:
        (x, y, z), target, field_of_view = self.view
        turn = np.deg2rad(float(self._attributes["camera_azimuth_degrees"]))
        dx, dy = x - target[0], y - target[1]
        origin = (target[0] + dx * np.cos(turn) - dy * np.sin(turn), target[1] + dx * np.sin(turn) + dy * np.cos(turn), z)
        film = {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}, "pixel_format": "rgb"}
        return self._mitsuba.load_dict(
            {
                "type": "perspective",
                "fov": field_of_view,
                "to_world": self._mitsuba.ScalarTransform4f().look_at(list(origin), list(target), [0, 0, 1]),
                "film": film,
                "sampler": {"type": "independent"},
            }
        )

    def _follow(self, origin: np.ndarray, direction: np.ndarray, *, max_surfaces: int = 8) -> tuple[np.ndarray, str, int]:
        """Where a ray ends that glass lets through and mirrors throw back: the point (3,), the name of the shape, and surfaces passed.

        The name is empty if the ray leaves the scene.
        """
        mitsuba, scene = self._mitsuba, self._scene("rays")
        ray = mitsuba.Ray3f(mitsuba.Point3f(*map(float, origin)), mitsuba.Vector3f(*map(float, direction)))
        for passed in range(max_surfaces):
            hit = scene.ray_intersect(ray)
            if not hit.is_valid():
                break
            scatter = hit.bsdf(ray)
            if not mitsuba.has_flag(scatter.flags(), mitsuba.BSDFFlags.Delta):
                return np.array(hit.p, dtype=np.float64).ravel(), str(hit.shape.id()), passed
            # The largest sample: through the surface where any light goes through it, else back.
            sample, _ = scatter.sample(mitsuba.BSDFContext(), hit, 0.9999, mitsuba.Point2f(0.5, 0.5))
            ray = hit.spawn_ray(hit.to_world(sample.wo))
        return np.zeros(3), "", max_surfaces

    def _clipped(self, action: np.ndarray | None) -> np.ndarray:
        assert action is not None
        assert self.action_spec is not None
        return np.clip(action, self.action_spec.low, self.action_spec.high)

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


def checkered(color: Value, dark: Value, repeats: int) -> dict[str, Any]:
    """A matte surface of two named colours."""
    colors = {f"color{index}": {"type": "rgb", "value": reflectance(name).tolist()} for index, name in enumerate((color, dark))}
    transform = load_mitsuba().ScalarTransform3f().scale([repeats, repeats])
    return {"type": "diffuse", "reflectance": {"type": "checkerboard", "to_uv": transform, **colors}}


def unit(vector: np.ndarray) -> np.ndarray:
    """A vector of length one."""
    return vector / np.linalg.norm(vector)


def diffuse(color: Value) -> dict[str, Any]:
    """A matte surface of a named colour."""
    return {"type": "diffuse", "reflectance": {"type": "rgb", "value": reflectance(color).tolist()}}
