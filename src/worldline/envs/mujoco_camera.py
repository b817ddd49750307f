"""Photographs any MuJoCo model, a third party's scene or one of `MujocoStage`.

Pictures are taken at twice the size and averaged, because MuJoCo's own anti-aliasing costs ten times as much without a GPU; shadow maps are
small and reflections off for the same reason.

May import: envs.mujoco_engine, numpy, mujoco. Refuses to know: whose scene it is.
"""

import atexit
import os
from functools import lru_cache
from typing import Any

import numpy as np

from worldline.envs.mujoco_engine import load_mujoco, make_graphics

OVERSAMPLING = 2
SHADOW_PIXELS = 512
BUFFER_PIXELS = 512
_MAX_GEOMS = 3000


@lru_cache(maxsize=1)
def _graphics(process: int) -> Any:  # one per process: a forked one must not draw into its parent's
    context = make_graphics(BUFFER_PIXELS)
    atexit.register(context.free)
    return context


class MujocoCamera:
    """Takes pictures of one model. `view` is a `mujoco.MjvCamera` and may be moved between pictures."""

    def __init__(self, model: Any, view: Any) -> None:
        self._mujoco = load_mujoco()
        self._model = model
        self.view = view
        self.option = self._mujoco.MjvOption()
        model.vis.quality.shadowsize = SHADOW_PIXELS
        model.vis.quality.offsamples = 0
        model.vis.global_.offwidth = model.vis.global_.offheight = BUFFER_PIXELS
        self._drawing: Any = None
        self._scene: Any = None

    def take(self, data: Any, size: int) -> np.ndarray:
        """The picture of `data`, (size, size, 3) uint8, RGB.

        Raises:
            ValueError: if it is larger than the buffer allows.
        """
        pixels = OVERSAMPLING * size
        if not 1 <= pixels <= BUFFER_PIXELS:
            raise ValueError(f"pictures are 1 to {BUFFER_PIXELS // OVERSAMPLING} pixels wide, got {size}")
        _graphics(os.getpid()).make_current()
        if self._drawing is None:
            self._drawing = self._mujoco.MjrContext(self._model, self._mujoco.mjtFontScale.mjFONTSCALE_100)
            self._scene = self._mujoco.MjvScene(self._model, _MAX_GEOMS)
            self._scene.flags[self._mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        # Every time: another camera of this process may have drawn, or gone, since.
        self._mujoco.mjr_setBuffer(self._mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        everything = self._mujoco.mjtCatBit.mjCAT_ALL
        self._mujoco.mjv_updateScene(self._model, data, self.option, None, self.view, everything, self._scene)
        viewport = self._mujoco.MjrRect(0, 0, pixels, pixels)
        image = np.empty((pixels, pixels, 3), np.uint8)
        self._mujoco.mjr_render(viewport, self._scene, self._drawing)
        self._mujoco.mjr_readPixels(image, None, viewport, self._drawing)
        return image[::-1].reshape(size, OVERSAMPLING, size, OVERSAMPLING, 3).mean(axis=(1, 3)).round().astype(np.uint8)

    def close(self) -> None:
        """Release the drawing buffers."""
        if self._drawing is not None:
            _graphics(os.getpid()).make_current()
            self._drawing.free()
        self._drawing = self._scene = None


def fixed_view(model: Any, name: str) -> Any:
    """The view of a camera of the model itself."""
    mujoco = load_mujoco()
    view = mujoco.MjvCamera()
    view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
    return view


def free_view(look_at: tuple[float, float, float], *, distance: float, azimuth: float, elevation: float) -> Any:
    """A view from `distance` metres; angles in degrees."""
    view = load_mujoco().MjvCamera()
    view.lookat[:], view.distance, view.azimuth, view.elevation = look_at, distance, azimuth, elevation
    return view
