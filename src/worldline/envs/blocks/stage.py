"""Rigid blocks on a floor and a stick that pokes them: what towers, dominoes and Jenga share.

May import: interfaces, envs.simulator, envs.mujoco_stage, numpy, mujoco. Refuses to know: how the blocks are arranged, and words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from worldline.envs.mujoco_stage import GRAVITY, SCENERY, MujocoStage, rgba
from worldline.envs.simulator import Act, Attribute, Value
from worldline.interfaces import ActionSpec

STICK_RADIUS = 0.012
STICK_SPEED = 0.5
FALLEN_TILT_COSINE = 0.7
"""A block has fallen once it leans by more than 45 degrees ..."""

FALLEN_DROP_SHARE = 0.5
"""... or sinks by this share of its own height."""

POSE_NAMES = ("x", "y", "z", "quaternion_w", "quaternion_x", "quaternion_y", "quaternion_z")
VELOCITY_NAMES = ("velocity_x", "velocity_y", "velocity_z", "turn_x", "turn_y", "turn_z")

BLOCK_ATTRIBUTES = (
    Attribute(name="material", kind="appearance", usual=("wooden", "plastic"), unusual=("stone",)),
    Attribute(name="stick_color", kind="appearance", usual=("gray", "white", "black"), unusual=("pink",)),
    Attribute(name="friction", kind="physics", usual=(0.45, 0.9), unusual=(0.08, 0.2)),
    Attribute(name="density_kg_m3", kind="physics", usual=(300.0, 800.0), unusual=(2000.0, 5000.0)),
    GRAVITY,
    *SCENERY,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One block where it stands at the start. `half_size` is half its length, width, height; of a cylinder: radius, radius, half height."""

    position: tuple[float, float, float]
    half_size: tuple[float, float, float]
    color: Value
    yaw_radians: float = 0.0
    shape: Literal["box", "cylinder"] = "box"


def state_names(num_blocks: int) -> tuple[str, ...]:
    """Components of the state: the stick's tip, then every block's pose and velocity."""
    blocks = (f"block_{index}_{name}" for index in range(num_blocks) for name in (*POSE_NAMES, *VELOCITY_NAMES))
    return ("stick_x", "stick_y", "stick_z", *blocks)


def event_names(num_blocks: int, *further: str) -> tuple[str, ...]:
    """Events of every such domain, those of one block each, and `further` ones."""
    return ("stick_contact", "topple", "collapse", *further, *(f"fallen_{index}" for index in range(num_blocks)))


class BlockStage(MujocoStage):
    """Blocks and a stick. A subclass says where the blocks stand (`_layout`), how the stick is used and how to tell it.

    Action: velocity of the stick, metres per second; the stick points to the right (along x).

    Class attributes:
        max_blocks: as many as the state has room for; rows of blocks that this episode lacks are zero.
        stick_start: of the stick's tip, metres.
        collapse_share: of the blocks that can fall, as many must have fallen for `collapse`.
        stick_force_newton: the most that the stick pushes with, per axis.
    """

    action_spec = ActionSpec(
        low=(-STICK_SPEED,) * 3, high=(STICK_SPEED,) * 3, names=("stick_velocity_x", "stick_velocity_y", "stick_velocity_z")
    )
    max_blocks: ClassVar[int]
    stick_start: ClassVar[tuple[float, float, float]] = (-0.25, 0.0, 0.1)
    collapse_share: ClassVar[float] = 0.5
    stick_force_newton: ClassVar[float] = 6.0

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode."""
        self.blocks = self._layout(np.random.default_rng(seed), attributes)
        self._set_stage(attributes, self._bodies(attributes), assets=_assets(), further=self._actuators())
        self._paint_materials(seed)
        self._block_geoms = [self._geom(f"block_{index}") for index in range(len(self.blocks))]
        self._heights = np.array([block.position[2] for block in self.blocks])
        self._events = dict.fromkeys(self.event_names, False)
        self._fallen = np.zeros(len(self.blocks), dtype=bool)
        self.history: list[Mapping[str, bool]] = []

    def step(self, action: np.ndarray | None) -> None:
        """Go on by one frame."""
        self._act(action)
        fallen = self._fallen_now()
        self._events.update({f"fallen_{index}": bool(value) for index, value in enumerate(fallen)})
        self._events["stick_contact"] = self._touching([self._geom("stick")], self._block_geoms)
        self._events["topple"] = bool((fallen & ~self._fallen).any())
        self._events["collapse"] = bool(fallen.sum() >= max(1, round(self.collapse_share * self._num_that_can_fall())))
        self._events.update(self._further_events(fallen))
        self._fallen = fallen
        self.history.append(dict(self._events))

    def state(self) -> np.ndarray:
        """Ground truth, see `state_names`."""
        values = np.zeros(3 + self.max_blocks * 13)
        values[:3] = self._tip()
        for index in range(len(self.blocks)):
            at, velocity = 7 * index, 6 * index  # the blocks come first in the model, the stick last
            values[3 + 13 * index : 16 + 13 * index] = *self.data.qpos[at : at + 7], *self.data.qvel[velocity : velocity + 6]
        return values

    def events(self) -> Mapping[str, bool]:
        """What happened in the last step; `collapse` and `fallen_*` last."""
        return dict(self._events)

    def _layout(self, generator: np.random.Generator, attributes: Mapping[str, Value]) -> Sequence[Block]:
        raise NotImplementedError

    def _further_events(self, fallen: np.ndarray) -> Mapping[str, bool]:
        return {}

    def _num_that_can_fall(self) -> int:
        return len(self.blocks)

    def _tip(self) -> np.ndarray:
        return self.data.body("stick").xpos.copy()

    def _block_position(self, index: int) -> np.ndarray:
        return self.data.body(f"block_{index}").xpos.copy()

    def _fallen_now(self) -> np.ndarray:
        """Which blocks lean or have sunk, (blocks,) bool."""
        leaning = np.array([self.data.body(f"block_{index}").xmat[8] < FALLEN_TILT_COSINE for index in range(len(self.blocks))])
        heights = np.array([self._block_position(index)[2] for index in range(len(self.blocks))])
        sizes = np.array([2 * block.half_size[2] for block in self.blocks])
        return leaning | (self._heights - heights > FALLEN_DROP_SHARE * sizes)

    def _ever(self, event: str) -> bool:
        """Whether an event has happened in this episode."""
        return any(events[event] for events in self.history)

    def _velocity_towards(self, target: np.ndarray, speed: float = STICK_SPEED) -> np.ndarray:
        """The action that brings the stick to a point within its speed."""
        return self._towards(target, self._tip(), speed)

    def _rest(self) -> Act:
        return lambda: np.zeros(3)

    def _bodies(self, attributes: Mapping[str, Value]) -> str:
        friction, density, material = (attributes[name] for name in ("friction", "density_kg_m3", "material"))
        lines = []
        for index, block in enumerate(self.blocks):
            size = block.half_size if block.shape == "box" else (block.half_size[0], block.half_size[2])
            lines.append(
                f'<body name="block_{index}" pos="{_text(block.position)}" euler="0 0 {np.rad2deg(block.yaw_radians)}"><freejoint/>'
                f'<geom name="block_{index}" type="{block.shape}" size="{_text(size)}" material="{material}" rgba="{rgba(block.color)}" '
                f'density="{density}" friction="{friction} 0.003 0.0001" condim="4" solref="0.005 1"/></body>'
            )
        x, y, z = self.stick_start
        joints = "".join(
            f'<joint name="stick_{axis}" type="slide" axis="{direction}" limited="true" range="{low} {high}"/>'
            for axis, direction, low, high in (
                ("x", "1 0 0", -0.3 - x, 0.6 - x),
                ("y", "0 1 0", -0.4 - y, 0.4 - y),
                ("z", "0 0 1", STICK_RADIUS + 0.003 - z, 0.6 - z),
            )
        )
        lines.append(
            f'<body name="stick" pos="{x} {y} {z}" gravcomp="1">{joints}<geom name="stick" type="capsule" fromto="0 0 0 -0.25 0 0" '
            f'size="{STICK_RADIUS}" mass="0.2" rgba="{rgba(attributes["stick_color"])}" friction="0.4" solref="0.005 1"/></body>'
        )
        return "\n".join(lines)

    def _actuators(self) -> str:
        force = self.stick_force_newton
        motors = (f'<velocity joint="stick_{axis}" kv="60" forcelimited="true" forcerange="-{force} {force}"/>' for axis in "xyz")
        return f"<actuator>{''.join(motors)}</actuator>"

    def _paint_materials(self, seed: int) -> None:
        """Grain and speckle: grey pictures which the blocks' colours multiply."""
        generator = np.random.default_rng(seed)
        rows = np.linspace(0, 1, 32)[:, None]
        bend = 0.06 * np.sin(2 * np.pi * (rows.T + generator.uniform()))
        pictures = {
            "wooden": 0.78 + 0.22 * np.sin(2 * np.pi * (5 * (rows + bend) + generator.uniform())),
            "stone": 0.55 + 0.45 * generator.uniform(size=(32, 32)),
        }
        for name, picture in pictures.items():
            texture = int(self._mujoco.mj_name2id(self.model, self._mujoco.mjtObj.mjOBJ_TEXTURE, name))
            start, num_pixels = int(self.model.tex_adr[texture]), int(self.model.tex_height[texture] * self.model.tex_width[texture])
            values = np.tile((255 * np.clip(picture, 0, 1)).astype(np.uint8).ravel(), num_pixels // picture.size)
            self.model.tex_data[start : start + 3 * num_pixels] = np.repeat(values, 3)


def colors_of(names: Sequence[str], attributes: Mapping[str, Value]) -> list[str]:
    """Values of colour attributes, as words."""
    return [str(attributes[name]) for name in names]


def _assets() -> str:
    textures = "".join(
        f'<texture name="{name}" type="cube" builtin="flat" rgb1="1 1 1" width="32" height="32"/>' for name in ("wooden", "stone")
    )
    return (
        f'{textures}<material name="wooden" texture="wooden" specular="0.05" shininess="0.1"/>'
        '<material name="stone" texture="stone" specular="0.1" shininess="0.2"/>'
        '<material name="plastic" specular="0.9" shininess="0.8"/>'
    )


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
