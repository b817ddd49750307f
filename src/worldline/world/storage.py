"""A world on disk: `config.json`, `model.safetensors`, a card, what was trained beside it. Nothing that is read here can run code.

May import: interfaces, world.config, safetensors, huggingface-hub. Refuses to know: what the weights are for.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldline.interfaces import ActionSpec
from worldline.world.config import FORMAT, WorldConfig

_BUNDLED = Path(__file__).parent.parent / "worlds"
_FILES = "config.json", "model.safetensors"
_BESIDE = ("frame_code.safetensors",)  # what is trained for a world and lies beside it


def write_world(folder: str | Path, config: WorldConfig, weights: Mapping[str, Tensor], num_parameters: int, *, half: bool = False) -> Path:
    """Write a world into `folder`, which is made if need be; each file appears whole or not at all.

    Raises:
        ValueError: if a weight does not fit into half precision that was asked for; nothing is written.
    """
    folder = Path(folder)
    stored = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if half:
        stored = {name: _halved(name, value) for name, value in stored.items()}
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "model.safetensors", lambda path: save_file(stored, path, metadata={"format": FORMAT}))
    _replace(folder / "config.json", lambda path: path.write_text(config.to_json() + "\n", encoding="utf-8"))
    _replace(folder / "README.md", lambda path: path.write_text(_card(config, num_parameters), encoding="utf-8"))
    return folder


def read_world(source: str | Path) -> tuple[WorldConfig, dict[str, Tensor]]:
    """Config and weights of a folder that `write_world` wrote, or of a hub repository (`owner/name`).

    Raises:
        FileNotFoundError: if there is no such folder, or it holds no world.
        ValueError: if the config or the weights are damaged.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _from_hub(str(source))
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    if not config_path.is_file() or not weights_path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no world: config.json and model.safetensors are needed. `worldline train` writes such a folder"
        )
    try:
        return WorldConfig.from_json(config_path.read_text(encoding="utf-8")), load_file(weights_path)
    except (SafetensorError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"the world in {folder} cannot be loaded: {error}") from error


def bundled_worlds() -> dict[str, Path]:
    """The worlds that come with the package: their folders, by name."""
    return {path.parent.name: path.parent for path in sorted(_BUNDLED.glob("*/config.json"))}


def locate_world(name: str | Path) -> Path:
    """The folder of a world: one that comes with the package, a folder, or what a hub repository (`owner/name`) holds.

    Raises:
        FileNotFoundError: if there is none of that name.
    """
    folder = bundled_worlds().get(str(name).removeprefix("worldline/"), Path(name))
    return folder if folder.is_dir() else _from_hub(str(name))


def add_to_card(folder: Path, heading: str, text: str) -> None:
    """Put a section at the end of a world's card, or in the place of the one of that heading; a README that is no world's is left alone."""
    path = folder / "README.md"
    if all((folder / name).is_file() for name in (*_FILES, path.name)):
        before, _, _ = path.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
        card = f"{before.rstrip()}\n\n## {heading}\n\n{text.strip()}\n"
        _replace(path, lambda partial: partial.write_text(card, encoding="utf-8"))


def _from_hub(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/")):
        bundled = ", ".join(bundled_worlds()) or "none"
        raise FileNotFoundError(
            f"no world at {name!r}: give a folder that holds config.json, a hub repository as owner/name, or the name of one that comes "
            f"with the package ({bundled})"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=[*_FILES, *_BESIDE]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(f"no folder {name!r}, and the hub did not answer with a world of that name: {error}") from error


def _halved(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    if not bool(torch.isfinite(half).all()):
        raise ValueError(f"{name} has values beyond float16's 65504 or not finite; save this world in full precision")
    return half


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _card(config: WorldConfig, num_parameters: int) -> str:
    figures = "\n".join(f"| {name} | {value} |" for name, value in config.figures.items()) or "| not measured | |"
    provenance = "\n".join(f"| {name} | {value} |" for name, value in config.provenance.items()) or "| not recorded | |"
    actions = _names(config.action_spec)
    if config.action_spaces:
        actions += "; ".join(["", *(f"{name} ({_names(space.spec)})" for name, space in config.action_spaces.items())])
    return f"""---
library_name: worldline
tags: [world-model, video-prediction]
---
# A worldline world

{num_parameters:,} parameters · {config.tokenizer.image_size} px · {config.rate_hz or "mixed"} Hz · actions: {actions}

```python
import worldline as wl

world = wl.World.from_pretrained("this folder")
state = world.prompt("video.mp4")
```

## Training

| what | value |
|---|---|
{provenance}

## Figures

| figure | value |
|---|---|
{figures}
"""


def _names(spec: ActionSpec | None) -> str:
    return "none" if spec is None else ", ".join(spec.names or [str(spec.dim)])
