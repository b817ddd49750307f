import json
from pathlib import Path

import pytest

from worldline.cli import main


def test_bench_prints_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--size", "nano", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["size"] == "nano"
    assert figures["frames per second, K = 1, float32"] > 0


def test_bench_plan_keeps_to_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plan", "--size", "nano", "--budget", "128", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    for planner in ("SoftTree", "SoftTree with gradients", "CEM"):
        assert 64 <= figures[f"{planner}: frame evaluations"] <= 128
        assert figures[f"{planner}: share of the forward rate"] > 0


def test_bench_data_compares_the_loader_with_decoding_alone(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "data", str(videos), "--frames", "4", "--image-size", "16", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["clips"] == "4 frames of 16 x 16"
    assert all(figures[f"{name}, frames per second"] > 0 for name in ("raw decode", "loader", "cached latents"))
    assert main(["bench", "data"]) == 2
    assert "bench data needs a data set" in capsys.readouterr().err
