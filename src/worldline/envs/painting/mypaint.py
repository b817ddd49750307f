"""libmypaint through ctypes: a brush from its preset file, and a surface that it leaves paint on.

The library is Debian's, not PyPI's; what is missing is named together with its package. Only what a stroke needs is bound
(libmypaint 1.6, whose file is libmypaint-1.5.so.1). A new brush always starts its random numbers at the same place, so strokes
repeat exactly.

May import: ctypes, numpy. Refuses to know: what is painted.
"""

import ctypes
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

LIBRARY = "libmypaint-1.5.so.1"
PACKAGES = "libmypaint-1.5-1 mypaint-brushes"
PRESET_FOLDERS = (Path("/usr/share/mypaint-data/2.0/brushes"), Path("/usr/share/mypaint-data/1.0/brushes"))
TILE = 64
ONE = 1 << 15
"""Full intensity in the surface's fixed-point pixels."""


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "width", "height")]


class _TileRequest(ctypes.Structure):
    _fields_ = [
        ("tx", ctypes.c_int),
        ("ty", ctypes.c_int),
        ("readonly", ctypes.c_int),
        ("buffer", ctypes.POINTER(ctypes.c_uint16)),
        ("context", ctypes.c_void_p),
        ("thread_id", ctypes.c_int),
        ("mipmap_level", ctypes.c_int),
    ]


@cache
def load_library() -> ctypes.CDLL:
    """The shared library, with the types of the functions that are used.

    Raises:
        ImportError: if it is not installed; names the Debian packages.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise ImportError(f"painting needs {LIBRARY}, which is not on this machine: apt-get install {PACKAGES} ({error})") from error
    pointer, real, text = ctypes.c_void_p, ctypes.c_float, ctypes.c_char_p
    for name, result, arguments in (
        ("mypaint_init", None, []),
        ("mypaint_brush_new", pointer, []),
        ("mypaint_brush_unref", None, [pointer]),
        ("mypaint_brush_from_string", ctypes.c_int, [pointer, text]),
        ("mypaint_brush_setting_from_cname", ctypes.c_int, [text]),
        ("mypaint_brush_set_base_value", None, [pointer, ctypes.c_int, real]),
        ("mypaint_brush_get_base_value", real, [pointer, ctypes.c_int]),
        ("mypaint_brush_stroke_to", ctypes.c_int, [pointer, pointer, *[real] * 5, ctypes.c_double]),
        ("mypaint_fixed_tiled_surface_new", pointer, [ctypes.c_int, ctypes.c_int]),
        ("mypaint_fixed_tiled_surface_interface", pointer, [pointer]),
        ("mypaint_surface_unref", None, [pointer]),
        ("mypaint_surface_begin_atomic", None, [pointer]),
        ("mypaint_surface_end_atomic", None, [pointer, ctypes.POINTER(_Rectangle)]),
        ("mypaint_tile_request_init", None, [ctypes.POINTER(_TileRequest), *[ctypes.c_int] * 4]),
        ("mypaint_tiled_surface_tile_request_start", None, [pointer, ctypes.POINTER(_TileRequest)]),
        ("mypaint_tiled_surface_tile_request_end", None, [pointer, ctypes.POINTER(_TileRequest)]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.mypaint_init()
    return library


def preset(name: str) -> str:
    """The text of a brush preset such as `deevad/brush`.

    Raises:
        ImportError: if the brushes are not installed, or this one is not among them; names the Debian packages.
    """
    for folder in PRESET_FOLDERS:
        if (path := folder / f"{name}.myb").is_file():
            return path.read_text(encoding="utf-8")
    folders = " or ".join(map(str, PRESET_FOLDERS))
    raise ImportError(f"the brush {name} is not in {folders}: apt-get install {PACKAGES}")


class Surface:
    """A transparent canvas, `size` pixels wide and high (a multiple of the tile's 64)."""

    def __init__(self, size: int) -> None:
        if size % TILE or size < TILE:
            raise ValueError(f"size is {size}; give a multiple of {TILE}")
        self.size = size
        self._library = load_library()
        self._surface = self._library.mypaint_fixed_tiled_surface_new(size, size)
        self.handle = self._library.mypaint_fixed_tiled_surface_interface(self._surface)
        for _, _, tile in self._tiles():  # a new surface is all ones, which is no valid pixel
            tile[:] = 0

    def pixels(self) -> np.ndarray:
        """The paint (size, size, 4) float32 in [0, 1]: red, green, blue times opacity, and opacity; the first row is the top one."""
        picture = np.empty((self.size, self.size, 4), np.float32)
        for rows, columns, tile in self._tiles():
            picture[rows, columns] = tile
        return picture / ONE

    def _tiles(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Where each tile lies, and its pixels (64, 64, 4) uint16, which are the surface's own memory for as long as it is asked for."""
        for row in range(self.size // TILE):
            for column in range(self.size // TILE):
                request = _TileRequest()
                self._library.mypaint_tile_request_init(request, 0, column, row, 0)
                self._library.mypaint_tiled_surface_tile_request_start(self.handle, request)
                tile = np.ctypeslib.as_array(request.buffer, (TILE, TILE, 4))
                yield slice(row * TILE, (row + 1) * TILE), slice(column * TILE, (column + 1) * TILE), tile
                self._library.mypaint_tiled_surface_tile_request_end(self.handle, request)

    def close(self) -> None:
        """Give the memory back; may be called more than once."""
        if self.handle is not None:
            self._library.mypaint_surface_unref(self.handle)
            self.handle = None


class Brush:
    """A brush with the settings of a preset, some of them changed."""

    def __init__(self, name: str) -> None:
        self._library = load_library()
        self._brush = self._library.mypaint_brush_new()
        if not self._library.mypaint_brush_from_string(self._brush, preset(name).encode()):
            raise ImportError(f"libmypaint cannot read the brush {name}; reinstall it: apt-get install --reinstall {PACKAGES}")

    def get(self, setting: str) -> float:
        """The base value of a setting, by libmypaint's name for it (`radius_logarithmic`, `opaque`, `color_h`)."""
        return float(self._library.mypaint_brush_get_base_value(self._brush, self._number(setting)))

    def set(self, setting: str, value: float) -> None:
        """Change the base value of a setting."""
        self._library.mypaint_brush_set_base_value(self._brush, self._number(setting), value)

    def _number(self, setting: str) -> int:
        number = int(self._library.mypaint_brush_setting_from_cname(setting.encode()))
        if number < 0:
            raise ValueError(f"libmypaint has no brush setting {setting!r}")
        return number

    def stroke(self, surface: Surface, points: np.ndarray, seconds: float) -> None:
        """Move through `points` (N, 3): x and y in pixels from the top left, and pressure from 0 to 1; `seconds` from each to the next."""
        self._library.mypaint_surface_begin_atomic(surface.handle)
        for x, y, pressure in points:
            self._library.mypaint_brush_stroke_to(self._brush, surface.handle, x, y, pressure, 0.0, 0.0, seconds)
        self._library.mypaint_surface_end_atomic(surface.handle, _Rectangle())

    def close(self) -> None:
        """Give the memory back; may be called more than once."""
        if self._brush is not None:
            self._library.mypaint_brush_unref(self._brush)
            self._brush = None
