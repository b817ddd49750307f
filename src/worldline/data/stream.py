"""An endless stream of batches that can be stopped anywhere and go on as if nothing had happened.

Batch `i` is a pure function of (data, settings, seed, i). Prefetching threads only change when it is computed, never what it
is, and the position that is saved counts the batches that were handed out, not those that lie ready.

May import: interfaces. Refuses to know: what is in a batch.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from worldline.interfaces import ActionSpec, Batch

PREFETCH_PER_WORKER = 2


class BatchStream(ABC):
    """Position, prefetching and exact resume for whatever can compute batch number `i`; a `BatchSource`.

    Args:
        seed: two streams with the same seed and settings hand out the same batches.
        num_workers: threads that prepare batches ahead; 0 prepares each when it is asked for.
    """

    def __init__(self, *, seed: int, num_workers: int) -> None:
        self.seed = seed
        self.num_workers = num_workers
        self._next = 0

    @abstractmethod
    def batch(self, index: int) -> Batch:
        """Batch number `index` of the stream: a pure function, safe to call from any thread."""

    @abstractmethod
    def stream(self) -> dict[str, Any]:
        """What the stream is one of: data, seed, settings; JSON-serialisable."""

    @property
    @abstractmethod
    def num_windows(self) -> int:
        """How many different windows there are to draw from."""

    @property
    @abstractmethod
    def action_spec(self) -> ActionSpec | None:
        """Bounds of the actions in the batches; None when nothing is labelled."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position on. Iterators of one stream share its position."""
        if self.num_workers == 0:
            while True:
                self._next += 1
                yield self.batch(self._next - 1)
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="loader")
        ready: deque[tuple[int, Future[Batch]]] = deque()
        try:
            while True:
                if ready and ready[0][0] != self._next:  # The position was changed: what lies ready is of another time.
                    ready.clear()
                first = ready[0][0] if ready else self._next
                for index in range(first + len(ready), first + self.num_workers * PREFETCH_PER_WORKER):
                    ready.append((index, pool.submit(self.batch, index)))
                batch = ready.popleft()[1].result()
                self._next += 1
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def state_dict(self) -> dict[str, Any]:
        """The position and what it is a position in, JSON-serialisable."""
        return {"next_batch": self._next, **self.stream()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position that `state_dict` returned; also while iterating.

        Raises:
            ValueError: if the position is one in another stream: other data, seed or window settings.
        """
        different = [f"{name} was {state.get(name)!r}, is {value!r}" for name, value in self.stream().items() if state.get(name) != value]
        if different:
            raise ValueError(f"this position is in another stream of batches: {'; '.join(different)}")
        self._next = int(state["next_batch"])
