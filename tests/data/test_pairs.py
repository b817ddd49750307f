"""Pairs of frames: of one episode, as far apart as was asked, the same ones again after a restore."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from worldline.data import LatentStore, PairStream
from worldline.data.store import ArrayWriter


def counted(folder: Path, lengths: Sequence[int], *, rate_hz: float = 5.0, channels: int = 3) -> LatentStore:
    """Episodes whose latents say which they are, and the number of the frame: (T, 2, channels)."""
    with ArrayWriter(folder) as writer:
        for index, length in enumerate(lengths):
            latents = torch.full((length, 2, channels), float(index))
            latents[:, 1] = torch.arange(length)[:, None]
            writer.append({"latents": latents.half()}, rate_hz=rate_hz, source=f"episode_{index}", text=None)
        writer.finish(action_spec=None)
    return LatentStore.open(folder)


def test_pairs_are_of_one_episode_and_so_far_apart(tmp_path):
    stores = [counted(tmp_path / "one", [3, 9, 30]), counted(tmp_path / "two", [6], rate_hz=2.5)]
    stream = PairStream(stores, batch_size=2000, seconds=(0.8, 2.0), seed=1)
    latents = stream.batch(0).latents
    assert latents is not None
    assert latents.shape == (2000, 2, 2, 3)
    first, last = latents[:, 0, :, 0], latents[:, 1, :, 0]
    assert torch.equal(first[:, 0], last[:, 0])
    gaps = (last - first)[:, 1]
    # At 5 Hz 4 to 10 frames, at 2.5 Hz 2 to 5; the episode of three frames is too short.
    assert set(gaps.tolist()) == set(range(2, 11))
    assert set(first[:, 0].tolist()) == {0, 1, 2}
    # Frames are drawn alike: 5 + 26 + 4 of them have a later one.
    assert (first[:, 0] == 2).double().mean() == pytest.approx(26 / 35, abs=0.04)
    longest, shorter = gaps[(first[:, 0] == 2) & (first[:, 1] == 5)], gaps[(first[:, 0] == 2) & (first[:, 1] == 25)]
    assert longest.max() == 10
    assert shorter.unique().tolist() == [4]
    assert stream.num_windows == 15 + 161 + 10
    assert stream.action_spec is None


def test_a_restored_stream_goes_on_as_it_would_have(tmp_path):
    store = counted(tmp_path / "store", [12, 20])
    stream = PairStream([store], batch_size=4, seconds=(0.4, 1.0), num_workers=2)
    batches = iter(stream)
    next(batches)
    position = stream.state_dict()
    expected = next(batches)
    again = PairStream([store], batch_size=4, seconds=(0.4, 1.0))
    again.load_state_dict(position)
    torch.testing.assert_close(next(iter(again)).latents, expected.latents, rtol=0, atol=0)
    assert not torch.equal(again.pairs(0), again.pairs(1))
    with pytest.raises(ValueError, match="another"):
        PairStream([store], batch_size=4, seconds=(0.4, 1.2)).load_state_dict(position)


def test_what_gives_no_pairs_is_refused(tmp_path):
    store = counted(tmp_path / "store", [4, 4])
    with pytest.raises(ValueError, match=r"no episode is longer than 0\.8 s"):
        PairStream([store], batch_size=4, seconds=(0.8, 2.0))
    with pytest.raises(ValueError, match="stores of one tokenizer"):
        PairStream([store, counted(tmp_path / "other", [9], channels=4)], batch_size=4, seconds=(0.2, 2.0))
    for seconds, batch_size in (((0.0, 1.0), 4), ((2.0, 1.0), 4), ((0.2, 1.0), 0)):
        with pytest.raises(ValueError, match="positive numbers"):
            PairStream([store], batch_size=batch_size, seconds=seconds)
