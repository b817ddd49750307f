"""Mirror images: frames flipped, some actions negated, and everything else as it was."""

from pathlib import Path

import pytest
import torch

from worldline.data import EpisodeStore
from worldline.interfaces import ActionSpec, Clip
from worldline.recipes.mirrored import with_mirror_images


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    generator = torch.Generator().manual_seed(0)
    clips = [
        Clip(
            frames=torch.randint(0, 256, (5, 3, 16, 16), generator=generator, dtype=torch.uint8),
            rate_hz=20.0,
            source=f"place_{index}",
            actions=torch.rand(5, 2, generator=generator),
            states=torch.rand(5, 1, generator=generator),
        )
        for index in range(3)
    ]
    spec = ActionSpec(low=(-1.0, 0.0), high=(2.0, 1.0), names=("steering", "throttle"))
    return EpisodeStore.build(tmp_path / "store", clips, action_spec=spec)


def test_every_episode_is_followed_by_its_mirror_image(store: EpisodeStore, tmp_path: Path) -> None:
    both = with_mirror_images(store, tmp_path / "both", negated=("steering",))
    assert len(both) == 2 * len(store)
    for index in range(len(store)):
        clip, same, mirrored = store.episode(index), both.episode(2 * index), both.episode(2 * index + 1)
        assert torch.equal(same.frames, clip.frames)
        assert torch.equal(mirrored.frames, clip.frames.flip(-1))
        assert clip.actions is not None
        assert mirrored.actions is not None
        torch.testing.assert_close(mirrored.actions, clip.actions * torch.tensor([-1.0, 1.0]))
        assert (same.source, mirrored.source) == (clip.source, clip.source)
        assert same.states is not None
        assert mirrored.states is None


def test_bounds_of_what_changes_its_sign_are_symmetric(store: EpisodeStore, tmp_path: Path) -> None:
    for _ in ("built", "opened"):
        spec = with_mirror_images(store, tmp_path / "both", negated=("steering",)).action_spec
        assert spec is not None
        assert (spec.low, spec.high, spec.names) == ((-2.0, 0.0), (2.0, 1.0), ("steering", "throttle"))


def test_names_and_folders_that_do_not_fit_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"called brake; there is steering, throttle"):
        with_mirror_images(store, tmp_path / "both", negated=("brake",))
    with_mirror_images(store, tmp_path / "both")
    with pytest.raises(ValueError, match="other signs"):
        with_mirror_images(store, tmp_path / "both", negated=("throttle",))
    train, _ = store.split_by_source(("place_1",))
    with pytest.raises(ValueError, match="other episodes"):
        with_mirror_images(train, tmp_path / "both")
