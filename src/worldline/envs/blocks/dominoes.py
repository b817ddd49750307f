"""A row of dominoes, straight or curved, with or without a gap that stops the wave; a stick tips the first one.

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, envs.blocks.stage, numpy. Refuses to know: files, models.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldline.envs.blocks.stage import BLOCK_ATTRIBUTES, STICK_SPEED, Block, BlockStage, event_names, state_names
from worldline.envs.mujoco_stage import color_attribute
from worldline.envs.phrases import article, number, sentence
from worldline.envs.simulator import Act, Attribute, Value

MAX_BLOCKS = 12
HALF_SIZE = (0.009, 0.024, 0.045)
ROW_START_X = -0.22


class Dominoes(BlockStage):
    """A row of dominoes that starts beside the stick."""

    name = "dominoes"
    max_blocks = MAX_BLOCKS
    stick_start = (-0.28, 0.0, 0.075)
    state_names = state_names(MAX_BLOCKS)
    event_names = event_names(MAX_BLOCKS, "last_falls")
    policy_names = ("tip", "watch", "random")
    attributes = (
        Attribute(name="num_blocks", kind="scene", usual=(7, 8, 9, 10), unusual=(12,)),
        Attribute(name="spacing_m", kind="scene", usual=(0.04, 0.052), unusual=(0.028, 0.033)),
        Attribute(name="curve_degrees", kind="scene", usual=(-60.0, 60.0), unusual=(75.0, 100.0)),
        Attribute(name="missing_block", kind="scene", usual=(0, 0, 4, 6), unusual=(3,)),
        Attribute(name="num_missing", kind="scene", usual=(1, 2)),  # from `missing_block` on: a wave gets over one, not over two
        color_attribute("first_color"),
        color_attribute("color"),
        color_attribute("last_color"),
        *BLOCK_ATTRIBUTES,
    )

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode."""
        places = np.array([block.position[:2] for block in self._layout(np.random.default_rng(seed), attributes)])
        middle = (places.min(0) + places.max(0)) / 2
        # The whole row is to be seen, however long and curved it is.
        self.look_at = (float(middle[0]), float(middle[1]), 0.03)
        self.camera_distance_m = max(0.7, 2.8 * float(np.linalg.norm(places - middle, axis=1).max()))
        super().reset(seed, attributes)

    def _layout(self, generator: np.random.Generator, attributes: Mapping[str, Value]) -> Sequence[Block]:
        jitter = generator.uniform(-0.06, 0.06, MAX_BLOCKS + 2)
        count, missing = int(attributes["num_blocks"]), int(attributes["missing_block"])
        gap = range(missing, missing + int(attributes["num_missing"])) if missing else range(0)
        turn = np.deg2rad(float(attributes["curve_degrees"])) / max(1, count)
        x, y, yaw = ROW_START_X, 0.0, 0.0
        blocks = []
        for index in range(count + len(gap)):
            if index not in gap:
                color = attributes["first_color" if not blocks else "last_color" if len(blocks) == count - 1 else "color"]
                angle = yaw + float(jitter[index])
                blocks.append(Block(position=(x, y, HALF_SIZE[2]), half_size=HALF_SIZE, color=color, yaw_radians=angle))
            yaw += turn
            x, y = x + float(attributes["spacing_m"]) * float(np.cos(yaw)), y + float(attributes["spacing_m"]) * float(np.sin(yaw))
        return blocks

    def _further_events(self, fallen: np.ndarray) -> Mapping[str, bool]:
        return {"last_falls": bool(fallen[-1] and not self._fallen[-1])}

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`tip` (pushes the first domino over after a short while), `watch` or `random`."""
        self._check_policy(name)
        if name == "watch":
            return self._rest()
        if name == "random":
            return self._wander(generator)
        first = self._block_position(0)
        speed = float(generator.uniform(0.3, 1.0)) * STICK_SPEED
        height = float(generator.uniform(0.06, 0.085))
        patience = [int(generator.integers(0, 12))]
        plan = [np.array([first[0] - 0.05, first[1], height]), np.array([first[0] + 0.02, first[1], height])]
        plan.append(np.array([-0.29, first[1], height]))

        def act() -> np.ndarray:
            if patience[0] > 0:
                patience[0] -= 1
                return np.zeros(3)
            if len(plan) > 1 and float(np.linalg.norm(self._tip() - plan[0])) < 0.012:
                plan.pop(0)
            return self._velocity_towards(plan[0], speed)

        return act

    def captions(self) -> Sequence[str]:
        """The row and how far the wave came."""
        facts = self._attributes
        count, num_fallen, total = number(len(self.blocks)), int(self._fallen.sum()), len(self.blocks)
        shape = "straight" if abs(float(facts["curve_degrees"])) < 20 else "curved"
        first, last = (article(str(facts[f"{end}_color"])) for end in ("first", "last"))
        subjects = (
            f"{article(shape)} row of {count} {facts['material']} dominoes",
            f"{facts['color']} {facts['material']} dominoes with {first} first and {last} last one",
            f"a {facts['stick_color']} stick beside {count} {facts['color']} dominoes",
            f"dominoes in {'a line' if shape == 'straight' else 'an arc'} on a {facts['floor_color']} floor",
        )
        if num_fallen == 0:
            endings = ("none of them falls", "they all stay standing", "nothing topples")
        elif num_fallen == total:
            endings = (
                "all of them fall",
                f"the wave runs through to the {facts['last_color']} one",
                "one knocks over the next until all lie",
            )
        else:
            gap = " at the gap" if facts["missing_block"] else ""
            endings = (
                f"{number(num_fallen)} of {count} fall",
                f"the wave stops{gap}",
                f"the first {number(num_fallen)} topple, the rest stand",
            )
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)
