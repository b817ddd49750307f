"""The loop on a small network that draws random numbers, under both optimisers and bfloat16."""

import dataclasses
import itertools
import json
import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from worldline.interfaces import Batch
from worldline.scale import list_checkpoints, load_latest, save_checkpoint
from worldline.train import TrainConfig, TrainingDivergedError, TrainReport, loop, train

CONFIG = TrainConfig(steps=24, warmup_steps=3, checkpoint_every_steps=5, log_every_steps=4, seed=5)
LONG = dataclasses.replace(CONFIG, steps=100, checkpoint_every_steps=20)


class Denoiser(nn.Module):
    """Draws random numbers at each step (noise, dropout), has a matrix for Muon, parameters for AdamW, a buffer, two loss terms."""

    num_batches: Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(8, 32)
            self.hidden = nn.Linear(32, 32)
            self.outer = nn.Linear(32, 8)
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.latents is not None
        assert self.training
        self.num_batches += 1
        hidden = torch.relu(self.inner(batch.latents + 0.1 * torch.randn_like(batch.latents)))
        hidden = hidden + nn.functional.dropout(torch.relu(self.hidden(hidden)), 0.2)
        error = self.outer(hidden).float() - batch.latents
        return {"square": error.square().mean(), "absolute": error.abs().mean()}


Change = Callable[[int, Tensor], Tensor]


def unchanged(number: int, latents: Tensor) -> Tensor:
    return latents


class Stream:
    """Batch number i, counted from 1, depends on i alone; `change` may alter it, or do anything else at that moment."""

    def __init__(self, change: Change = unchanged) -> None:
        self.number = 0
        self.change = change

    def __iter__(self) -> Iterator[Batch]:
        torch.randn(3)  # as DataLoader does: its start draws from the global generator
        while True:
            self.number += 1
            latents = torch.randn(4, 3, 2, 8, generator=torch.Generator().manual_seed(self.number))
            yield Batch(latents=self.change(self.number, latents))

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = state["number"]


def stop_at(step: int) -> Change:
    """Leaves batches alone, and asks the process to stop during that step."""

    def change(number: int, latents: Tensor) -> Tensor:
        if number == step:
            signal.raise_signal(signal.SIGTERM)
        return latents

    return change


def scaled(factor: float, first: int, last: int) -> Change:
    """Multiplies the batches from `first` to `last`."""
    return lambda number, latents: latents * (factor if first <= number <= last else 1.0)


def run(
    folder: Path, config: TrainConfig = CONFIG, change: Change = unchanged, seed: int = 0, **callbacks: Any
) -> tuple[nn.Module, TrainReport]:
    model = Denoiser(seed)
    return model, train(model, Stream(change), config, folder, device="cpu", **callbacks)


def everything(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that the last checkpoint holds, but for times."""
    loaded = load_latest(folder / "checkpoints")
    assert loaded is not None
    _, tensors, state = loaded
    return tensors, {name: value for name, value in state.items() if name not in ("elapsed_seconds", "metrics")}


def assert_same(first: Path, second: Path) -> None:
    (tensors, state), (other_tensors, other_state) = everything(first), everything(second)
    assert state == other_state
    assert tensors.keys() == other_tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, other_tensors[name]), name


def rows(folder: Path, name: str = "train/loss") -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(record["step"], record[name]) for record in records if name in record]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    _, report = run(folder)
    assert report.finished
    assert not report.interrupted
    assert report.step == 24
    assert report.num_frames == 24 * 12
    return folder


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 10, 13, 19, 21, 23])
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(unbroken: Path, tmp_path: Path, step: int) -> None:
    _, report = run(tmp_path, change=stop_at(step))
    assert report.interrupted
    assert not report.finished
    assert report.step == step
    torch.manual_seed(step)  # another process has another generator
    _, report = run(tmp_path, seed=99)
    assert report.finished
    assert_same(unbroken, tmp_path)
    assert [step for step, _ in rows(tmp_path)][-1] == 24


def test_a_run_that_died_between_checkpoints_equals_an_unbroken_one(unbroken: Path, tmp_path: Path) -> None:
    def die(number: int, latents: Tensor) -> Tensor:
        if number == 14:
            raise MemoryError("killed")
        return latents

    with pytest.raises(MemoryError, match="killed"):
        run(tmp_path, change=die)
    assert max(list_checkpoints(tmp_path / "checkpoints")) == 10
    run(tmp_path)
    assert_same(unbroken, tmp_path)
    assert [step for step, _ in rows(tmp_path)] == [step for step, _ in rows(unbroken)] == [4, 8, 12, 16, 20, 24]


def test_a_damaged_checkpoint_costs_an_interval_and_nothing_else(unbroken: Path, tmp_path: Path) -> None:
    run(tmp_path, change=stop_at(13))
    newest = max(list_checkpoints(tmp_path / "checkpoints").values())
    assert newest.name == "step_00000013"
    (newest / "state.json").write_text("{}")
    run(tmp_path)
    assert_same(unbroken, tmp_path)


def test_a_finished_run_returns_at_once_with_the_averaged_weights(unbroken: Path) -> None:
    class Untouchable(Stream):
        def __iter__(self) -> Iterator[Batch]:
            raise AssertionError("a finished run needs no data")

    model = Denoiser(99)
    report = train(model, Untouchable(), CONFIG, unbroken, device="cpu")
    assert report.finished
    assert report.loss is None
    average = {name.removeprefix("average."): tensor for name, tensor in everything(unbroken)[0].items() if name.startswith("average.")}
    assert average.keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(parameter, average[name]) for name, parameter in model.named_parameters())
    assert not model.training


def test_looking_on_changes_nothing(unbroken: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        torch.manual_seed(0)
        assert not model.training
        seen.append(("evaluate", step))
        return {"noise": torch.randn(1000).mean().item(), "weight": model.get_parameter("inner.weight").abs().mean().item()}

    def draw(model: nn.Module, step: int) -> None:
        torch.randn(7)
        seen.append(("draw", step))

    config = dataclasses.replace(CONFIG, sample_every_steps=7, log_every_steps=1, checkpoint_every_steps=2)
    _, report = run(tmp_path, config, evaluate=evaluate, on_sample=draw)
    assert seen == [(kind, step) for step in (7, 14, 21, 24) for kind in ("evaluate", "draw")]
    assert_same(unbroken, tmp_path)
    average = everything(unbroken)[0]["average.inner.weight"]
    assert report.metrics["weight"] == average.abs().mean().item()
    assert rows(tmp_path, "eval/weight")[-1] == (24, report.metrics["weight"])


def test_a_run_stopped_in_its_very_last_step_still_shows_its_result(tmp_path: Path) -> None:
    seen: list[int] = []
    _, report = run(tmp_path, change=stop_at(24), on_sample=lambda _, step: seen.append(step))
    assert report.finished
    assert report.interrupted
    assert seen == [24]


def test_a_weight_for_an_unknown_term_is_pointed_out_once(tmp_path: Path, capsys) -> None:
    run(tmp_path, dataclasses.replace(CONFIG, loss_weights={"sqare": 2.0}))
    assert capsys.readouterr().err.count("loss_weights names ['sqare']; so far the model's terms are ['absolute', 'square']") == 1


def test_the_callers_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    run(tmp_path)
    assert torch.equal(torch.randn(4), expected)


def test_training_learns(tmp_path: Path) -> None:
    run(tmp_path, LONG)
    losses = [loss for _, loss in rows(tmp_path)]
    assert losses[-1] < 0.75 * losses[0]


def test_the_schedule_reaches_the_optimizers(tmp_path: Path) -> None:
    run(tmp_path, dataclasses.replace(CONFIG, warmup_steps=10**7))
    tensors, _ = everything(tmp_path)
    for name, parameter in Denoiser().named_parameters():
        assert torch.allclose(tensors[f"model.{name}"], parameter, rtol=0, atol=1e-6)


def test_gradients_are_clipped_together(tmp_path: Path) -> None:
    run(tmp_path, dataclasses.replace(CONFIG, steps=1, clip_norm=1e-3))
    tensors, _ = everything(tmp_path)
    momenta = {"exp_avg": 0.1, "momentum_buffer": 0.05}  # after one step: this much of the gradient
    gradients = [tensor / momenta[kind] for name, tensor in tensors.items() if (kind := name.rpartition(".")[2]) in momenta]
    assert len(gradients) == len(list(Denoiser().parameters()))
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-3)


def test_handlers_come_back_and_a_second_signal_takes_its_usual_course(tmp_path: Path) -> None:
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background deaf to Ctrl-C
    before = signal.getsignal(signal.SIGTERM), signal.default_int_handler

    def interrupt_twice(number: int, latents: Tensor) -> Tensor:
        if number == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return latents

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, change=interrupt_twice)
    run(tmp_path, change=stop_at(9))
    assert (signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, outside)) == before


def test_a_batch_of_nan_is_skipped_and_leaves_no_trace_in_the_weights(tmp_path: Path) -> None:
    snapshots: list[dict[str, Tensor]] = []

    def spoil(number: int, latents: Tensor) -> Tensor:
        if number in (12, 13):  # the weights before step 12, and before step 13
            snapshots.append({name: tensor.detach().clone() for name, tensor in model.state_dict().items() if name != "num_batches"})
        return latents * math.nan if number == 12 else latents

    model = Denoiser()
    report = train(model, Stream(spoil), CONFIG, tmp_path, device="cpu")
    before, after = snapshots
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert report.num_skipped == 1
    assert report.step == 24
    tensors, _ = everything(tmp_path)
    assert all(tensor.isfinite().all() for name, tensor in tensors.items() if tensor.is_floating_point())
    assert report.loss is not None
    assert math.isfinite(report.loss)


def test_a_spike_is_skipped(tmp_path: Path) -> None:
    _, report = run(tmp_path, LONG, change=scaled(100.0, 60, 61))
    assert report.num_skipped == 2
    assert report.finished


def test_a_stretch_of_nan_ends_in_a_return_to_the_last_checkpoint_and_new_data(tmp_path: Path, capsys) -> None:
    source = Stream(scaled(math.nan, 31, 40))
    report = train(Denoiser(), source, LONG, tmp_path, device="cpu")
    assert report.finished
    assert report.num_skipped == 10
    assert source.number == 100 + 20  # steps 21 to 40 were given up, their batches not seen again
    assert "10 bad steps in a row by step 40: back to step 20" in capsys.readouterr().err
    steps = [step for step, _ in rows(tmp_path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 100


def test_no_checkpoint_is_taken_in_the_midst_of_trouble(tmp_path: Path, capsys) -> None:
    run(tmp_path, LONG, change=scaled(math.nan, 36, 45))
    assert "by step 45: back to step 20" in capsys.readouterr().err  # not to step 40


def test_a_lasting_rise_costs_one_return_and_is_then_accepted(tmp_path: Path, capsys) -> None:
    _, report = run(tmp_path, LONG, change=scaled(100.0, 70, 10**9))
    assert report.finished
    assert capsys.readouterr().err.count("back to step 60") == 1


def test_trouble_without_end_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"went back to step 20 3 times .* lower the learning rates"):
        run(tmp_path, LONG, change=scaled(math.nan, 25, 10**9))
    assert max(list_checkpoints(tmp_path / "checkpoints")) == 20


def fake_clock(monkeypatch: pytest.MonkeyPatch, tick_seconds: float) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(ticks) * tick_seconds)


def test_the_learning_rate_comes_down_inside_a_budget_of_seconds(tmp_path: Path, monkeypatch) -> None:
    fake_clock(monkeypatch, 0.01)
    config = dataclasses.replace(CONFIG, steps=10**9, duration_seconds=10.0, log_every_steps=1)
    _, report = run(tmp_path, config, change=stop_at(30))
    assert report.interrupted
    _, report = run(tmp_path, config)
    assert report.finished
    assert 10.0 <= report.elapsed_seconds < 11.0  # over both calls
    rates = [rate for _, rate in rows(tmp_path, "train/learning_rate")]
    assert max(rates) == config.learning_rate
    assert rates[-1] < 0.05 * config.learning_rate
    seconds = [second for _, second in rows(tmp_path, "train/elapsed_seconds")]
    assert seconds == sorted(seconds)
    assert all(rate == config.learning_rate for rate, second in zip(rates[5:], seconds[5:]) if second < 7.9)


def test_checkpoints_are_also_due_by_the_clock(tmp_path: Path, monkeypatch) -> None:
    saved: list[int] = []

    def spy(folder: Path, step: int, *contents: Any) -> Path:
        saved.append(step)
        return save_checkpoint(folder, step, *contents)

    monkeypatch.setattr(loop, "save_checkpoint", spy)
    fake_clock(monkeypatch, 1.0)
    run(tmp_path, dataclasses.replace(CONFIG, checkpoint_every_steps=1000, checkpoint_every_seconds=30.0))
    assert saved[0] == 0
    assert saved[-1] == 24
    assert len(saved) > 3


def test_other_settings_models_and_sources_are_refused_with_the_reason(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match=r"learning_rate was 0.001 and is 0.002.*give another folder"):
        run(tmp_path, dataclasses.replace(CONFIG, learning_rate=2e-3))
    other = Denoiser()
    other.outer = nn.Linear(32, 9)
    with pytest.raises(ValueError, match=r"(?s)checkpoint of step 24 does not fit this Denoiser.*outer"):
        train(other, Stream(), dataclasses.replace(CONFIG, steps=25), tmp_path, device="cpu")
    with pytest.raises(ValueError, match="has no loss"):
        train(nn.Linear(2, 2), Stream(), CONFIG, tmp_path / "a", device="cpu")

    class Short(Stream):
        def __iter__(self) -> Iterator[Batch]:
            yield from itertools.islice(super().__iter__(), 3)

    with pytest.raises(ValueError, match="ran out of batches"):
        train(Denoiser(), Short(), CONFIG, tmp_path / "b", device="cpu")


def test_pickles_in_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.pt").write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match="pickled files"):
        run(tmp_path)


def test_a_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    run(tmp_path)
    _, report = run(tmp_path, dataclasses.replace(CONFIG, steps=30))
    assert report.finished
    assert report.step == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("learning_rate", math.nan),
        ("duration_seconds", -1.0),
        ("ema_decay", 1.0),
        ("decay_fraction", 1.1),
        ("warmup_steps", -1),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; give"):
        dataclasses.replace(CONFIG, **{name: value})
