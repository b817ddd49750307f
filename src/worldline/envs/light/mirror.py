"""Mirror: a lamp's beam falls on a mirror that turns; its spot wanders over the floor and may hit the target (mitsuba).

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.light.stage, numpy, mitsuba (extra `sim-light`).
Refuses to know: files, models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldline.envs.colors import reflectance
from worldline.envs.light.stage import BEAM, CAMERA, FILL, SUN, LightStage, checkered, diffuse, unit
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Value
from worldline.interfaces import ActionSpec

LAMP = np.array([-0.6, -0.3, 0.5])
MIRROR = np.array([0.0, 0.55, 0.3])
MIRROR_HALF_SIZE = 0.24
MAX_RATE = 0.4
LIMITS = ((-2.4, -0.5), (-0.8, 0.4))


class Mirror(LightStage):
    """A lamp on the left, a mirror at the back, a ball and a target on the floor.

    Action: how fast the mirror turns about the vertical and nods, radians per second.
    """

    name = "mirror"
    view = ((0.0, -1.35, 1.15), (0.05, 0.08, 0.12), 42.0)
    action_spec = ActionSpec(low=(-MAX_RATE,) * 2, high=(MAX_RATE,) * 2, names=("turn_rate", "nod_rate"))
    state_names = (
        *("mirror_turn", "mirror_nod", "target_x", "target_y", "spot_x", "spot_y", "spot_z"),
        *("spot_is_on_floor", "beam_meets_mirror"),
    )
    event_names = ("spot_on_target", "spot_on_floor", "beam_misses_mirror")
    policy_names = ("aim", "sweep", "random")
    attributes = (
        Attribute(name="light_color", kind="appearance", usual=("white", "yellow", "red", "green"), unusual=("cyan", "magenta")),
        Attribute(name="floor_color", kind="appearance", usual=("gray", "beige"), unusual=("mint", "lilac")),
        Attribute(name="target_color", kind="appearance", usual=("red", "orange", "green", "blue"), unusual=("black", "purple")),
        Attribute(name="ball_color", kind="appearance", usual=("red", "orange", "yellow", "green", "blue"), unusual=("pink", "black")),
        Attribute(name="target_radius_m", kind="scene", usual=(0.1, 0.14), unusual=(0.06, 0.075)),
        Attribute(name="beam_radius_m", kind="physics", usual=(0.035, 0.06), unusual=(0.07, 0.085)),
        Attribute(name="mirror_roughness", kind="physics", usual=(0.003, 0.02), unusual=(0.03, 0.055)),
        *CAMERA,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode: the spot is somewhere on the floor."""
        generator = np.random.default_rng(seed)
        self._attributes, self._seed = dict(attributes), seed % 2**31
        self._target = self._floor_point(generator)
        start = self._floor_point(generator)
        self._ball = np.array([generator.uniform(0.4, 0.55), generator.uniform(0.1, 0.35), 0.09])
        self._angles = self.angles_towards(start)
        self._look()
        self._events = dict.fromkeys(self.event_names, False)
        self._happened: set[str] = set()

    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame."""
        turn = self._clipped(action) / self.rate_hz
        self._angles = np.clip(self._angles + turn, *LIMITS)
        self._look()
        distance = float(np.linalg.norm(self._spot - self._target))
        self._events = {
            "spot_on_target": self._on_floor and distance < float(self._attributes["target_radius_m"]),
            "spot_on_floor": self._on_floor,
            "beam_misses_mirror": not self._meets_mirror,
        }
        self._happened |= {name for name, value in self._events.items() if value}

    def state(self) -> np.ndarray:
        """Ground truth, see `state_names`: metres and radians."""
        return np.array([*self._angles, *self._target[:2], *self._spot, self._on_floor, self._meets_mirror], dtype=np.float64)

    def events(self) -> Mapping[str, bool]:
        """What holds after the last step."""
        return dict(self._events)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`aim` (brings the spot to the target, after a detour), `sweep` (from one point of the floor to the next) or `random`."""
        self._check_policy(name)
        if name == "random":
            return self._wander(generator)
        points = [self._floor_point(generator) for _ in range(1 if name == "aim" else 4)]
        if name == "aim":
            points.append(self._target)
        rate = float(generator.uniform(0.15, 0.45))

        def act() -> np.ndarray:
            missing = self.angles_towards(points[0]) - self._angles
            if len(points) > 1 and float(np.abs(missing).max()) < 0.01:
                points.pop(0)
            return np.clip(missing * 0.5 * self.rate_hz, -rate, rate)

        return act

    def captions(self) -> Sequence[str]:
        """The beam, the mirror, and whether the target was hit."""
        facts = self._attributes
        spot, ball = f"{facts['light_color']} spot of light", f"{facts['ball_color']} ball"
        light, target = f"{facts['light_color']} light", f"{facts['target_color']} target"
        subjects = (
            f"a turning mirror throws {article(spot)} on {article(str(facts['floor_color']))} checkered floor",
            f"a beam of {light} is reflected by a mirror",
            f"{article(spot)} moves over the floor beside {article(target)}",
            f"a lamp, a mirror, {article(ball)} and {article(target)} on the floor",
        )
        if self._events["spot_on_target"]:
            endings = (f"the spot ends on the {target}", f"the {target} is lit in the end", f"the light finds the {target}")
        elif "spot_on_target" in self._happened:
            endings = (f"the spot passes over the {target}", f"it lights the {target} for a moment", f"the light crosses the {target}")
        else:
            endings = (f"the {target} is never hit", f"the light misses the {target}", "the spot wanders elsewhere")
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)

    @staticmethod
    def _floor_point(generator: np.random.Generator) -> np.ndarray:
        return np.array([generator.uniform(-0.3, 0.35), generator.uniform(-0.4, 0.1), 0.0])

    def angles_towards(self, point: np.ndarray) -> np.ndarray:
        """How the mirror must stand, (turn, nod) in radians, for the beam to go on to `point`: its normal halves the angle."""
        incoming, outgoing = MIRROR - LAMP, point - MIRROR
        normal = outgoing / np.linalg.norm(outgoing) - incoming / np.linalg.norm(incoming)
        normal /= np.linalg.norm(normal)
        return np.array([np.arctan2(normal[1], normal[0]), np.arcsin(normal[2])])

    def _look(self) -> None:
        self._moved()
        self._spot, ends_on, surfaces = self._follow(LAMP + 0.05 * unit(MIRROR - LAMP), unit(MIRROR - LAMP))
        self._meets_mirror = surfaces > 0
        self._on_floor = ends_on.startswith(("floor", "target"))

    def _objects(self, *, smooth: bool) -> Mapping[str, Any]:
        facts, space = self._attributes, self._mitsuba.ScalarTransform4f
        turn, nod = self._angles
        normal = np.array([np.cos(turn) * np.cos(nod), np.sin(turn) * np.cos(nod), np.sin(nod)])
        facing = space().look_at(list(MIRROR), list(MIRROR + normal), [0, 0, 1])
        silver: dict[str, Any] = {"type": "conductor", "material": "Ag"}
        if not smooth:
            silver |= {"type": "roughconductor", "alpha": float(facts["mirror_roughness"])}
        radius = float(facts["target_radius_m"])
        rings = {
            f"target{ring}": {
                "type": "disk",
                "to_world": space().translate([self._target[0], self._target[1], 0.002 * (ring + 1)]).scale(size),
                "bsdf": diffuse(color),
            }
            for ring, (size, color) in enumerate(
                ((radius, facts["target_color"]), (0.66 * radius, "white"), (0.33 * radius, facts["target_color"]))
            )
        }
        frame = space().translate([0, 0, -0.01]).scale(MIRROR_HALF_SIZE * 1.12)
        return {
            "floor": {"type": "rectangle", "to_world": space().scale([4, 4, 1]), "bsdf": checkered(facts["floor_color"], "white", 10)},
            **rings,
            "ball": {"type": "sphere", "center": list(self._ball), "radius": float(self._ball[2]), "bsdf": diffuse(facts["ball_color"])},
            "mirror": {
                "type": "rectangle",
                "to_world": facing @ space().scale(MIRROR_HALF_SIZE),
                "bsdf": {"type": "twosided", "bsdf": silver},
            },
            "frame": {"type": "rectangle", "to_world": facing @ frame, "bsdf": {"type": "twosided", "bsdf": diffuse("black")}},
            **self._lamp(),
        }

    def _lamp(self) -> Mapping[str, Any]:
        facts, direction = self._attributes, unit(MIRROR - LAMP)
        beam, color = float(facts["beam_radius_m"]), reflectance(facts["light_color"])
        strength = 0.028 / beam**2  # a wider beam of the same lamp is dimmer
        place = self._mitsuba.ScalarTransform4f().look_at(list(LAMP + 0.01 * direction), list(MIRROR), [0, 0, 1])
        return {
            "lamp": {
                "type": "cylinder",
                "p0": list(LAMP - 0.16 * direction),
                "p1": list(LAMP),
                "radius": 0.07,
                "bsdf": {"type": "twosided", "bsdf": diffuse("gray")},
            },
            SUN: {"type": "directional", "direction": [0.35, 0.45, -1.0], "irradiance": float(facts["daylight"])},
            FILL: {"type": "directional", "direction": [-0.5, 0.7, -1.0], "irradiance": 0.3 * float(facts["daylight"])},
            BEAM: {
                "type": "disk",
                "to_world": place.scale(beam),
                "emitter": {"type": "directionalarea", "radiance": {"type": "rgb", "value": list(strength * color / color.max())}},
            },
        }
