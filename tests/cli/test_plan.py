import json
from pathlib import Path

import pytest

from worldline.cli import main
from worldline.data import read_video, write_video
from worldline.envs.pusht import collect_pusht

QUICK = ["--candidates", "8", "--iterations", "2", "--horizon", "3", "--steps", "6"]


@pytest.mark.parametrize("planner", ["cem", "mppi", "random"])
def test_plan_acts_and_reports(planner: str, world_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.mp4"
    words = ["plan", "--world", str(world_folder), "--out", str(out), "--planner", planner, "--episodes", "2", "--json", *QUICK]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [episode["seed"] for episode in figures["episodes"]] == [0, 1]
    assert {episode["num_actions"] for episode in figures["episodes"]} == {6}
    assert figures["mean_agent_px"]["start"] > 0.25 * figures["image_size"]  # not solved at the start
    low, high = figures["mean_agent_end_interval_px"]
    assert low <= figures["mean_agent_px"]["end"] <= high
    clip = read_video(out)
    assert len(clip) == 2 * 7
    assert clip.rate_hz == 5


def test_a_goal_may_be_a_video(world_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goal = tmp_path / "goal.mp4"
    clip = next(collect_pusht(1, num_frames=4, size=256, seed=3))
    write_video(goal, clip.frames, clip.rate_hz)
    assert main(["plan", "--world", str(world_folder), "--out", str(tmp_path / "plan.mp4"), "--goal", str(goal), *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "random policy" in shown
    assert "unknown" in shown  # of the block, a picture says nothing


def test_a_goal_without_an_agent_is_refused(world_folder: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--world", str(world_folder), "--out", str(tmp_path / "plan.mp4"), "--goal", str(videos / "square_0.mp4"), *QUICK]
    assert main(words) == 2
    assert "no agent" in capsys.readouterr().err
