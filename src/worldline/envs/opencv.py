"""OpenCV, imported when a domain draws with it.

May import: cv2 (on demand). Refuses to know: any simulator.
"""

from types import ModuleType


def import_opencv(extra: str) -> ModuleType:
    """The `cv2` module, with which pictures are drawn.

    Raises:
        ImportError: if it is missing; names `extra`.
    """
    try:
        import cv2  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            f'pictures of this domain are drawn with opencv, which is not installed: pip install "worldline[{extra}]"'
        ) from error
    return cv2
