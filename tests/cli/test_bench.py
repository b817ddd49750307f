import json
from pathlib import Path

import pytest
import torch

from worldline.cli import main


def test_bench_prints_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "step", "--size", "nano", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["size"] == "nano"
    assert figures["frames per second, K = 1, float32"] > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bench_plan_keeps_to_its_budget(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plan", "--size", "nano", "--budget", "128", "--dtype", dtype, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["dtype of the world"] == dtype
    assert 30e6 * 128 < figures["floating-point operations of the budget"] < 60e6 * 128, "39 million a frame of nano with a past"
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("what", ["step", "train"])
def test_bench_says_that_there_is_no_gpu(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", what, "--device", "cuda"]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err


def test_bench_train_takes_its_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "--size", "nano", "--batch", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["batch"] == "1 x 16 frames x 16 tokens"
    assert not any("compiled" in name or "profile" in name for name in figures)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "--device", "cuda"], "bench plan measures the processor"),
        (["step", "--batch", "4"], "of bench train, not of bench step"),
        (["step", "--compile", "default"], "of bench train, not of bench step"),
        (["train", "--batch", "0"], "at least 1 window"),
        (["step", "--dtype", "bfloat16"], "lists float32 and bfloat16"),
    ],
)
def test_bench_refuses_options_that_would_say_nothing(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err
