"""What a world's card says of figures."""

from worldline.recipes.measured import _card


def test_a_card_says_where_the_block_is_and_where_it_is_lost() -> None:
    figures = {
        "rollouts": {
            "gain_interval_db": (1.0, 2.0),
            "num_windows": 3,
            "prompt_frames": 4,
            "world": {"psnr_db": [30.0] * 8},
            "floors": {"copy last frame": {"psnr_db": [28.0] * 8}},
            "mean_gain_db": 1.5,
            "shuffled_action_ratio": None,
        },
        "held_out": {"num_sources": 2},
        "block": {
            "distance_px": [0.1, 0.2, 0.3, 0.44, 1, 1, 1, None],
            "angle_deg": [1, 1, 1, 2.5, 1, 1, 1, None],
            "copy_last_px": [0.0, 0, 0, 3, 4, 5, 6, 7],
            "copy_last_deg": [0.0, 0, 0, 10, 11, 12, 13, 14],
        },
    }
    assert (
        _card(figures)["block at every fourth frame, median off the truth"]
        == "0.4 px 2.5°, not found (copying: 3.0 px 10.0°, 7.0 px 14.0°)"
    )
    assert not any("block" in row for row in _card({name: figures[name] for name in ("rollouts", "held_out")}))
