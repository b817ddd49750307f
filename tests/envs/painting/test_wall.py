"""Painting: paint lands where the brush goes, a careful painter keeps the room clean, a sloppy one does not."""

import ctypes

import numpy as np
import pytest

from worldline.envs.painting import mypaint
from worldline.envs.painting.mypaint import LIBRARY, PRESET_FOLDERS, Brush, Surface

try:
    ctypes.CDLL(LIBRARY)
except OSError:
    pytest.skip("needs Debian's libmypaint-1.5-1", allow_module_level=True)
if not any(folder.is_dir() for folder in PRESET_FOLDERS):
    pytest.skip("needs Debian's mypaint-brushes", allow_module_level=True)
pytest.importorskip("cv2", reason="needs worldline[sim-paint]")

from worldline.envs.painting.wall import SPOILED_SHARE, PaintedRoom
from worldline.envs.record import draw_attributes, record, replay


@pytest.fixture(scope="module")
def room() -> PaintedRoom:
    return PaintedRoom()


def start(room: PaintedRoom, **changed: float | str) -> None:
    usual = {"fixture": "none", "brush": "round brush", "paint_opacity": 1.0, "paint_color": "blue", "wall_color": "white"}
    room.reset(7, draw_attributes(room, seed=7, split="train") | usual | changed)


def value(room: PaintedRoom, name: str) -> float:
    return float(room.state()[room.state_names.index(name)])


def paint(room: PaintedRoom, policy: str, num_frames: int = 62) -> None:
    act = room.policy(policy, np.random.default_rng(1))
    for _ in range(num_frames):
        room.step(act())
        for part in ("skirting", "rug", "floor", "fixture"):
            assert room.events()[f"paint_on_{part}"] == (value(room, f"{part}_painted") > SPOILED_SHARE)


def test_an_episode_repeats_and_another_colour_changes_the_picture(room: PaintedRoom) -> None:
    (first,) = record(room, seed=3, policy="scribble", num_frames=12, sizes=(32,))
    again = replay(room, first)
    assert again.frames.equal(first.frames)
    assert again.states is not None
    assert first.states is not None
    assert again.states.equal(first.states)
    assert not replay(room, first, paint_color="purple").frames.equal(first.frames)
    thinner = replay(room, first, paint_opacity=0.2)
    assert thinner.states is not None
    assert thinner.states[-1, 5] < first.states[-1, 5]


def test_a_careful_painter_covers_the_wall_and_keeps_the_rest_clean(room: PaintedRoom) -> None:
    start(room)
    assert not any(room.events().values())
    paint(room, "careful")
    assert room.events()["wall_covered"]
    assert not room.events()["paint_outside_wall"]
    assert any("stay clean" in caption for caption in room.captions())
    picture = room.render(64).astype(int)
    assert (picture[:30, :, 2] > picture[:30, :, 0] + 60).mean() > 0.8


@pytest.mark.parametrize("fixture", ["window", "door"])
def test_a_careful_painter_lifts_the_brush_over_what_is_in_the_wall(room: PaintedRoom, fixture: str) -> None:
    start(room, fixture=fixture)
    paint(room, "careful")
    assert value(room, "fixture_painted") < SPOILED_SHARE
    assert value(room, "wall_painted") > 0.5


def test_a_sloppy_painter_spoils_the_skirting_board(room: PaintedRoom) -> None:
    start(room)
    paint(room, "sloppy")
    assert room.events()["paint_on_skirting"]
    assert room.events()["paint_outside_wall"]
    assert any("skirting board" in caption for caption in room.captions())
    assert len(set(room.captions())) >= 10


def test_no_pressure_leaves_no_paint(room: PaintedRoom) -> None:
    start(room)
    for x in np.linspace(0.1, 0.9, 6):
        room.step(np.array([x, 0.6, 0.0, 0.0, 1.0]))
    assert value(room, "wall_painted") == 0


def test_a_stroke_has_the_colour_the_radius_and_the_place_it_was_given() -> None:
    brush, surface = Brush("ramon/wet_round"), Surface(128)
    assert surface.pixels().max() == 0
    for setting, number in (("radius_logarithmic", np.log(10)), ("color_h", 1 / 3), ("color_s", 1.0), ("color_v", 1.0)):
        brush.set(setting, number)
        assert brush.get(setting) == pytest.approx(number)
    brush.stroke(surface, np.array([[x, 64.0, 1.0] for x in np.linspace(30, 98, 40)]), 0.02)
    pixels = surface.pixels()
    np.testing.assert_allclose(pixels[64, 64], [0, 1, 0, 1], atol=0.02)
    assert np.count_nonzero(pixels[:, 64, 3] > 0.5) == pytest.approx(20, abs=3)
    assert pixels[20].max() == 0
    with pytest.raises(ValueError, match="no brush setting 'fluffiness'"):
        brush.set("fluffiness", 1.0)
    brush.close()
    surface.close()


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"apt-get install .*mypaint-brushes"):
        mypaint.preset("classic/no_such_brush")
    mypaint.load_library.cache_clear()
    monkeypatch.setattr(mypaint, "LIBRARY", "libmypaint-no-such-version.so")
    with pytest.raises(ImportError, match=r"apt-get install libmypaint-1\.5-1"):
        mypaint.load_library()
    with pytest.raises(ValueError, match="multiple of 64"):
        Surface(100)
