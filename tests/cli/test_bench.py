import json

import pytest

from worldline.cli import main


def test_bench_prints_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--size", "nano", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["size"] == "nano"
    assert figures["frames per second, K = 1, float32"] > 0
