"""Examples out of episodes: what was done at a frame, and a frame that the same episode reached later, which may stand for its goal.

Hindsight (Ghosh et al. 2021, "Learning to Reach Goals via Iterated Supervised Learning"): every recording teaches.

May import: torch and `worldline.interfaces`. Refuses to know: what is learned from the examples.

Shapes: B batch, T frames of an episode, N frames of all, S tokens, C channels, A action components.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldline.interfaces import ActionSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Indices (B,) of frames and of their goals among all, and the frames from one to the other, at least 1."""

    places: Tensor
    goals: Tensor
    steps: Tensor


class Hindsight:
    """Episodes one after the other.

    Args:
        latents: of each episode (T, S, C).
        actions: of each episode (T, A) or (T - 1, A), environment units; `actions[t]` was applied at frame t.
        action_spec: bounds of the actions.
        goals: of each episode (T, S, C), its frames as they look when they are shown as goals; `latents` if None. A goal is usually a still
            picture, and latents of a video may hold its motion.

    Attributes:
        latents: (N, S, C), of the episodes' own precision.
        goals: (N, S, C), likewise.
        actions: (N, A) in [-1, 1] where the data lies; zero at the last frame of an episode, where nothing was done.

    Raises:
        ValueError: if there are no episodes of two frames, or shapes do not fit.
    """

    def __init__(
        self, latents: Sequence[Tensor], actions: Sequence[Tensor], action_spec: ActionSpec, goals: Sequence[Tensor] | None = None
    ) -> None:
        _check(latents, actions, action_spec)
        if goals is not None and [one.shape for one in goals] != [one.shape for one in latents]:
            raise ValueError("the goals are of other shapes than the latents; give one for each frame")
        self.latents = torch.cat(list(latents))
        self.goals = self.latents if goals is None else torch.cat(list(goals))
        counts = [len(film) for film in latents]
        firsts = torch.cumsum(torch.tensor([0, *counts]), 0)
        pairs = list(zip(firsts.tolist(), counts, strict=False))
        self._places = torch.cat([torch.arange(first, first + count - 1) for first, count in pairs])
        self._last = torch.cat([torch.full((count - 1,), first + count - 1) for first, count in pairs])
        done = [action_spec.normalize(one[: count - 1].float()) for one, count in zip(actions, counts, strict=True)]
        self.actions = torch.cat([torch.cat([one, torch.zeros_like(one[:1])]) for one in done])

    def draw(self, count: int, *, max_steps: int) -> Examples:
        """Examples at random, from torch's global generator; goals are 1 to `max_steps` frames away, each as likely where there is room."""
        rows = torch.randint(len(self._places), (count,))
        places = self._places[rows]
        room = (self._last[rows] - places).clamp_max(max_steps)
        steps = 1 + (torch.rand(count) * room).long().clamp_max(room - 1)
        return Examples(places=places, goals=places + steps, steps=steps)


def _check(latents: Sequence[Tensor], actions: Sequence[Tensor], action_spec: ActionSpec) -> None:
    if not latents or len(latents) != len(actions):
        raise ValueError(f"{len(latents)} episodes of latents and {len(actions)} of actions; give as many of both, at least one")
    for film, done in zip(latents, actions, strict=True):
        if film.ndim != 3 or len(film) < 2 or len(film) - len(done) not in (0, 1) or done.shape[1:] != (action_spec.dim,):
            raise ValueError(
                f"an episode has latents {tuple(film.shape)} and actions {tuple(done.shape)}; give (T, S, C) with T >= 2, and "
                f"(T, {action_spec.dim}) or one fewer"
            )
