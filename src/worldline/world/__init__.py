"""The learned world: prompt it with a video, step it, roll it out, draw it, save it.

    learned    `World`: the tokenizer and the dynamics behind `interfaces.World`
    config     everything about a world but its weights
    storage    a folder, the package's own worlds or a hub repository <-> config and weights; the model card

May import: data, tokenizer, dynamics, nn, interfaces. Refuses to know: planners, rewards, training, simulators.
"""

from worldline.world.config import ActionSpace, WorldConfig
from worldline.world.learned import World
from worldline.world.storage import add_to_card, bundled_worlds, locate_world

__all__ = ["ActionSpace", "World", "WorldConfig", "add_to_card", "bundled_worlds", "locate_world"]
