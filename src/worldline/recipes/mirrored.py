"""Mirror images of recorded episodes: twice the video, where left and right are worth the same and the recordings are few.

May import: data, interfaces. Refuses to know: which actions change their sign in a mirror; the caller says.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from worldline.data import EpisodeStore
from worldline.interfaces import ActionSpec, Clip


def with_mirror_images(store: EpisodeStore, folder: Path, *, negated: Collection[str] = ()) -> EpisodeStore:
    """The episodes of `store`, and after each its mirror image, in a store at `folder`; opened if it is there.

    A mirror image has the source of its episode, and no states, whose meaning in a mirror is not known.

    Args:
        store: training episodes; those to measure on stay as they are.
        folder: of the new store.
        negated: components of the actions that change their sign when left and right are exchanged, by name. Their bounds become
            symmetric.

    Raises:
        ValueError: if a component of that name is not there, or the store at `folder` has other episodes.
    """
    spec = store.action_spec
    names = () if spec is None else spec.names
    unknown = sorted(set(negated) - set(names))
    if unknown:
        raise ValueError(f"no component of the actions is called {', '.join(unknown)}; there is {', '.join(names) or 'none with a name'}")
    signs = torch.tensor([-1.0 if name in negated else 1.0 for name in names])
    spec = None if spec is None else _symmetric(spec, negated)
    if (folder / "store.json").is_file():
        both = EpisodeStore.open(folder)
        if not _mirrors(both, store, signs):
            raise ValueError(f"{folder} holds mirror images of other episodes, or with other signs; give another output folder")
    else:
        both = EpisodeStore.build(folder, _clips(store, signs), action_spec=spec)
    both.action_spec = spec
    return both


def _mirrors(both: EpisodeStore, store: EpisodeStore, signs: torch.Tensor) -> bool:
    """Whether `both` is what would be built. Broken off before the run was noted down, it may be of other arguments."""
    if [episode.source for episode in both.episodes[::2]] != [episode.source for episode in store.episodes]:
        return False
    for index, clip in enumerate(_clips(store, signs)):
        found = both.episode(index).actions
        if clip.actions is None or found is None:
            if clip.actions is not found:
                return False
        elif not torch.equal(clip.actions, found):
            return False
    return True


def _clips(store: EpisodeStore, signs: torch.Tensor) -> Iterator[Clip]:
    for index in range(len(store)):
        clip = store.episode(index)
        actions = clip.actions if clip.actions is None or not len(signs) else clip.actions * signs
        yield clip
        yield replace(clip, frames=clip.frames.flip(-1), actions=actions, states=None)


def _symmetric(spec: ActionSpec, negated: Collection[str]) -> ActionSpec:
    bounds = [
        (min(low, -high), max(high, -low)) if name in negated else (low, high)
        for low, high, name in zip(spec.low, spec.high, spec.names or [""] * spec.dim, strict=True)
    ]
    return replace(spec, low=tuple(low for low, _ in bounds), high=tuple(high for _, high in bounds))
