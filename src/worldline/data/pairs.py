"""Two frames of one video, some time apart, from stores of latents: what a code of frames is trained on.

May import: interfaces, data.latents, data.stream. Refuses to know: what is made of them.

Shapes: B rows, S tokens, C latent channels.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from worldline.data.latents import LatentStore
from worldline.data.stream import BatchStream
from worldline.interfaces import ActionSpec, Batch


class PairStream(BatchStream):
    """An endless stream of batches of latents (B, 2, S, C): a frame, and one of the same episode between two times later.

    Every frame that has one so much later is drawn as often as every other, whatever store it is in.

    Args:
        stores: of one shape of latents.
        batch_size: B.
        seconds: least and most between the two frames, by each episode's own rate; a frame apart at least.
        seed: of the order.
        num_workers: threads that prepare batches ahead.

    Raises:
        ValueError: if there is no such pair, a number is out of its range, or the stores' latents differ in shape.
    """

    def __init__(
        self, stores: Sequence[LatentStore], *, batch_size: int, seconds: tuple[float, float], seed: int = 0, num_workers: int = 0
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        if batch_size < 1 or not 0 < seconds[0] <= seconds[1] < float("inf"):
            raise ValueError(f"batch_size is {batch_size} and seconds are {seconds}; give positive numbers, the seconds in order")
        if len({store.latent_shape for store in stores}) != 1:
            raise ValueError(f"latents have shapes {sorted({store.latent_shape for store in stores})}; give stores of one tokenizer")
        self.stores, self.batch_size, self.seconds = tuple(stores), batch_size, seconds
        places = [_places(store, seconds) for store in stores]
        self._store = torch.cat([torch.full((len(rows),), index) for index, rows in enumerate(places)])
        self._first, self._least, self._most = torch.cat(places).unbind(1)
        if not len(self._first):
            raise ValueError(f"no episode is longer than {seconds[0]:g} s; give longer ones, or less time between the frames of a pair")

    def batch(self, index: int) -> Batch:
        """Batch number `index`."""
        return Batch(latents=self.pairs(index))

    def pairs(self, index: int) -> Tensor:
        """The latents (B, 2, S, C) of batch number `index`, in float32."""
        generator = torch.Generator().manual_seed(int(hashlib.sha256(f"{self.seed} {index}".encode()).hexdigest()[:15], 16))
        drawn = torch.randint(len(self._first), (self.batch_size,), generator=generator)
        share = torch.rand(self.batch_size, generator=generator, dtype=torch.float64)
        least, most = self._least[drawn], self._most[drawn]
        first = self._first[drawn]
        rows = torch.stack([first, first + least + (share * (most - least + 1)).long()], dim=1)
        owners = self._store[drawn]
        latents = torch.empty(self.batch_size, 2, *self.stores[0].latent_shape)
        for number, store in enumerate(self.stores):
            mine = owners == number
            latents[mine] = store.video[rows[mine]].float()
        return latents

    def stream(self) -> dict[str, Any]:
        """Data and settings."""
        fingerprints = [store.fingerprint for store in self.stores]
        return {"data": fingerprints, "seed": self.seed, "batch_size": self.batch_size, "seconds": list(self.seconds)}

    @property
    def num_windows(self) -> int:
        """How many different pairs there are."""
        return int((self._most - self._least + 1).sum())

    @property
    def action_spec(self) -> ActionSpec | None:
        """None: pairs have no actions."""
        return None


def _places(store: LatentStore, seconds: tuple[float, float]) -> Tensor:
    """(N, 3) long: each frame that has a later one, as its row, and the fewest and most frames to that one."""
    places = [torch.empty(0, 3, dtype=torch.long)]
    for episode in store.episodes:
        least, most = (max(1, round(value * episode.rate_hz)) for value in seconds)
        offset = torch.arange(max(0, episode.num_frames - least))
        left = (episode.num_frames - 1 - offset).clamp(max=most)
        places.append(torch.stack([episode.start + offset, torch.full_like(offset, least), left], dim=1))
    return torch.cat(places)
