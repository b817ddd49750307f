"""Labels for all from labels of a few: inverse models, fitted on the episodes whose actions are known, say what was done in the others.

Each of a few models learns without a part of the known episodes, and is asked about those: so every known action is also a guess by a model
that never saw it, and what the guesses explain of the actions says whether they are worth training on (Baker et al., 2022, Video
PreTraining, trained on labels made in this way). Where the models disagree about a frame, its action stays unknown.

May import: recipes.inverse_model, data, numpy, torch. Refuses to know: tokenizers, dynamics, recipes.

Shapes: N rows of a store, A action, M models.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldline.data import EpisodeStore, LatentStore
from worldline.data.store import LABELS
from worldline.recipes.inverse_model import InverseConfig, InverseModel, Stretch, fit_inverse_model, read_actions

MODELS = 4
MIN_TRANSITIONS = 100
"""Known actions that it takes at least; fewer are no measure of anything."""

MIN_EXPLAINED = 0.5
"""Share of the variance of actions that a model never saw which its guesses must explain."""

MAX_DISAGREEMENT = 0.5
"""Mean squared distance of the models from their mean, beside the variance of the actions, up to which a guess counts as a label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PseudoLabels:
    """What became of the unknown actions of a store.

    Attributes:
        num_known: episodes with labels.
        num_inferred: episodes that got theirs from the models; 0 if there were too few labels, or the guesses were no good.
        explained: R2 of the guesses about known actions by models that never saw the episode, mean over the components that vary; None
            where it was not tried.
        components: the same of each component; None for one that never varies.
        left_out: share of the guesses that stay unknown because the models disagree.
        reason: why nothing was inferred; empty if it was.
    """

    num_known: int
    num_inferred: int
    explained: float | None = None
    components: tuple[float | None, ...] = ()
    left_out: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"none: {self.reason}"
        return (
            f"of {self.num_inferred:,} episodes, by inverse models of the {self.num_known:,} with labels; R2 {self.explained:.3f} on "
            f"labels that a model had not seen; {self.left_out:.1%} left unknown, as the models disagree"
        )


def infer_labels(
    store: EpisodeStore,
    latents: LatentStore,
    folder: Path,
    *,
    frame_skip: int = 1,
    config: InverseConfig | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> tuple[LatentStore, PseudoLabels | None]:
    """The latents with labels for all episodes, if labels of a part suffice to tell the others'. True labels stay as they are.

    With labels everywhere or nowhere the store comes back as it is. Otherwise it takes `MIN_TRANSITIONS` known actions, and guesses that
    explain `MIN_EXPLAINED` of those that a model has not seen; what falls short of that comes back as it is too, and says why. The
    models leave whole episodes out where four have labels, and consecutive parts of them where fewer have.

    Args:
        store: the frames.
        latents: of the same episodes in the same order; their labels are the ones that count.
        folder: where the guesses are kept; a second call with the same content reads them.
        frame_skip: recorded frames per frame of the world.
        config: of the inverse models.
        device: to fit them on.
        seed: of the models.

    Raises:
        ValueError: if the two stores hold different episodes.
    """
    if [(one.source, one.num_frames) for one in store.episodes] != [(one.source, one.num_frames) for one in latents.episodes]:
        raise ValueError("frames and latents are of different episodes; encode the store that is given (recipes.encode_store)")
    known = [index for index, episode in enumerate(latents.episodes) if "actions" in episode.labels]
    if latents.action_spec is None or len(known) in (0, len(latents)):
        return latents, None
    config = config or InverseConfig()
    settings = f"{store.fingerprint} {latents.fingerprint} {known} {frame_skip} {config} {MODELS} {seed}"
    path = folder / f"{hashlib.sha256(settings.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _save(path, *_inferred(store, latents, known, {"frame_skip": frame_skip, "config": config, "device": device, "seed": seed}))
    with np.load(path, allow_pickle=False) as saved:
        actions, report = torch.from_numpy(saved["actions"]), json.loads(str(saved["report"]))
    found = PseudoLabels(**(report | {"components": tuple(report["components"])}))
    return (_filled(latents, actions, path.stem) if found.num_inferred else latents), found


def _inferred(store: EpisodeStore, latents: LatentStore, known: list[int], options: dict[str, Any]) -> tuple[Tensor, PseudoLabels]:
    """Actions (N, A) of all rows of the latents, not a number where they are unknown; and how good they are. Options: of the fit."""
    assert latents.action_spec is not None
    spec = latents.action_spec
    actions = torch.full((len(latents.video), spec.dim), torch.nan)
    for index in known:
        rows = latents.rows("actions", latents.episodes[index])
        assert rows is not None
        actions[_span(latents, index)] = rows
    num_transitions = sum(latents.episodes[index].num_frames - 1 for index in known)
    if num_transitions < MIN_TRANSITIONS:
        return actions, PseudoLabels(
            num_known=len(known), num_inferred=0, reason=f"{num_transitions} known actions, fewer than {MIN_TRANSITIONS}, teach too little"
        )
    # The models read the frames, so they count rows as the store of frames does.
    labels = torch.full((len(store.video), spec.dim), torch.nan)
    for index in known:
        labels[_span(store, index)] = spec.normalize(actions[_span(latents, index)])
    parts = _parts(store, known)
    fitted = []
    for left_out in range(len(parts)):
        taught = [stretch for number, part in enumerate(parts) if number != left_out for stretch in part]
        fitted.append(fit_inverse_model(store.video, labels, taught, **options | {"seed": options["seed"] * len(parts) + left_out}))
    components = _explained(fitted, parts, store.video, labels)
    vary = [value for value in components if value is not None]
    explained = sum(vary) / len(vary) if vary else 0.0
    report = PseudoLabels(num_known=len(known), num_inferred=0, explained=explained, components=components)
    if explained < MIN_EXPLAINED:
        return actions, replace(report, reason=f"guesses explain {explained:.2f} of unseen actions, less than {MIN_EXPLAINED}")
    unknown = sorted(set(range(len(store))) - set(known))
    num_guesses = num_dropped = 0
    for index in unknown:
        guess, sure = _agreed(fitted, store.video, _whole(store, index))
        num_guesses, num_dropped = num_guesses + len(sure), num_dropped + int((~sure).sum())
        span = _span(latents, index)
        actions[span.start : span.start + len(guess)] = torch.where(sure[:, None], spec.clamp(spec.denormalize(guess)), torch.nan)
    return actions, replace(report, num_inferred=len(unknown), left_out=num_dropped / max(1, num_guesses))


_SHORTEST = 2  # frames, between which there is an action


def _parts(store: EpisodeStore, known: list[int]) -> list[list[Stretch]]:
    """The known episodes in `MODELS` parts that are left out in turn."""
    whole = [_whole(store, index) for index in known]
    if len(whole) < MODELS:  # parts of episodes, which are less of a test: they look alike
        cut = [torch.linspace(one.first, one.end, MODELS + 1).long().tolist() for one in whole]
        stretches = [[Stretch(first=edges[part], end=edges[part + 1]) for edges in cut] for part in range(MODELS)]
        return [[one for one in part if one.end - one.first >= _SHORTEST] for part in stretches]
    return [whole[part::MODELS] for part in range(MODELS)]


def _explained(fitted: list[InverseModel], parts: list[list[Stretch]], video: Tensor, labels: Tensor) -> tuple[float | None, ...]:
    """R2 of each component over all parts, each guessed by the model that was fitted without it."""
    pairs = [
        (read_actions(model, video, stretch), labels[stretch.first : stretch.end - 1])
        for model, part in zip(fitted, parts, strict=True)
        for stretch in part
    ]
    guesses, truth = (torch.cat(side) for side in zip(*pairs, strict=True))
    error, spread = (guesses - truth).square().mean(0), truth.var(0, correction=0)
    return tuple(1 - float(e / s) if s > 1e-6 else None for e, s in zip(error, spread, strict=True))


def _agreed(fitted: list[InverseModel], video: Tensor, stretch: Stretch) -> tuple[Tensor, Tensor]:
    """The models' mean (T - 1, A) about a recording, and where they agree on it (T - 1,)."""
    guesses = torch.stack([read_actions(model, video, stretch) for model in fitted])
    spread = torch.stack([model.std.cpu() for model in fitted]).mean(0)
    return guesses.mean(0), (guesses.var(0, correction=0) / spread.square()).mean(-1) <= MAX_DISAGREEMENT


def _filled(latents: LatentStore, actions: Tensor, key: str) -> LatentStore:
    episodes = [replace(one, labels=tuple(name for name in LABELS if name == "actions" or name in one.labels)) for one in latents.episodes]
    content = f"{latents.fingerprint} with the labels of inverse models {key}"
    return type(latents)(latents.folder, episodes, latents.arrays | {"actions": actions}, latents.action_spec, content)


def _save(path: Path, actions: Tensor, report: PseudoLabels) -> None:
    """Write under another name first, so that a file with the right name is always complete."""
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, actions=actions.numpy(), report=np.array(json.dumps(asdict(report))))
    os.replace(partial, path)


def _whole(store: EpisodeStore, index: int) -> Stretch:
    span = _span(store, index)
    return Stretch(first=span.start, end=span.stop)


def _span(store: EpisodeStore | LatentStore, index: int) -> slice:
    episode = store.episodes[index]
    return slice(episode.start, episode.start + episode.num_frames)
