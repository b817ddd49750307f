"""A code of frames for a trained world, from the latents that its training left: `worldline code`.

May import: data, reward, train, the other files of recipes. Refuses to know: where the videos come from, what the code is used for.

Shapes: B rows, S tokens, C latent channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from worldline.data import LatentStore, PairStream, held_out_sources
from worldline.recipes.recipe import raise_if_interrupted
from worldline.reward import FrameCode, FrameCodeConfig
from worldline.train import TrainConfig, train

_SCALED_BY = 20_000  # frames that latents are standardised by
_SHARE_HELD_OUT = 0.02
_FEWEST_HELD_OUT = 2
_CROWD = 256  # frames among which one is to be found, when a code is measured


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameCodeRecipe:
    """How a code is trained; the temperature is raised towards the end.

    Attributes:
        training: optimisation.
        batch_size: pairs per step, each of which has to be told from all others.
        near_seconds: least and most between the frames of a pair. What changes within the least is not asked for.
        code_dim: components of the code.
        width: of the hidden layers.
        late_share: of the steps, the last ones, at the higher temperature.
    """

    training: TrainConfig = field(default_factory=lambda: TrainConfig(steps=5000, decay_fraction=0.4, balance=False))
    batch_size: int = 1024
    near_seconds: tuple[float, float] = (0.8, 4.8)
    code_dim: int = 128
    width: int = 768
    late_share: float = 0.2


def train_frame_code(
    latents: Sequence[LatentStore], folder: Path | str, recipe: FrameCodeRecipe, *, seed: int = 0, num_workers: int = 1
) -> tuple[FrameCode, dict[str, float]]:
    """Train a code on stores of one tokenizer's latents; also how well it tells frames of one episode, of those held out, from others'.

    Called again it goes on where it was, or returns at once if it was finished.

    Args:
        latents: as `cache_latents` leaves them. A fiftieth of each one's sources is held out, two at least, and of all of them if others
            have it, too.
        folder: of checkpoints and logs.
        recipe: how.
        seed: of weights, order and what is held out.
        num_workers: threads that prepare batches.

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
        ValueError: if there are too few episodes, or none is long enough.
    """
    chosen = _held_out(latents, seed)
    split = [store.split_by_source(sorted(chosen.intersection(store.sources))) for store in latents]
    source = PairStream(
        [store for store, _ in split], batch_size=recipe.batch_size, seconds=recipe.near_seconds, seed=seed, num_workers=num_workers
    )
    held = _one_of_each([store for _, store in split], recipe.near_seconds)
    some = torch.cat([source.pairs(-1 - index)[:, 0] for index in range(-(-_SCALED_BY // recipe.batch_size))])
    num_tokens, latent_dim = latents[0].latent_shape
    config = FrameCodeConfig(
        num_tokens=num_tokens,
        latent_dim=latent_dim,
        code_dim=recipe.code_dim,
        width=recipe.width,
        late_after=max(1, round(recipe.training.steps * (1 - recipe.late_share))),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        code = FrameCode(config, mean=some.mean(0), std=some.std(0).clamp_min(1e-3))

    def evaluate(model: torch.nn.Module, step: int) -> dict[str, float]:
        with torch.no_grad():
            first, last = code(held.to(code.mean)).unbind(1)
        return {"found": found(first @ last.T)}

    report = train(code, source, recipe.training, folder, evaluate=evaluate)
    raise_if_interrupted(report)
    plain = F.normalize(((held - code.mean.cpu()) / code.std.cpu()).flatten(2), dim=-1)
    figures = {
        "found": report.metrics["found"],
        "found by latents": found(plain[:, 0] @ plain[:, 1].T),
        "chance": 1 / len(held),
        "pairs": float(len(held)),
        "steps": float(report.step),
        "minutes": report.elapsed_seconds / 60,
    }
    return code.cpu().requires_grad_(False), figures


def _held_out(stores: Sequence[LatentStore], seed: int) -> set[str]:
    """Sources that no store may teach: those that are drawn from each."""
    shares = (max(_SHARE_HELD_OUT, _FEWEST_HELD_OUT / max(4, len(store.sources))) for store in stores)
    return set[str]().union(*(held_out_sources(store.sources, share, seed=seed) for store, share in zip(stores, shares, strict=True)))


def found(likeness: Tensor) -> float:
    """Share of rows of (B, B) that are most like their own column: of frames whose later one is found among B."""
    return float((likeness.argmax(1) == torch.arange(len(likeness), device=likeness.device)).double().mean())


def _one_of_each(stores: Sequence[LatentStore], seconds: tuple[float, float]) -> Tensor:
    """Latents (B, 2, S, C) of pairs from the middle of long enough episodes, one of each source."""
    pairs: dict[str, Tensor] = {}
    for store in stores:
        for episode in store.episodes:
            least, most = (max(1, round(value * episode.rate_hz)) for value in seconds)
            gap = (least + min(most, episode.num_frames - 1)) // 2
            first = episode.start + (episode.num_frames - 1 - gap) // 2
            if episode.num_frames > least:
                pairs.setdefault(f"{store.folder} {episode.source}", store.video[[first, first + gap]].float())
    if len(pairs) < _FEWEST_HELD_OUT:
        raise ValueError(
            f"{len(pairs)} held-out sources are longer than {seconds[0]:g} s, {_FEWEST_HELD_OUT} are needed; give more or longer ones"
        )
    return torch.stack(list(pairs.values())[:_CROWD])
