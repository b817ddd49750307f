"""MuJoCo as every domain on it starts and watches it: without a display, without files of its own, and never silently out of hand.

May import: numpy, mujoco (extra `sim-mujoco`). Refuses to know: any scene.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

FARTHEST_M = 100.0
"""From the middle of a scene. What is farther away was thrown there by a solver that failed: nothing is in free fall for that long."""


def load_mujoco() -> ModuleType:
    """MuJoCo, imported only now.

    Raises:
        ImportError: if it is not installed.
    """
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        mujoco: Any = importlib.import_module("mujoco")
    except ImportError as error:
        raise ImportError('this domain needs the MuJoCo simulator; install it with: pip install "worldline[sim-mujoco]"') from error
    logging = mujoco.MjLogConfig.get()
    if logging.logto_file:  # MUJOCO_LOG.TXT in whatever folder one works in
        logging.logto_file = False
        logging.set()
    return mujoco


def make_graphics(pixels: int) -> Any:
    """A context to draw in, at least `pixels` wide and high."""
    mujoco = load_mujoco()
    if os.environ.get("MUJOCO_GL", "").lower() == "egl":
        # MuJoCo chooses when it is imported, which somebody may have done before the variable was set.
        return importlib.import_module("mujoco.egl").GLContext(pixels, pixels)
    return mujoco.GLContext(pixels, pixels)


def check_physics(data: Any, name: str, attributes: Mapping[str, Any]) -> None:
    """See that a simulation is still one. Call it after every frame.

    Raises:
        FloatingPointError: if it diverged, or threw something out of the scene.
    """
    kinds = load_mujoco().mjtWarning
    # MuJoCo starts over, without a word to the caller, when a number is out of hand.
    restarted = any(data.warning[int(kind)].number for kind in (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC))
    farthest = float(np.abs(data.xpos).max())
    if restarted or not farthest < FARTHEST_M:
        what = "diverged" if restarted else f"threw something {farthest:.3g} m away"
        raise FloatingPointError(f"the simulation of {name} {what} at {data.time:.2f} s with attributes {dict(attributes)}")


def full_state(model: Any, data: Any) -> np.ndarray:
    """All that the next steps depend on (MuJoCo's integration state: coordinates, velocities, controls, warm start, mocap bodies)."""
    mujoco = load_mujoco()
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    state = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, state, kind)
    return state


def restore_state(model: Any, data: Any, state: np.ndarray) -> None:
    """Go back to a `full_state` of the same model, and bring places, contacts and lengths up to date with it."""
    mujoco = load_mujoco()
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    # Not mj_forward: its solver would move the warm start, and what follows would no longer be the same to the last bit.
    mujoco.mj_step1(model, data)
