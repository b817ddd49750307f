"""The training loop: steps, clocks, checkpoints, callbacks, and how a run begins, goes on and ends.

May import: scale, interfaces, the other files of train. Refuses to know: which model, which data.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldline.interfaces import Batch, BatchSource, Trainable
from worldline.scale import fast_bfloat16, load_latest, save_checkpoint, tune_allocator
from worldline.train.balance import LossBalance
from worldline.train.ema import WeightAverage
from worldline.train.guard import SpikeGuard, TrainingDivergedError
from worldline.train.interrupt import StopRequest
from worldline.train.log import RunLog
from worldline.train.optimizers import build_optimizers
from worldline.train.run_folder import agree_on_config, locked
from worldline.train.schedule import learning_rate_factor
from worldline.train.state import StepResult, TrainingState

_MAY_GROW = frozenset({"steps"})
_MAY_CHANGE = frozenset({"duration_seconds", "checkpoint_every_steps", "checkpoint_every_seconds", "log_every_steps", "sample_every_steps"})
_MOST_ROLLBACKS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long, how fast and how carefully.

    Attributes:
        steps: optimiser steps at most.
        duration_seconds: wall-clock budget over all resumes; the learning rate comes down inside it. None sets no limit.
        learning_rate: peak rate of AdamW (biases, norms, embeddings, input and output layers).
        muon_learning_rate: peak rate of Muon (hidden matrices); None trains everything with AdamW.
        warmup_steps: linear rise at the start.
        decay_fraction: last share of the run, over which the rates fall to zero.
        weight_decay: decoupled, for parameters of two and more dimensions.
        clip_norm: largest gradient norm; None does not clip.
        ema_decay: length of the weight average; 0 switches it off.
        bf16: run the model under bfloat16 autocast, on processors and GPUs that have instructions for it.
        balance: divide each loss term by its running RMS.
        loss_weights: factor per loss term, 1 where not named.
        checkpoint_every_steps: most steps that a crash may cost.
        checkpoint_every_seconds: most seconds that a crash may cost.
        log_every_steps: steps that each row of the log averages.
        sample_every_steps: steps between calls of `on_sample` and `evaluate`; 0 calls them only at the end.
        seed: of torch's generator, which the model draws its noise from.

    Raises:
        ValueError: if a number is out of its range.
    """

    steps: int
    duration_seconds: float | None = None
    learning_rate: float = 1e-3
    muon_learning_rate: float | None = 3e-3
    warmup_steps: int = 100
    decay_fraction: float = 0.2
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    ema_decay: float = 0.999
    bf16: bool = True
    balance: bool = True
    loss_weights: dict[str, float] = field(default_factory=dict)
    checkpoint_every_steps: int = 1000
    checkpoint_every_seconds: float = 120.0
    log_every_steps: int = 50
    sample_every_steps: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "duration_seconds", "learning_rate", "muon_learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; give a positive number")
        for name in ("checkpoint_every_steps", "checkpoint_every_seconds", "log_every_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a positive number")
        for name in ("warmup_steps", "weight_decay", "sample_every_steps"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give zero or a positive number")
        for name, limit in (("decay_fraction", "<= 1"), ("ema_decay", "< 1")):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (value == 1 and limit == "< 1"):
                raise ValueError(f"{name} is {value}; give a number >= 0 and {limit}")

    def at_rates(self, factor: float) -> "TrainConfig":
        """The same training at `factor` times the learning rates."""
        muon = self.muon_learning_rate
        return dataclasses.replace(
            self, learning_rate=factor * self.learning_rate, muon_learning_rate=None if muon is None else factor * muon
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """What a run came to, over all its resumes.

    Attributes:
        step: steps done.
        finished: whether the run reached its end; run the same command again to go on if not.
        interrupted: whether SIGTERM or Ctrl-C stopped it, after a checkpoint.
        loss: mean of the last logged stretch; None if this call trained nothing.
        elapsed_seconds: wall time inside `train`.
        num_frames: frames trained on.
        num_skipped: steps that the guard refused.
        metrics: what `evaluate` last returned.
    """

    step: int
    finished: bool
    interrupted: bool
    loss: float | None
    elapsed_seconds: float
    num_frames: int
    num_skipped: int
    metrics: dict[str, float]


def train(
    model: nn.Module,
    source: BatchSource,
    config: TrainConfig,
    folder: Path | str,
    *,
    on_sample: Callable[[nn.Module, int], None] | None = None,
    evaluate: Callable[[nn.Module, int], dict[str, float]] | None = None,
    device: torch.device | str | None = None,
) -> TrainReport:
    """Train `model` (a `Trainable` module) in place, resuming whatever `folder` holds of this run.

    Called again with the same arguments it goes on where it was, bit for bit, or returns at once if it was finished. On return the
    model holds the averaged weights, in evaluation mode. torch's global generator is left as it was found.

    Args:
        model: a module with `loss(batch) -> dict[str, Tensor]`; its randomness comes from torch's global generator.
        source: batches; its randomness is its own and part of its position.
        config: see `TrainConfig`.
        folder: holds `checkpoints/`, `config.json`, `metrics.jsonl` and `tensorboard/`; one process at a time.
        on_sample: called with the averaged model in evaluation mode and the step, to draw or write something.
        evaluate: likewise, returns figures for the log.
        device: where to train; by default CUDA if there is one.

    Raises:
        ValueError: if `folder` holds another run, another model's checkpoint or pickled files.
        OSError: if a checkpoint cannot be written.
        TrainingDivergedError: if going back to a checkpoint leads to the same trouble again and again.
    """
    if not isinstance(model, Trainable):
        raise ValueError(f"{type(model).__name__} has no loss(batch) -> dict[str, Tensor]; see worldline.interfaces.Trainable")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = Path(folder)
    tune_allocator()
    with locked(folder), torch.random.fork_rng([where] if where.type == "cuda" else []):
        agree_on_config(folder, dataclasses.asdict(config), may_grow=_MAY_GROW, may_change=_MAY_CHANGE)
        run = _Run(model.to(where), source, config, folder, on_sample=on_sample, evaluate=evaluate, device=where)
        try:
            return run.go()
        finally:
            run.state.average.copy_to_model()
            model.eval()


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        model: nn.Module,
        source: BatchSource,
        config: TrainConfig,
        folder: Path,
        *,
        on_sample: Callable[[nn.Module, int], None] | None,
        evaluate: Callable[[nn.Module, int], dict[str, float]] | None,
        device: torch.device,
    ) -> None:
        self.config, self.folder, self.on_sample, self.evaluate = config, folder, on_sample, evaluate
        self.checkpoints = folder / "checkpoints"
        self.state = TrainingState(
            model=model,
            source=source,
            optimizers=build_optimizers(
                model,
                learning_rate=config.learning_rate,
                muon_learning_rate=config.muon_learning_rate,
                weight_decay=config.weight_decay,
            ),
            average=WeightAverage(model, config.ema_decay),
            balance=LossBalance(config.loss_weights, enabled=config.balance),
            guard=SpikeGuard(),
            device=device,
        )
        self.metrics: dict[str, float] = {}
        self.loss: float | None = None
        self.elapsed_before = self.elapsed_saved = 0.0
        self.began_at = time.perf_counter()
        self.saved_at = self.began_at
        self.num_rollbacks = 0

    @property
    def _generators(self) -> list[torch.device]:
        """Devices beside the CPU whose random state has to be kept."""
        return [self.state.device] if self.state.device.type == "cuda" else []

    @property
    def elapsed_seconds(self) -> float:
        return self.elapsed_before + time.perf_counter() - self.began_at

    @property
    def progress(self) -> float:
        budget = self.config.duration_seconds
        return min(1.0, max(self.state.step / self.config.steps, self.elapsed_seconds / budget if budget else 0.0))

    def go(self) -> TrainReport:
        self.state.model.train()
        saved = load_latest(self.checkpoints)
        if saved:
            self._resume(*saved)
            # Until it was looked at for the last time a run is not over, though its last step may be saved.
            if self.progress >= 1 and saved[2].get("looked_at", True):
                return self._report(interrupted=False)
        else:
            torch.manual_seed(self.config.seed)
            self._save()  # so that there is always something to go back to
        del saved
        with StopRequest() as stop, RunLog(self.folder, self.folder.name, step=self.state.step, progress=self.progress) as log:
            if self.state.step:
                log.note(f"resuming at step {self.state.step}")
            batches = self._open_batches()
            while self.progress < 1:
                self._stretch(batches, log, stop)
                if stop.requested:
                    break
            if self.progress >= 1:
                self._callbacks(log)
            self._save(looked_at=self.progress >= 1)
        return self._report(interrupted=stop.requested)

    def _stretch(self, batches: Iterator[Batch], log: RunLog, stop: StopRequest) -> None:
        """Train until the next row of the log."""
        config, state = self.config, self.state
        accepted: list[StepResult] = []
        bf16 = config.bf16 and fast_bfloat16(state.device)
        busy_seconds, frames_before = 0.0, state.num_frames
        while True:
            began = time.perf_counter()
            factor = learning_rate_factor(state.step, self.progress, warmup_steps=config.warmup_steps, decay_fraction=config.decay_fraction)
            batch = to_device(next(batches), state.device)
            result = state.advance(batch, rate_factor=factor, clip_norm=config.clip_norm, bf16=bf16)
            busy_seconds += time.perf_counter() - began
            if result.accepted:
                accepted.append(result)
            elif state.guard.exhausted:
                self._roll_back(log)
                return
            ends = state.step % config.log_every_steps == 0 or self.progress >= 1 or stop.requested
            if ends and accepted:
                speed = (state.num_frames - frames_before) / busy_seconds
                unknown = config.loss_weights.keys() - accepted[-1].terms.keys()
                if unknown and self.loss is None:
                    log.note(f"loss_weights names {sorted(unknown)}; so far the model's terms are {sorted(accepted[-1].terms)}")
                log.record(state.step, self.progress, self._figures(accepted, config.learning_rate * factor, speed))
            if config.sample_every_steps and state.step % config.sample_every_steps == 0 and self.progress < 1 and not stop.requested:
                self._callbacks(log)
            self._save_if_due()
            if ends:
                return

    def _figures(self, results: list[StepResult], learning_rate: float, frames_per_second: float) -> dict[str, float]:
        terms: dict[str, list[float]] = {}
        for result in results:
            for name, value in result.terms.items():
                terms.setdefault(name, []).append(value)
        means = {name: sum(values) / len(values) for name, values in terms.items()}
        self.loss = sum(mean * self.config.loss_weights.get(name, 1.0) for name, mean in means.items())
        return {
            "train/loss": self.loss,
            "train/frames_per_second": frames_per_second,
            "train/learning_rate": learning_rate,
            "train/gradient_norm": sum(result.gradient_norm for result in results) / len(results),
            "train/skipped": self.state.guard.num_skipped,
            "train/elapsed_seconds": self.elapsed_seconds,
            **{f"train/{name}": mean for name, mean in means.items() if len(means) > 1},
        }

    def _callbacks(self, log: RunLog) -> None:
        """Let the caller look at the averaged model, without the training noticing."""
        model = self.state.model
        with torch.random.fork_rng(self._generators), self.state.average.swapped_in():
            model.eval()
            try:
                if self.evaluate is not None:
                    self.metrics = {name: float(value) for name, value in self.evaluate(model, self.state.step).items()}
                if self.on_sample is not None:
                    self.on_sample(model, self.state.step)
            finally:
                model.train()
        if self.metrics:
            log.record(self.state.step, self.progress, {f"eval/{name}": value for name, value in self.metrics.items()})

    def _open_batches(self) -> Iterator[Batch]:
        """Start the stream up to its first batch; what that draws from torch's generator (DataLoader does) must not shift a resumed run."""
        with torch.random.fork_rng(self._generators):
            batches = _endless(self.state.source)
            first = next(batches)
        return itertools.chain([first], batches)

    def _save_if_due(self) -> None:
        steps = self.state.step % self.config.checkpoint_every_steps == 0
        seconds = time.perf_counter() - self.saved_at >= self.config.checkpoint_every_seconds
        if (steps or seconds) and self.state.guard.num_consecutive == 0:  # a checkpoint in the midst of trouble is no way back
            self._save()
            self.num_rollbacks = 0

    def _save(self, *, looked_at: bool = False) -> None:
        self.elapsed_saved = self.elapsed_seconds
        run: dict[str, Any] = {"elapsed_seconds": self.elapsed_saved, "metrics": self.metrics, "looked_at": looked_at}
        save_checkpoint(self.checkpoints, self.state.step, self.state.tensors(), {**self.state.json_state(), **run})
        self.saved_at = time.perf_counter()

    def _resume(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.state.restore(step, tensors, state)
        self.state.restore_random(tensors)
        self.elapsed_before = self.elapsed_saved = state["elapsed_seconds"]
        self.metrics = state["metrics"]

    def _roll_back(self, log: RunLog) -> None:
        saved = load_latest(self.checkpoints)
        assert saved, "a run begins with a checkpoint"
        self.num_rollbacks += 1
        failed_at, guard = self.state.step, self.state.guard
        if self.num_rollbacks > _MOST_ROLLBACKS:
            raise TrainingDivergedError(
                f"training went back to step {saved[0]} {_MOST_ROLLBACKS} times and was in trouble again by step {failed_at}: "
                "the loss or its gradient is not finite. Look at the data after that step, or lower the learning rates"
            )
        self.state.restore_weights(*saved)
        guard.forget(failed_at - self.state.step)
        self.saved_at = time.perf_counter()
        log.rewind(self.state.step)
        log.note(f"{guard.patience} bad steps in a row by step {failed_at}: back to step {self.state.step}, on with new data")

    def _report(self, *, interrupted: bool) -> TrainReport:
        return TrainReport(
            step=self.state.step,
            finished=self.progress >= 1,
            interrupted=interrupted,
            loss=self.loss,
            elapsed_seconds=self.elapsed_saved,  # as the next call, which finds the run finished, will say
            num_frames=self.state.num_frames,
            num_skipped=self.state.guard.num_skipped,
            metrics=self.metrics,
        )


def _endless(source: BatchSource) -> Iterator[Batch]:
    yield from source
    raise ValueError("the source ran out of batches; a BatchSource is endless, so let it start over where its data ends")


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    if device.type == "cpu":
        return batch
    moved = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
    return Batch(**{name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for name, value in moved.items()})
