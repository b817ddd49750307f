"""Jenga: layers of three planks, every other one crosswise; a stick pushes planks out until the tower comes down, or it does not.

May import: interfaces, envs.simulator, envs.mujoco_stage, envs.phrases, envs.blocks.stage, numpy. Refuses to know: files, models.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from worldline.envs.blocks.stage import BLOCK_ATTRIBUTES, STICK_RADIUS, STICK_SPEED, Block, BlockStage, event_names, state_names
from worldline.envs.mujoco_stage import color_attribute
from worldline.envs.phrases import article, number, plural, sentence
from worldline.envs.simulator import Act, Attribute, Value

MAX_LAYERS = 7
HALF_SIZE = (0.075, 0.0243, 0.018)
OUT_DISTANCE_M = 0.09
"""A plank is out once it has slid this far from where it lay, while it still is level with its layer or below it."""


class Jenga(BlockStage):
    """A Jenga tower whose even layers (from 0 at the bottom) point at the stick."""

    name = "jenga"
    max_blocks = 3 * MAX_LAYERS
    look_at = (0.02, 0.0, 0.1)
    camera_distance_m = 0.68
    stick_start = (-0.2, 0.0, 0.12)
    stick_force_newton = 15.0
    collapse_share = 0.25
    state_names = state_names(3 * MAX_LAYERS)
    event_names = event_names(3 * MAX_LAYERS, "plank_out")
    policy_names = ("push_out", "watch", "random")
    attributes = (
        Attribute(name="num_layers", kind="scene", usual=(5, 6), unusual=(7,)),
        Attribute(name="num_missing", kind="scene", usual=(0, 1, 2, 3), unusual=(5,)),
        color_attribute("even_color"),
        color_attribute("odd_color"),
        *BLOCK_ATTRIBUTES,
    )

    def _layout(self, generator: np.random.Generator, attributes: Mapping[str, Value]) -> Sequence[Block]:
        num_layers = int(attributes["num_layers"])
        shifts = generator.uniform(-0.004, 0.004, (3 * MAX_LAYERS, 2))
        # Never from the top layer, which would only be a lower tower, and never two from one layer, which would not stand.
        order = generator.permutation(MAX_LAYERS - 1)
        places = generator.integers(0, 3, MAX_LAYERS)
        layers = [int(layer) for layer in order if layer < num_layers - 1][: int(attributes["num_missing"])]
        missing = {(layer, int(places[layer])) for layer in layers}
        blocks = []
        for layer in range(num_layers):
            for place in range(3):
                if (layer, place) in missing:
                    continue
                aside = (place - 1) * 2.06 * HALF_SIZE[1]
                shift = shifts[3 * layer + place]
                x, y = (0.0, aside) if layer % 2 == 0 else (aside, 0.0)
                blocks.append(
                    Block(
                        position=(
                            x + float(shift[0] if layer % 2 == 0 else 0),
                            y + float(shift[1] if layer % 2 else 0),
                            (2 * layer + 1) * HALF_SIZE[2],
                        ),
                        half_size=HALF_SIZE,
                        color=attributes["even_color" if layer % 2 == 0 else "odd_color"],
                        yaw_radians=0.0 if layer % 2 == 0 else float(np.pi / 2),
                    )
                )
        return blocks

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """Start an episode."""
        super().reset(seed, attributes)
        self._starts = np.array([block.position for block in self.blocks])
        self._out = np.zeros(len(self.blocks), dtype=bool)

    def _further_events(self, fallen: np.ndarray) -> Mapping[str, bool]:
        positions = np.array([self._block_position(index) for index in range(len(self.blocks))])
        out = np.linalg.norm(positions - self._starts, axis=1)[:] > OUT_DISTANCE_M
        new = bool((out & ~self._out).any())
        self._out = out
        return {"plank_out": new}

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`push_out` (pushes one plank after another out of its layer, some carelessly), `watch` or `random`."""
        self._check_policy(name)
        if name == "watch":
            return self._rest()
        if name == "random":
            return self._wander(generator)
        # Planks of even layers, not of the bottom: their ends look at the stick.
        ends = [block for block in self.blocks if block.yaw_radians == 0 and block.position[2] > 2 * HALF_SIZE[2]]
        careless = bool(generator.uniform() < 0.55)
        plan: list[np.ndarray] = []
        for index in generator.permutation(len(ends))[:3]:
            _, y, z = ends[int(index)].position
            height = z + (float(generator.uniform(-0.02, 0.02)) if careless else 0.0)
            depth = float(generator.uniform(0.0, 0.2 if careless else 0.11))
            plan += [np.array([-0.12, y, height]), np.array([depth, y, height]), np.array([-0.12, y, height])]
        speed = STICK_SPEED * (1.0 if careless else float(generator.uniform(0.35, 0.7)))

        def act() -> np.ndarray:
            if len(plan) > 1 and float(np.linalg.norm(self._tip() - plan[0])) < STICK_RADIUS:
                plan.pop(0)
            return self._velocity_towards(plan[0], speed)

        return act

    def captions(self) -> Sequence[str]:
        """The tower, what was pushed and what became of it."""
        facts = self._attributes
        layers = number(int(facts["num_layers"]))
        even, odd = str(facts["even_color"]), str(facts["odd_color"])
        both = even if even == odd else f"{even} and {odd}"
        subjects = (
            f"a jenga tower of {layers} layers of {facts['material']} planks",
            f"{facts['material']} planks, {both}{' by turns' if even != odd else ''}, stacked crosswise",
            f"a {facts['stick_color']} stick and {article(both)} jenga tower",
            f"a {facts['material']} jenga tower on a {facts['floor_color']} checkered floor",
        )
        pushed = self._ever("stick_contact")
        if self._ever("collapse"):
            endings = ("it collapses", "it comes tumbling down", f"{'the stick brings it down' if pushed else 'it falls by itself'}")
        elif self._ever("plank_out"):
            out = plural(int(self._out.sum()), "plank")
            endings = (f"{out} pushed out", "the stick pushes a plank out and the rest stands", f"it loses {out} and does not collapse")
        elif pushed:
            endings = ("the stick pushes at it, and it holds", "it is poked and stays up", "a plank is pushed but does not come out")
        else:
            endings = ("it stands still", "nothing moves it", "nobody touches it")
        return tuple(sentence(f"{subject}: {ending}") for ending in endings for subject in subjects)
