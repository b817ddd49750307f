"""Checkpoints that are either whole or absent, whenever the process dies.

A checkpoint is a folder `step_00001234` with `tensors.safetensors`, `state.json` and `manifest.json` (the SHA-256 of the other two).
It is written under a temporary name, flushed to the disk file by file, then renamed: a reader never sees half of one.

May import: torch, safetensors. Refuses to know: what the tensors mean; and pickle, in any form.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

logger = logging.getLogger(__name__)

_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_STEP_NAME = re.compile(r"step_(\d{8,})")
_TEMPORARY = ".tmp-"
_ASIDE = ".aside"
_PICKLED_SUFFIXES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
_PICKLED_NAMES = (".metadata",)  # of torch.distributed.checkpoint


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write the checkpoint of `step` atomically, then drop all but the newest `keep`.

    History is a line: checkpoints of later steps, left behind by a return to an earlier one, are dropped too.

    Args:
        folder: where checkpoints live; created if missing.
        step: training step, not negative.
        tensors: any dtype and device.
        state: anything JSON can hold.
        keep: how many checkpoints stay, at least 1.

    Returns:
        The folder of the new checkpoint.

    Raises:
        OSError: if it cannot be written (disk full, no permission); earlier checkpoints are then untouched.
        ValueError: if `step` or `keep` is out of range, or `state` is not JSON.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"step is {step} and keep is {keep}; give a step >= 0 and keep >= 1")
    try:
        state_text = json.dumps(state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the state of step {step} cannot be written as JSON: {error}") from error
    final = folder / f"step_{step:08d}"
    temporary = folder / f"{final.name}{_TEMPORARY}{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(temporary, tensors, state_text)
        if final.exists():  # a damaged one that loading fell back from, or the last step's, saved again
            final.rename(_set_aside(final))
        temporary.rename(final)
        _flush(folder)
        shutil.rmtree(_set_aside(final), ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(
            f"could not write the checkpoint of step {step} to {folder}: {error}. Earlier checkpoints are untouched; "
            "make room or mend the folder, then run the same command again to resume"
        ) from error
    checkpoints = list_checkpoints(folder)
    kept = [other for other in checkpoints if other <= step][-keep:]
    for other in checkpoints.keys() - kept:
        _remove(checkpoints[other])
    return final


def load_latest(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Load the newest checkpoint whose SHA-256 agrees with its manifest, and clear away what interrupted saves left.

    A damaged checkpoint is named in a warning of the log and the one before it is taken.

    Args:
        folder: what was given to `save_checkpoint`; it need not exist.

    Returns:
        Step, tensors on the CPU, and state; None where there is no checkpoint.

    Raises:
        ValueError: if the folder holds pickled files, which are never opened, or if every checkpoint is damaged.
    """
    if not folder.is_dir():
        return None
    refuse_pickles(folder)
    for aside in folder.glob(f"step_*{_ASIDE}"):  # a save of the same step was killed before it could take this one's place
        final = aside.with_name(aside.name.removesuffix(_ASIDE))
        if final.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(final)
    for stale in folder.glob(f"step_*{_TEMPORARY}*"):
        shutil.rmtree(stale)
    checkpoints = list_checkpoints(folder)
    damaged = []
    for step, path in reversed(checkpoints.items()):
        refuse_pickles(path)
        try:
            tensors, state = _read(path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            damaged.append(f"{path.name}: {error}")
            logger.warning("checkpoint %s is damaged (%s); trying the one before it", path, error)
            continue
        return step, tensors, state
    if damaged:
        raise ValueError(
            f"every checkpoint in {folder} is damaged ({'; '.join(damaged)}); restore one from a backup, or remove them to start over"
        )
    return None


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """Published checkpoints by step, oldest first; their contents are not verified."""
    found = {int(match[1]): path for path in folder.glob("step_*") if (match := _STEP_NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def refuse_pickles(folder: Path) -> None:
    """Raise ValueError if `folder` directly holds a file that would be unpickled, since that can run any code; opens nothing."""
    pickled = [path.name for path in folder.iterdir() if path.suffix in _PICKLED_SUFFIXES or path.name in _PICKLED_NAMES]
    if pickled:
        raise ValueError(
            f"{folder} holds pickled files ({', '.join(sorted(pickled))}); loading a pickle can run any code, so they are refused. "
            "Convert the weights to safetensors where you trust them, or move these files elsewhere"
        )


def _write(folder: Path, tensors: Mapping[str, Tensor], state_text: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    safetensors.torch.save_file(_unshared(tensors), folder / _TENSORS)
    (folder / _STATE).write_text(state_text)
    manifest = {name: _digest((folder / name).read_bytes()) for name in (_TENSORS, _STATE)}
    (folder / _MANIFEST).write_text(json.dumps(manifest))
    for path in (*(folder / name for name in (_TENSORS, _STATE, _MANIFEST)), folder):
        _flush(path)


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    manifest = json.loads((folder / _MANIFEST).read_bytes())
    contents = {name: (folder / name).read_bytes() for name in (_TENSORS, _STATE)}
    for name, data in contents.items():  # the bytes that were verified are the bytes that are parsed
        if _digest(data) != manifest[name]:
            raise ValueError(f"{name} does not match its SHA-256")
    return safetensors.torch.load(contents[_TENSORS]), json.loads(contents[_STATE])


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU and contiguous, with a copy of every tensor whose storage came before: safetensors refuses shared ones."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous()
        address = flat.untyped_storage().data_ptr()
        separate[name] = flat.clone() if address in seen else flat
        seen.add(address)
    return separate


def _set_aside(checkpoint: Path) -> Path:
    return checkpoint.with_name(checkpoint.name + _ASIDE)


def _remove(checkpoint: Path) -> None:
    """Rename first: a death half-way through must not leave a half-empty folder under a checkpoint's name."""
    doomed = checkpoint.with_name(f"{checkpoint.name}{_TEMPORARY}dropped-{os.getpid()}")
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _flush(path: Path) -> None:
    """Force a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
