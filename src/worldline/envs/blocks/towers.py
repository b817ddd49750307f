"""Towers of three to six blocks that stand, fall by themselves or are poked with a stick.

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, envs.blocks.stage, numpy. Refuses to know: files, models.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldline.envs.blocks.stage import (
    BLOCK_ATTRIBUTES,
    STICK_SPEED,
    Block,
    BlockStage,
    event_names,
    state_names,
)
from worldline.envs.mujoco_stage import color_attribute
from worldline.envs.phrases import article, listed, number, sentence
from worldline.envs.simulator import Act, Attribute, Value

MAX_BLOCKS = 6


class Towers(BlockStage):
    """A tower of blocks, one on the other, each a little off the middle."""

    name = "towers"
    max_blocks = MAX_BLOCKS
    look_at = (0.0, 0.0, 0.14)
    camera_distance_m = 0.62
    stick_start = (-0.2, 0.0, 0.2)
    collapse_share = 0.34
    state_names = state_names(MAX_BLOCKS)
    event_names = event_names(MAX_BLOCKS)
    policy_names = ("poke", "watch", "random")
    attributes = (
        Attribute(name="num_blocks", kind="scene", usual=(3, 4, 5), unusual=(6,)),
        Attribute(name="shape", kind="scene", usual=("cube", "cylinder", "slab"), unusual=("pillar",)),
        Attribute(name="stagger", kind="scene", usual=(0.05, 0.7), unusual=(0.8, 0.95)),
        *(color_attribute(f"color_{index}") for index in range(MAX_BLOCKS)),
        *BLOCK_ATTRIBUTES,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode."""
        highest = self._layout(np.random.default_rng(seed), attributes)[-1]
        height = highest.position[2] + highest.half_size[2]
        # A tower of pillars would stand higher than the camera.
        self.look_at, self.camera_distance_m = (0.0, 0.0, max(0.14, 0.4 * height)), max(0.62, 1.6 * height)
        super().reset(seed, attributes)

    def _layout(self, generator: np.random.Generator, attributes: Mapping[str, Value]) -> Sequence[Block]:
        # Everything is drawn for the most blocks there can be, so that changing the number of blocks changes nothing else.
        widths = generator.uniform(0.034, 0.048, MAX_BLOCKS)
        shares = generator.uniform(0.85, 1.15, MAX_BLOCKS)
        directions = generator.uniform(0, 2 * np.pi, MAX_BLOCKS)
        yaws = generator.uniform(-0.4, 0.4, MAX_BLOCKS)
        flatness = {"cube": 0.9, "cylinder": 0.8, "slab": 0.55, "pillar": 1.5}[str(attributes["shape"])]
        blocks: list[Block] = []
        x = y = top = 0.0
        for index in range(int(attributes["num_blocks"])):
            width, height = float(widths[index]), float(flatness * shares[index] * 0.038)
            if blocks:
                reach = float(attributes["stagger"]) * min(width, blocks[-1].half_size[0])
                x, y = x + reach * float(np.cos(directions[index])), y + reach * float(np.sin(directions[index]))
            blocks.append(
                Block(
                    position=(x, y, top + height),
                    half_size=(width, width, height),
                    color=attributes[f"color_{index}"],
                    yaw_radians=float(yaws[index]),
                    shape="cylinder" if attributes["shape"] == "cylinder" else "box",
                )
            )
            top += 2 * height
        return blocks

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`poke` (pushes at some height, as far as chance wants), `watch` (leaves the stick where it is) or `random`."""
        self._check_policy(name)
        if name == "watch":
            return self._rest()
        if name == "random":
            return self._wander(generator)
        target = self._block_position(int(generator.integers(len(self.blocks))))
        depth, speed = float(generator.uniform(-0.07, 0.15)), float(generator.uniform(0.4, 1.0)) * STICK_SPEED
        plan = [np.array([-0.2, target[1], max(0.02, target[2])]), np.array([target[0] + depth, target[1], max(0.02, target[2])])]
        plan.append(np.array([-0.25, target[1], target[2]]))

        def act() -> np.ndarray:
            if len(plan) > 1 and float(np.linalg.norm(self._tip() - plan[0])) < 0.012:
                plan.pop(0)
            return self._velocity_towards(plan[0], speed)

        return act

    def captions(self) -> Sequence[str]:
        """What the tower is and what became of it."""
        colors = [str(block.color) for block in self.blocks]
        count, material = number(len(colors)), str(self._attributes["material"])
        noun = {"cube": "cubes", "cylinder": "cylinders", "slab": "slabs", "pillar": "pillars"}[str(self._attributes["shape"])]
        subjects = (
            f"a tower of {count} {material} {noun}",
            f"{count} {material} {noun}, stacked {listed(colors)} from bottom to top",
            f"a stack of {material} {noun} ({listed(colors)})",
            f"a {material} tower with {article(colors[-1])} top on a {self._attributes['floor_color']} checkered floor",
        )
        return tuple(sentence(f"{subject}: {ending}") for ending in self._endings() for subject in subjects)

    def _endings(self) -> Sequence[str]:
        stick = f"the {self._attributes['stick_color']} stick"
        poked = self._ever("stick_contact")
        fallen = [str(block.color) for block, value in zip(self.blocks, self._fallen, strict=True) if value]
        if not fallen and poked:
            return (f"{stick} pokes it, and it stays up", "it is pushed and does not fall", f"{stick} touches it without knocking it over")
        if not fallen:
            return ("it stands still", "nothing falls", "it keeps its balance, nobody touches it")
        what = f"the {listed(fallen)} {'block falls' if len(fallen) == 1 else 'blocks fall'}"
        if self._ever("collapse"):
            manner = (
                (f"{stick} knocks it over", "it is pushed over and collapses") if poked else ("it leans too far and collapses by itself",)
            )
            return (*manner, f"it topples and {what}", "it comes down")
        return (what, f"only {what}, the rest stands", f"{what}{f' as {stick} pushes' if poked else ' by itself'}")
