import pytest
import torch

from worldline.eval import bench
from worldline.scale import fast_bfloat16

KIND = "bf16" if fast_bfloat16() else "float32"


def test_training_is_taken_apart_and_a_compiler_that_fails_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_in_place(module: torch.nn.Module, mode: str) -> None:
        if mode == "broken":
            raise RuntimeError("no compiler here\nand more")
        module.compile(backend="eager")

    monkeypatch.setattr(bench, "compile_in_place", compile_in_place)
    figures = bench.bench_train(size="nano", batch_size=2, num_frames=4, repetitions=1, compile_modes=("broken", "works"), profiled=True)
    assert figures["batch"] == "2 x 4 frames x 16 tokens"
    assert figures["compiled (broken)"] == "failed: RuntimeError: no compiler here"
    for prefix in ("", "compiled (works): "):
        assert figures[f"{prefix}share of the {KIND} matrix peak"] > 0
        assert figures[f"{prefix}frames per second"] == pytest.approx(8 / figures[f"{prefix}seconds per step"])
        for part in ("loss", "gradient", "clipping", "AdamW", "Muon"):
            assert figures[f"{prefix}ms of a step: {part}"] > 0
        shares = {name: value for name, value in figures.items() if name.startswith(f"{prefix}share of the processor's time: ")}
        assert sum(value for name, value in shares.items() if not name.endswith("of it matrix products")) == pytest.approx(1)
        assert shares[f"{prefix}share of the processor's time: matrix products"] > 0
        assert "%" in figures[f"{prefix}costliest 1"]


def test_plain_training_on_the_processor_is_only_timed() -> None:
    figures = bench.bench_train(size="nano", batch_size=1, num_frames=2, repetitions=1, muon=False)
    assert list(figures) == [
        "size", "parameters", "threads", "batch", "optimizer", "seconds per step", "frames per second", "GFLOP per frame", "GFLOP/s",
        f"{KIND} matrix peak, GFLOP/s", f"share of the {KIND} matrix peak",
    ]  # fmt: skip


def test_steps_are_compared_with_graphs_and_where_there_are_none_it_says_so() -> None:
    with torch.inference_mode():
        world = bench.random_world("nano")
        state = world.prompt_latents(torch.randn(1, 3, *world.noise_shape), torch.zeros(1, 2, 2))
    figures = bench.graph_figures(world, state, "float32", candidates=(4,), repetitions=1)
    for batch in (1, 4):
        assert figures[f"ms of a step without checks, K = 1, batch {batch}, float32"] > 0
        if not torch.cuda.is_available():
            assert figures[f"ms of a step as a CUDA graph, K = 1, batch {batch}, float32"].startswith("failed: ")


def test_every_large_batch_is_timed() -> None:
    figures = bench.bench_step(size="nano", prompt_frames=2, repetitions=1, candidates=(2, 3))
    for batch in (2, 3):
        assert figures[f"ms per candidate, K = 4, batch {batch}, bfloat16"] > 0
    assert not any("CUDA" in name for name in figures)
