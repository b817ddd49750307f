"""Work in processes that crash and hang."""

import os
import time

from worldline.recipes.episode_pool import run_in_processes


def test_what_crashes_or_hangs_is_given_up_and_the_rest_is_done() -> None:
    # One function that can do all of it: `eval` runs in the process what its text says.
    pieces = {
        "good": ("1 + 1",),
        "wrong": ("1 / 0",),
        "crash": (f"__import__('{os.__name__}')._exit(3)",),
        "hang": (f"__import__('{time.__name__}').sleep(600)",),
        "good too": ("2 + 2",),
    }
    ended = dict(run_in_processes(eval, pieces, num_workers=2, timeout_seconds=15, attempts=1))
    assert set(ended) == set(pieces)
    assert ended["good"] is None
    assert ended["good too"] is None
    assert "division by zero" in str(ended["wrong"])
    assert "took longer than 15 s" in str(ended["hang"])
    assert ended["crash"]
