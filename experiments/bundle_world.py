"""Put a trained world into the package: `World.load(NAME)` then finds it.

    python experiments/bundle_world.py runs/zoo --name tiny

Writes src/worldline/worlds/NAME: config.json, model.safetensors in half precision (at most 20 MB) and a card, README.md.
"""

import argparse
import json
from pathlib import Path

from worldline.recipes.bundle import bundle_world

PACKAGE = Path(__file__).parent.parent / "src" / "worldline"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of `worldline train`, or of a world")
    parser.add_argument("--name", default="tiny")
    arguments = parser.parse_args()
    if not arguments.name.isidentifier():
        parser.error(f"--name is {arguments.name!r}; give one word of letters, digits and underscores")
    inside = arguments.run / "world"
    source = inside if (inside / "config.json").is_file() else arguments.run
    report = bundle_world(source, PACKAGE / "worlds" / arguments.name)
    print(json.dumps(report.to_dict(), indent=1))


if __name__ == "__main__":
    main()
