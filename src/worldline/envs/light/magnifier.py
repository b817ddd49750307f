"""Magnifier: a glass lens moves over a pattern in the sun, enlarges it, and gathers the light in a spot that may hit the target (mitsuba).

May import: interfaces, envs.simulator, envs.phrases, envs.light.stage, numpy, mitsuba (extra `sim-light`). Refuses to know: files, models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldline.envs.light.stage import BEAM, CAMERA, FILL, SUN, LightStage, checkered, diffuse, unit
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Value
from worldline.interfaces import ActionSpec

LENS_RADIUS = 0.2
MAX_SPEED = 0.4
LIMITS = ((-0.5, -0.5, 0.12), (0.3, 0.4, 0.6))
FOCUSED_SHARE = 0.3
"""The spot is focused when its radius is below this share of the beam's."""


class Magnifier(LightStage):
    """A lens in a ring with a handle above a checkered table, and a round target on it. Action: velocity of the lens, metres per second."""

    name = "magnifier"
    view = ((0.0, -0.75, 1.55), (0.05, 0.0, 0.05), 42.0)
    action_spec = ActionSpec(low=(-MAX_SPEED,) * 3, high=(MAX_SPEED,) * 3, names=("lens_velocity_x", "lens_velocity_y", "lens_velocity_z"))
    state_names = ("lens_x", "lens_y", "lens_z", "target_x", "target_y", "spot_x", "spot_y", "spot_radius", "share_of_rays_on_table")
    event_names = ("spot_on_target", "focused", "focus_on_target")
    policy_names = ("burn", "inspect", "random")
    attributes = (
        Attribute(name="table_color", kind="appearance", usual=("orange", "green", "blue", "purple"), unusual=("pink", "brown")),
        Attribute(name="light_squares", kind="appearance", usual=("white", "beige"), unusual=("turquoise",)),
        Attribute(name="num_squares", kind="appearance", usual=(6, 7, 8), unusual=(11,)),
        Attribute(name="target_color", kind="appearance", usual=("red", "yellow", "green", "blue"), unusual=("white", "magenta")),
        Attribute(name="ring_color", kind="appearance", usual=("black", "gray", "red"), unusual=("pink", "turquoise")),
        Attribute(name="target_radius_m", kind="scene", usual=(0.07, 0.1), unusual=(0.04, 0.05)),
        Attribute(name="lens_curvature_m", kind="scene", usual=(0.4, 0.55), unusual=(0.6, 0.75)),
        Attribute(name="refractive_index", kind="physics", usual=(1.45, 1.65), unusual=(1.75, 1.95)),
        Attribute(name="sun_angle_degrees", kind="physics", usual=(16.0, 28.0), unusual=(31.0, 37.0)),
        *CAMERA,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode."""
        generator = np.random.default_rng(seed)
        self._attributes, self._seed = dict(attributes), seed % 2**31
        slant = np.deg2rad(float(attributes["sun_angle_degrees"]))
        # From the left and the front: the spot falls where the lens does not hide it.
        self._sun = unit(np.array([np.sin(slant) * 0.9, -np.sin(slant) * 0.2, -np.cos(slant)]))
        self._target = np.array([generator.uniform(-0.05, 0.45), generator.uniform(-0.35, 0.3)])
        self._lens = generator.uniform((-0.45, -0.3, 0.2), (0.1, 0.3, 0.5))
        angles = np.arange(18) * np.pi * (3 - np.sqrt(5))
        self._rays = np.sqrt((np.arange(18) + 0.5) / 18)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self._mesh = self._lens_mesh()
        self._look()
        self._events = dict.fromkeys(self.event_names, False)
        self._happened: set[str] = set()

    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame."""
        self._lens = np.clip(self._lens + self._clipped(action) / self.rate_hz, *LIMITS)
        self._look()
        lands = self._share > 0.5
        on_target = lands and float(np.linalg.norm(self._spot - self._target)) < float(self._attributes["target_radius_m"])
        focused = lands and self._spot_radius < FOCUSED_SHARE * self._beam_radius()
        self._events = {"spot_on_target": on_target, "focused": focused, "focus_on_target": on_target and focused}
        self._happened |= {name for name, value in self._events.items() if value}

    def state(self) -> np.ndarray:
        """Ground truth, see `state_names`: metres; the spot is where 18 rays through the lens land, half of them within its radius."""
        return np.array([*self._lens, *self._target, *self._spot, self._spot_radius, self._share], dtype=np.float64)

    def events(self) -> Mapping[str, bool]:
        """What holds after the last step."""
        return dict(self._events)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`burn` (brings the spot to the target and moves up and down to focus it), `inspect` (wanders over the pattern) or `random`."""
        self._check_policy(name)
        if name == "random":
            return self._wander(generator)
        speed, points = float(generator.uniform(0.12, 0.35)), [generator.uniform(*LIMITS) for _ in range(6 if name == "inspect" else 1)]
        focus = float(self._attributes["lens_curvature_m"]) / (2 * (float(self._attributes["refractive_index"]) - 1))
        height = float(np.clip(focus * -self._sun[2] * generator.uniform(0.7, 1.1), 0.15, 0.58))

        def act() -> np.ndarray:
            if len(points) > 1 and float(np.linalg.norm(points[0] - self._lens)) < 0.03:
                points.pop(0)
            target = points[0]
            if name == "burn":
                missing = self._target - self._spot if self._share > 0.5 else points[0][:2] - self._lens[:2]
                target = np.array([*(self._lens[:2] + missing), height])
            wanted = (target - self._lens) * self.rate_hz * 0.4
            return wanted * min(1.0, speed / max(1e-9, float(np.abs(wanted).max())))

        return act

    def captions(self) -> Sequence[str]:
        """The lens, the table, and what became of the spot."""
        facts = self._attributes
        lens = f"magnifying glass in {article(str(facts['ring_color']))} ring"
        table = f"{facts['table_color']} and {facts['light_squares']} squares"
        target = f"{facts['target_color']} disc"
        subjects = (
            f"a {lens} over a table of {table}",
            f"a glass lens enlarges {table}",
            f"sunlight falls through a {lens}",
            f"a magnifying glass and {article(target)} on a checkered {facts['table_color']} table",
        )
        if "focus_on_target" in self._happened:
            endings = (
                f"the sun's focus falls on the {target}",
                f"a bright point burns on the {target}",
                f"a sharp spot of light meets the {target}",
            )
        elif "spot_on_target" in self._happened:
            endings = (
                f"its patch of light covers the {target}",
                f"the {target} is lit, out of focus",
                f"a blurred spot passes over the {target}",
            )
        else:
            endings = (f"its light misses the {target}", f"the {target} stays as it is", f"the bright spot falls beside the {target}")
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)

    def _beam_radius(self) -> float:
        """Of the beam that just fits into the lens, seen from the sun."""
        return 0.96 * LENS_RADIUS * float(-self._sun[2])

    def _look(self) -> None:
        self._moved()
        side = unit(np.cross(self._sun, (0.0, 1.0, 0.0)))
        across = np.stack([side, np.cross(self._sun, side)])
        starts = self._lens - 1.0 * self._sun + self._beam_radius() * self._rays @ across
        ends = [self._follow(start, self._sun) for start in starts]
        points = np.array([point[:2] for point, name, surfaces in ends if surfaces > 1 and name.startswith(("table", "target"))])
        self._share = len(points) / len(ends)
        self._spot = np.median(points, axis=0) if len(points) else np.zeros(2)
        self._spot_radius = float(np.median(np.linalg.norm(points - self._spot, axis=1))) if len(points) else 0.0

    def _lens_mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices, normals and triangles of a lens bounded by two spheres, around the origin."""
        curvature, rings, sides = float(self._attributes["lens_curvature_m"]), 12, 36
        radii = LENS_RADIUS * np.linspace(0, 1, rings + 1)[1:]
        angles = 2 * np.pi * np.arange(sides) / sides
        edge = np.sqrt(curvature**2 - LENS_RADIUS**2)
        x, y = np.outer(radii, np.cos(angles)), np.outer(radii, np.sin(angles))
        z = np.repeat((np.sqrt(curvature**2 - radii**2) - edge)[:, None], sides, axis=1)
        top = np.concatenate([[[0.0, 0.0, curvature - edge]], np.stack([x, y, z], axis=-1).reshape(-1, 3)])
        normals = (top + np.array([0.0, 0.0, edge])) / curvature
        fan = [(0, 1 + k, 1 + (k + 1) % sides) for k in range(sides)]
        for ring in range(rings - 1):
            start, above = 1 + (ring + 1) * sides, 1 + ring * sides
            for k in range(sides):
                after = (k + 1) % sides
                fan += [(above + k, start + k, start + after), (above + k, start + after, above + after)]
        faces, flip = np.array(fan), np.array([1.0, 1.0, -1.0])
        both_faces = np.concatenate([faces, faces[:, ::-1] + len(top)])
        return np.concatenate([top, top * flip]), np.concatenate([normals, normals * flip]), both_faces

    def _lens_shape(self) -> Any:
        mitsuba = self._mitsuba
        vertices, normals, faces = self._mesh
        properties = mitsuba.Properties()
        properties["glass"] = mitsuba.load_dict({"type": "dielectric", "int_ior": float(self._attributes["refractive_index"])})
        shape = mitsuba.Mesh("lens", vertex_count=len(vertices), face_count=len(faces), has_vertex_normals=True, props=properties)
        values = mitsuba.traverse(shape)
        values["vertex_positions"] = (vertices + self._lens).astype(np.float32).ravel()
        values["vertex_normals"] = normals.astype(np.float32).ravel()
        values["faces"] = faces.astype(np.uint32).ravel()
        values.update()
        return shape

    def _objects(self, *, smooth: bool) -> Mapping[str, Any]:
        del smooth  # there is no mirror here
        facts, space = self._attributes, self._mitsuba.ScalarTransform4f
        x, y, z = (float(value) for value in self._lens)
        ring = {"type": "twosided", "bsdf": diffuse(facts["ring_color"])}
        rim, grip = LENS_RADIUS * 1.02, unit(np.array([-0.5, -0.8, 0.1]))
        return {
            "table": {
                "type": "rectangle",
                "to_world": space().scale([1.6, 1.6, 1]),
                "bsdf": checkered(facts["table_color"], facts["light_squares"], int(facts["num_squares"])),
            },
            "target": {
                "type": "disk",
                "to_world": space().translate([*map(float, self._target), 0.002]).scale(float(facts["target_radius_m"])),
                "bsdf": diffuse(facts["target_color"]),
            },
            "lens": self._lens_shape(),
            "ring": {"type": "cylinder", "p0": [x, y, z - 0.008], "p1": [x, y, z + 0.008], "radius": rim, "bsdf": ring},
            "handle": {
                "type": "cylinder",
                "p0": [float(value) for value in self._lens + rim * grip],
                "p1": [float(value) for value in self._lens + (rim + 0.3) * grip],
                "radius": 0.025,
                "bsdf": ring,
            },
            SUN: {"type": "directional", "direction": list(self._sun), "irradiance": float(facts["daylight"])},
            FILL: {"type": "directional", "direction": [-0.5, 0.7, -1.0], "irradiance": 0.3 * float(facts["daylight"])},
            BEAM: {
                "type": "disk",
                "to_world": space().look_at(list(self._lens - 3.0 * self._sun), list(self._lens), [0, 1, 0]).scale(self._beam_radius()),
                "emitter": {"type": "directionalarea", "radiance": {"type": "rgb", "value": float(facts["daylight"])}},
            },
        }
