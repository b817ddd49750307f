"""Other colours: the same things in the same places, the same actions, and what was recorded as it was."""

from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore
from worldline.interfaces import ActionSpec, Clip
from worldline.recipes.recolored import recolored, with_other_colors

LENGTHS = (10, 7, 3)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    generator = torch.Generator().manual_seed(0)
    clips = [
        Clip(
            frames=torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8),
            rate_hz=20.0,
            source=f"place_{index}",
            actions=torch.rand(count, 2, generator=generator),
            states=torch.rand(count, 1, generator=generator),
        )
        for index, count in enumerate(LENGTHS)
    ]
    return EpisodeStore.build(tmp_path / "store", clips, action_spec=ActionSpec(low=(0.0, 0.0), high=(1.0, 1.0)))


def test_every_episode_is_followed_by_pieces_in_other_colors(store: EpisodeStore, tmp_path: Path) -> None:
    more = with_other_colors(store, tmp_path / "more", copies=2, piece_frames=4)
    # 4 + 4 + (2 frames: half of a piece, kept), 4 + 3, and 3 frames.
    assert [episode.num_frames for episode in more.episodes] == [10, 4, 4, 2, 4, 4, 2, 7, 4, 3, 4, 3, 3, 3, 3]
    first, pieces = store.episode(0), [more.episode(index) for index in range(1, 7)]
    assert torch.equal(more.episode(0).frames, first.frames)
    for copy in (pieces[:3], pieces[3:]):
        assert {piece.source for piece in copy} == {"place_0"}
        for name in ("actions", "states"):
            assert torch.equal(torch.cat([getattr(piece, name) for piece in copy]), getattr(first, name))
    assert not torch.equal(pieces[0].frames, pieces[3].frames)
    assert not torch.equal(pieces[0].frames, first.frames[:4])


def test_a_piece_has_one_coloring_and_keeps_what_is_where() -> None:
    frame = torch.randint(60, 190, (1, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    clip = recolored(frame.repeat(3, 1, 1, 1), torch.Generator().manual_seed(2))
    assert torch.equal(clip[0], clip[1])
    assert torch.equal(clip[0], clip[2])
    # Brightness goes up and down where it did: the colouring turns around grey.
    light = torch.stack([frame[0].float().mean(0).flatten(), clip[0].float().mean(0).flatten()])
    assert torch.corrcoef(light)[0, 1] > 0.98


def test_the_same_seed_gives_the_same_colors_and_other_folders_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    def made(name: str, *, copies: int = 1, seed: int = 0, of: EpisodeStore = store) -> EpisodeStore:
        return with_other_colors(of, tmp_path / name, copies=copies, piece_frames=4, seed=seed)

    one, again, other = made("one"), made("again"), made("other", seed=1)
    assert torch.equal(one.episode(1).frames, again.episode(1).frames)
    assert torch.equal(one.episode(1).frames, made("one").episode(1).frames)
    assert not torch.equal(one.episode(1).frames, other.episode(1).frames)
    some, _ = store.split_by_source(("place_1",))
    for wrong in (lambda: made("one", copies=2), lambda: made("one", seed=1), lambda: made("one", of=some)):
        with pytest.raises(ValueError, match="other colours"):
            wrong()
    for copies, piece_frames in ((0, 4), (1, 1)):
        with pytest.raises(ValueError, match="at least one copy"):
            with_other_colors(store, tmp_path / "none", copies=copies, piece_frames=piece_frames)
