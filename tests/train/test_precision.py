"""Training computes in bfloat16 where the processor has instructions for it, and where it was asked to."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.interfaces import Batch
from worldline.train import loop, train

from .test_loop import CONFIG, Denoiser, Stream


@pytest.mark.parametrize("is_fast", [True, False])
def test_bfloat16_is_used_where_there_are_instructions_for_it(is_fast: bool, tmp_path: Path, monkeypatch) -> None:
    class Looks(Denoiser):
        seen: bool | None = None

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            self.seen = torch.is_autocast_enabled("cpu")
            return super().loss(batch)

    monkeypatch.setattr(loop, "fast_bfloat16", lambda device: is_fast)
    for wanted in (True, False):
        model = Looks()
        train(model, Stream(), dataclasses.replace(CONFIG, bf16=wanted, steps=3), tmp_path / str(wanted))
        assert model.seen == (is_fast and wanted)
