"""What a world is trained on: one store of episodes or several, each with its own rate, mixed evenly into every batch.

May import: data. Refuses to know: models, where the videos come from.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from worldline.data import ArrayStore, Balance, BatchStream, Loader, Mixture, concatenate_spec
from worldline.interfaces import ActionSpec

Store = TypeVar("Store", bound=ArrayStore)
Other = TypeVar("Other", bound=ArrayStore)

_SAME_RATE = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus(Generic[Store]):
    """Stores by name, all of one frame size.

    Several are drawn evenly, whatever their sizes, or as `shares` say, and every batch mixes them: the tokenizer normalises over a
    batch, which must therefore look like all of the data. Actions are then mapped to [-1, 1] by the bounds of their own store and filled
    up with zeros to the widest; a store without labels gets the null action.

    Attributes:
        stores: by name.
        frame_skips: recorded frames per frame of the world, by name; the actions in between are put side by side.
        shares: how often windows of a store are drawn, relative to the others; 1 where none is given.

    Raises:
        ValueError: if the first two name different stores, or there are none, or a share is of another store or not positive.
    """

    stores: Mapping[str, Store]
    frame_skips: Mapping[str, int]
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.stores or self.stores.keys() != self.frame_skips.keys():
            raise ValueError(
                f"stores are {sorted(self.stores)} and frame_skips {sorted(self.frame_skips)}; name the same ones, at least one"
            )
        if not self.shares.keys() <= self.stores.keys():
            raise ValueError(f"shares are given for {sorted(self.shares)}; there is {', '.join(sorted(self.stores))}")
        if not all(0 < share < math.inf for share in self.shares.values()):
            raise ValueError(f"shares are {dict(self.shares)}; give positive numbers")

    @classmethod
    def of(cls, store: Store, frame_skip: int) -> "Corpus[Store]":
        """One store alone."""
        return cls(stores={"": store}, frame_skips={"": frame_skip})

    @property
    def num_frames(self) -> int:
        """Recorded frames in all stores."""
        return sum(store.num_frames for store in self.stores.values())

    @property
    def action_specs(self) -> dict[str, ActionSpec | None]:
        """Bounds of the actions of a frame of the world, by name of the store; None where nothing is labelled."""
        specs = {name: store.action_spec for name, store in self.stores.items()}
        return {name: None if spec is None else concatenate_spec(spec, self.frame_skips[name]) for name, spec in specs.items()}

    @property
    def rates_hz(self) -> dict[str, float | None]:
        """Frames of the world per second, by name of the store; None where recordings differ by more than a hundredth."""
        rates: dict[str, float | None] = {}
        for name, store in self.stores.items():
            counts = Counter(round(episode.rate_hz, 3) for episode in store.episodes)
            usual, _ = counts.most_common(1)[0]
            alike = all(abs(rate - usual) <= _SAME_RATE * usual for rate in counts)  # 29.97 and 30, for one
            rates[name] = usual / self.frame_skips[name] if alike else None
        return rates

    def mapped(self, change: Callable[[Store], Other]) -> "Corpus[Other]":
        """The same with each store changed, to its latents for one."""
        return self.holding({name: change(store) for name, store in self.stores.items()})

    def holding(self, stores: Mapping[str, Other]) -> "Corpus[Other]":
        """The same with other stores of the same names."""
        return Corpus(stores=stores, frame_skips=self.frame_skips, shares=self.shares)

    def batches(self, *, batch_size: int, num_frames: int, num_workers: int = 0, seed: int = 0) -> BatchStream:
        """Windows of `num_frames` frames of the world; half of them labelled, where a store has actions in a part of its episodes."""
        if len(self.stores) == 1:
            (name,) = self.stores
            return Loader(
                self.stores[name],
                batch_size=batch_size,
                num_frames=num_frames,
                frame_skip=self.frame_skips[name],
                seed=seed,
                num_workers=num_workers,
                balance=_balance(self.stores[name]),
            )
        rows = {
            name: Loader(store, batch_size=1, num_frames=num_frames, frame_skip=self.frame_skips[name], seed=seed, balance=_balance(store))
            for name, store in self.stores.items()
        }
        weights = {name: self.shares.get(name, 1.0) for name in rows}
        return Mixture(rows, weights=weights, shared_actions=True, parts=batch_size, seed=seed, num_workers=num_workers)


def _balance(store: ArrayStore) -> Balance:
    """Few labels are worth seeing often: at a tenth of them, drawn as they come, a world ignored its actions (docs/log.md)."""
    return "labels" if len({"actions" in episode.labels for episode in store.episodes}) > 1 else "windows"


def with_label_share(store: Store, share: float, *, seed: int = 0) -> Store:
    """The store with the action labels of a share of its episodes; in the others the action is unknown.

    Which episodes keep theirs follows from their source and `seed` alone, and a smaller share keeps a part of what a larger one keeps.
    Any share above 0 keeps one episode at least. The bounds of the actions stay: they are taken to be known.

    Raises:
        ValueError: if `share` is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of labels is {share}; give a number from 0 to 1")
    labelled = [index for index, episode in enumerate(store.episodes) if "actions" in episode.labels]
    count = min(len(labelled), max(round(share * len(labelled)), 1 if share else 0))
    if count == len(labelled):
        return store

    def lot(index: int) -> str:
        return hashlib.sha256(f"{seed} {store.episodes[index].source} {store.episodes[index].start}".encode()).hexdigest()

    kept = set(sorted(labelled, key=lot)[:count])
    episodes = [
        episode if index in kept else replace(episode, labels=tuple(name for name in episode.labels if name != "actions"))
        for index, episode in enumerate(store.episodes)
    ]
    content = f"{store.fingerprint} with the labels of {sorted(kept)}"
    return type(store)(store.folder, episodes, store.arrays, store.action_spec, content)
