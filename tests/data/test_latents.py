from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worldline.data import EpisodeStore, LatentStore, cache_latents, to_float
from worldline.interfaces import Clip


class Encoder:
    """Averages blocks of 8 x 8 pixels into tokens of three channels; counts its calls and fails at one if told to."""

    def __init__(self, fail_at_call: int | None = None) -> None:
        self.num_calls = 0
        self.fail_at_call = fail_at_call

    def __call__(self, frames: Tensor) -> Tensor:
        self.num_calls += 1
        if self.num_calls == self.fail_at_call:
            raise KeyboardInterrupt
        batch, time, channels, height, width = frames.shape
        blocks = functional.avg_pool2d(frames.flatten(0, 1), 8)
        return blocks.flatten(2).transpose(1, 2).reshape(batch, time, height * width // 64, channels)


@pytest.fixture
def store(tmp_path: Path, make_clip: Callable[..., Clip]) -> EpisodeStore:
    return EpisodeStore.build(tmp_path / "store", [make_clip(7 + k, seed=k, labelled=k != 1, text="task") for k in range(4)])


def check(latents: LatentStore, store: EpisodeStore) -> None:
    assert latents.latent_shape == (6, 3)
    assert [e.source for e in latents.episodes] == [e.source for e in store.episodes]
    for index, episode in enumerate(latents.episodes):
        clip = store.episode(index)
        rows = latents.rows("latents", episode)
        assert rows is not None
        assert torch.equal(rows, Encoder()(to_float(clip.frames)[None])[0].half())
        actions = latents.rows("actions", episode)
        if clip.actions is None:
            assert actions is None
            continue
        torch.testing.assert_close(actions, clip.actions, rtol=0, atol=0)


def test_latents_and_labels_are_kept(tmp_path: Path, store: EpisodeStore) -> None:
    latents = cache_latents(store, Encoder(), key="a", folder=tmp_path / "cache", progress=False)
    check(latents, store)
    assert latents.action_spec == store.action_spec


def test_a_second_call_does_nothing_and_another_key_starts_anew(tmp_path: Path, store: EpisodeStore) -> None:
    encoder = Encoder()
    first = cache_latents(store, encoder, key="a", folder=tmp_path / "cache", progress=False)
    assert encoder.num_calls == 4
    again = cache_latents(store, encoder, key="a", folder=tmp_path / "cache", progress=False)
    assert (encoder.num_calls, again.folder, again.fingerprint) == (4, first.folder, first.fingerprint)
    other = cache_latents(store, encoder, key="b", folder=tmp_path / "cache", progress=False)
    assert encoder.num_calls == 8
    assert other.folder != first.folder
    train, _ = store.split_by_source(0.5)
    assert len(cache_latents(train, encoder, key="a", folder=tmp_path / "cache", progress=False)) == len(train)


def test_neighbours_of_one_length_are_encoded_together(tmp_path: Path, make_clip: Callable[..., Clip]) -> None:
    lengths = (7, 7, 7, 7, 9, 7, 7, 20, 20)
    store = EpisodeStore.build(tmp_path / "store", [make_clip(length, seed=k, text="task") for k, length in enumerate(lengths)])
    sizes: list[tuple[int, int]] = []

    def encode(frames: Tensor) -> Tensor:
        sizes.append((frames.shape[0], frames.shape[1]))
        return Encoder()(frames)

    settings = {"chunk_frames": 10, "episodes_at_once": 3, "progress": False}
    check(cache_latents(store, encode, key="a", folder=tmp_path / "cache", **settings), store)
    assert sizes == [(3, 7), (1, 7), (1, 9), (2, 7), (1, 10), (1, 10), (1, 10), (1, 10)]


def test_an_interrupted_call_continues(tmp_path: Path, store: EpisodeStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        cache_latents(store, Encoder(fail_at_call=3), key="a", folder=tmp_path / "cache", progress=False)
    encoder = Encoder()
    latents = cache_latents(store, encoder, key="a", folder=tmp_path / "cache", progress=False)
    assert encoder.num_calls == 2
    check(latents, store)
    assert list((tmp_path / "cache").iterdir()) == [latents.folder]


@pytest.mark.parametrize("at_call", [1, 4])
def test_another_run_may_finish_the_same_latents_first(tmp_path: Path, store: EpisodeStore, at_call: int) -> None:
    encoder = Encoder()

    def encode(frames: Tensor) -> Tensor:
        latents = encoder(frames)
        if encoder.num_calls == at_call:
            cache_latents(store, Encoder(), key="a", folder=tmp_path / "cache", progress=False)
        return latents

    check(cache_latents(store, encode, key="a", folder=tmp_path / "cache", progress=False), store)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [""], "one store, and nothing half done beside it"


@pytest.mark.parametrize(("chunk_frames", "context_frames"), [(3, 0), (3, 2), (2, 5), (100, 1)])
def test_chunks_join_without_a_seam(tmp_path: Path, store: EpisodeStore, chunk_frames: int, context_frames: int) -> None:
    longest = []

    def encode(frames: Tensor) -> Tensor:
        longest.append(frames.shape[1])
        return Encoder()(frames)

    latents = cache_latents(
        store, encode, key="a", folder=tmp_path / "cache", chunk_frames=chunk_frames, context_frames=context_frames, progress=False
    )
    check(latents, store)
    assert max(longest) <= chunk_frames + context_frames


def test_useless_latents_are_refused(tmp_path: Path, store: EpisodeStore) -> None:
    encoders: dict[str, Callable[[Tensor], Tensor]] = {
        r"must return \(E, T, S, C\)": lambda frames: frames[:, :-1].flatten(3),
        "NaN, infinity, or values beyond": lambda frames: frames.flatten(3) * 1e6,
    }
    for reason, encode in encoders.items():
        with pytest.raises(ValueError, match=reason):
            cache_latents(store, encode, key="a", folder=tmp_path / "cache", progress=False)
    with pytest.raises(ValueError, match="give at least 1"):
        cache_latents(store, Encoder(), key="a", folder=tmp_path / "cache", chunk_frames=0)


def test_latents_that_a_crash_cut_short_are_made_again(tmp_path: Path, store: EpisodeStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        cache_latents(store, Encoder(fail_at_call=3), key="a", folder=tmp_path / "cache", progress=False)
    path = sorted((tmp_path / "cache").rglob("*.npy"))[0]
    path.write_bytes(path.read_bytes()[:140])
    encoder = Encoder()
    check(cache_latents(store, encoder, key="a", folder=tmp_path / "cache", progress=False), store)
    assert encoder.num_calls == 3
