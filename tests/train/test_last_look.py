"""The last look at a model, and what a refused step leaves behind: neither is lost to a death or to a batch of NaN."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldline.interfaces import Batch
from worldline.train import train

from .test_loop import CONFIG, LONG, Denoiser, Stream


def test_a_run_that_dies_in_its_last_look_takes_it_again(tmp_path: Path) -> None:
    def dies(model: nn.Module, step: int) -> dict[str, float]:
        raise RuntimeError("out of memory")

    config = dataclasses.replace(CONFIG, checkpoint_every_steps=CONFIG.steps)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(Denoiser(), Stream(), config, tmp_path, evaluate=dies)
    looks = []

    def looks_on(model: nn.Module, step: int) -> dict[str, float]:
        looks.append(step)
        return {"found": 0.5}

    for _ in range(2):
        report = train(Denoiser(), Stream(), config, tmp_path, evaluate=looks_on)
        assert report.finished
        assert report.metrics == {"found": 0.5}
    assert looks == [CONFIG.steps]


def test_a_refused_batch_leaves_no_trace_in_buffers(tmp_path: Path) -> None:
    class Normalizes(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.normalize = nn.BatchNorm1d(8, affine=False)

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            assert batch.latents is not None
            return super().loss(dataclasses.replace(batch, latents=self.normalize(batch.latents.flatten(0, 2)).view(batch.latents.shape)))

    def breaks(number: int, latents: Tensor) -> Tensor:
        return latents.fill_(torch.nan) if number == 7 else latents

    model = Normalizes()
    report = train(model, Stream(breaks), dataclasses.replace(LONG, steps=12), tmp_path)
    assert report.num_skipped == 1
    assert model.normalize.running_mean is not None
    assert model.normalize.running_mean.isfinite().all()
    assert model.normalize.num_batches_tracked == model.num_batches == 11
