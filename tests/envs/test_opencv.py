"""OpenCV: a missing one is named with what installs it."""

import sys

import pytest

from worldline.envs.opencv import import_opencv


def test_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'pip install "worldline\[sim-crowd\]"'):
        import_opencv("sim-crowd")
