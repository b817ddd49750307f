import torch

from worldline.data.inspection.motion import FRAME_SIZE, motion_features


def test_flow_of_the_whole_frame_is_the_shift_of_the_picture() -> None:
    torch.manual_seed(0)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 12), (FRAME_SIZE[0], FRAME_SIZE[1] + 20), mode="bicubic").clamp(0, 1)
    frames = torch.cat([wide[..., start : start + FRAME_SIZE[1]] for start in (10, 9, 9, 11)]).mul(255).byte()
    features = motion_features(frames)
    right, down = features["flow"][:, 0], features["flow"][:, 1]
    assert abs(right - [1, 0, -2]).max() < 0.25
    assert abs(down).max() < 0.1
    assert (features["change"][1] == 0).all()


def test_long_clips_are_the_same_in_one_piece(monkeypatch) -> None:
    frames = torch.randint(0, 256, (7, 3, 20, 20), dtype=torch.uint8)
    whole = motion_features(frames)
    monkeypatch.setattr("worldline.data.inspection.motion._CHUNK", 3)
    pieces = motion_features(frames)
    assert all((whole[family] == pieces[family]).all() for family in whole)
