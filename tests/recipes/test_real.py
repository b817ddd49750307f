"""The readers of real recordings, on small folders laid out like them."""

import csv

import torch

from worldline.data import write_video
from worldline.recipes import cars, droid, read_cars, read_droid


def film(num_frames: int) -> torch.Tensor:
    return torch.linspace(0, 255, num_frames).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)


def test_droid_is_read_in_phases_and_split_by_site(tmp_path):
    (tmp_path / "clips").mkdir()
    with (tmp_path / "clips.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerows([["file", "site", "instruction"], ["a.mp4", "north", "lift the cup"], ["b.mp4", "south", ""]])
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "clips" / name, film(30), 15.0)
    store = read_droid(tmp_path, tmp_path / "store", size=16)
    assert [episode.source for episode in store.episodes] == ["north", "north", "south", "south"]
    assert [episode.text for episode in store.episodes] == ["lift the cup", "lift the cup", None, None]
    assert {episode.rate_hz for episode in store.episodes} == {4.0}
    first, second = store.episode(0).frames.float().mean((1, 2, 3)), store.episode(1).frames.float().mean((1, 2, 3))
    assert len(first) == 8
    half_a_frame = (second[:6] - first[:6]).mean() / (first[1:7] - first[:6]).mean()
    assert 0.3 < half_a_frame < 0.7
    assert store.action_spec is None
    assert read_droid(tmp_path, tmp_path / "store", size=16).num_frames == store.num_frames


def test_cars_carry_steering_and_throttle(tmp_path):
    (tmp_path / "places" / "yard").mkdir(parents=True)
    write_video(tmp_path / "places" / "yard" / "drive_1.mp4", film(20), 20.0)
    with (tmp_path / "places" / "yard" / "drive_1.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["time", "throttle", "steering"], *[[t / 20, 0.5, t / 20 - 0.5] for t in range(20)]])
    store = read_cars(tmp_path / "places", tmp_path / "store", size=16)
    clip = store.episode(0)
    assert clip.source == "yard"
    assert clip.actions is not None
    torch.testing.assert_close(clip.actions, torch.stack([torch.arange(20) / 20 - 0.5, torch.full((20,), 0.5)], dim=1))


def test_recipes_differ_where_they_say():
    assert (droid().frame_skip, cars().frame_skip) == (1, 5)
    assert cars(dynamics_minutes=3).dynamics_training.duration_seconds == 180
    assert (cars().tokenizer.linear_path, droid().tokenizer.linear_path) == (False, True)
