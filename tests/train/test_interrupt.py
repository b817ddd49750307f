"""Processes that are asked to die, and processes that are not even asked."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worldline.scale import list_checkpoints

KILL_NINE = Path(__file__).parents[2] / "experiments" / "kill_nine.py"


def test_sigterm_from_outside_saves_before_the_process_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(KILL_NINE), "--work", str(tmp_path), "--steps", "1000000"], stderr=subprocess.DEVNULL
    ) as process:
        metrics = tmp_path / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.stat().st_size):
            time.sleep(0.01)
        process.terminate()
        assert process.wait() == 0
    assert max(list_checkpoints(tmp_path / "checkpoints")) == json.loads(metrics.read_text().splitlines()[-1])["step"]


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_kill_nine_at_random_moments_loses_nothing() -> None:
    done = subprocess.run([sys.executable, str(KILL_NINE), "--kills", "6", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] == 6
    assert figures["kills_in_save"] >= 2
    assert figures["unloadable"] == 0
    assert figures["most_steps_lost"] <= figures["checkpoint_every_steps"]
    assert figures["equal_to_unbroken"]
