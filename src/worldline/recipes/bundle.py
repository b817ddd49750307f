"""Making a world ready to come with the package: half precision, small enough, and as good as it was.

May import: world, torch. Refuses to know: how it was trained.
"""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from worldline.world import World

MOST_MEGABYTES = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleReport:
    """What came of it.

    Attributes:
        folder: of the world.
        megabytes: of its weights on disk, 10^6 bytes.
        load_seconds: to load it, processor time of this process.
        largest_difference: of a pixel in [0, 1] between the world before and after rounding, over a reconstruction and 8 imagined frames.
        fingerprint: of the world as it is loaded.
    """

    folder: Path
    megabytes: float
    load_seconds: float
    largest_difference: float
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "folder": str(self.folder)}


@torch.no_grad()
def bundle_world(source: Path | str, folder: Path, *, most_megabytes: float = MOST_MEGABYTES) -> BundleReport:
    """Write the world at `source` into `folder` in half precision, load it again, and compare the two.

    The card says that weights were rounded; its figures are those of the world before.

    Raises:
        FileNotFoundError, ValueError: if there is no such world, or it is damaged.
        ValueError: if it would be larger than `most_megabytes`; nothing is written.
    """
    world = World.load(source)
    num_bytes = sum(value.numel() * (2 if value.is_floating_point() else value.element_size()) for value in world.state_dict().values())
    if num_bytes > most_megabytes * 1e6:
        raise ValueError(f"the weights of {source} take {num_bytes / 1e6:.1f} MB in half precision; the most is {most_megabytes:g} MB")
    provenance = {**world.config.provenance, "weights": "rounded to float16 after training; figures are those before"}
    World(replace(world.config, provenance=provenance), world.tokenizer, world.dynamics).save_pretrained(folder, half=True)
    began = time.process_time()
    rounded = World.load(folder)
    seconds = time.process_time() - began
    return BundleReport(
        folder=folder,
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        load_seconds=seconds,
        largest_difference=_largest_difference(world, rounded),
        fingerprint=rounded.fingerprint(),
    )


def _largest_difference(world: World, rounded: World) -> float:
    """Over a soft random picture, which every world can be shown."""
    size = world.config.tokenizer.image_size
    generator = torch.Generator().manual_seed(0)
    rough = torch.rand(2, 3, 4, 4, generator=generator)
    video = torch.nn.functional.interpolate(rough, size=(size, size), mode="bilinear")
    videos = []
    for one in (world, rounded):
        state = one.prompt(video)
        frames = [one.decode(state)]
        for _ in range(8):
            state = one.step(state, None, seed=0)
            frames.append(one.decode(state))
        videos.append(torch.cat(frames))
    return float((videos[0] - videos[1]).abs().max())
