"""How good are the rollouts: imagined against true frames on held-out episodes, floors beside them, and whether actions matter.

Every figure is pooled: squared errors are averaged over windows first, then turned into decibels, so that a window in which nothing moves
cannot dominate. Intervals are bootstrapped over episodes: windows of one episode stay together.

May import: data, world's protocol, eval.metrics. Refuses to know: how the world was trained.

Shapes: B windows, P prompt frames, T predicted frames, A action.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from worldline.data import ArrayStore, Loader
from worldline.eval.metrics import bootstrap_interval, copy_last, linear_extrapolation, psnr_of_error, random_frames, ssim
from worldline.interfaces import Rollout, State
from worldline.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """Held-out windows: prompts (B, P, 3, H, W), what came next (B, T, 3, H, W), and the actions (B, P + T - 1, A) or None.

    `episodes` (B,) numbers the episode that each was cut from; None if every window has one of its own.
    """

    prompt: Tensor
    future: Tensor
    actions: Tensor | None
    episodes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def clusters(self) -> Tensor:
        """(B,): windows with the same number are resampled together."""
        return torch.arange(len(self)) if self.episodes is None else self.episodes

    @property
    def num_episodes(self) -> int:
        """Episodes that the windows are cut from."""
        return len(self.clusters.unique())


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One predictor: figures per predicted frame, T values each."""

    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    moving_psnr_db: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoReport:
    """Rollout quality of a world on held-out windows.

    Attributes:
        num_windows: B.
        num_episodes: that they are cut from, and that intervals are bootstrapped over.
        prompt_frames: P.
        rate_hz: frames per second.
        world: the world, given the true actions.
        floors: the same figures of `copy last frame`, `linear extrapolation` and `random frame`.
        gain_db: PSNR over copy-last-frame, per predicted frame.
        gain_interval_db: 95 % interval of the gain averaged over frames.
        shuffled_action_ratio: squared error under another window's actions over that under the true ones; about 1 for a world that ignores
            actions. None for a world without actions.
        shuffled_action_interval: its 95 % interval.
    """

    num_windows: int
    num_episodes: int
    prompt_frames: int
    rate_hz: float | None
    world: Curve
    floors: dict[str, Curve]
    gain_db: tuple[float, ...]
    gain_interval_db: tuple[float, float]
    shuffled_action_ratio: float | None
    shuffled_action_interval: tuple[float, float] | None

    @property
    def mean_gain_db(self) -> float:
        """Gain over copy-last-frame, averaged over the predicted frames."""
        return sum(self.gain_db) / len(self.gain_db)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "mean_gain_db": self.mean_gain_db}


def sample_windows(
    store: ArrayStore, *, prompt_frames: int, num_frames: int, num_windows: int, frame_skip: int = 1, seed: int = 0
) -> Windows:
    """Random windows of a held-out store of pixels, always the same for one seed; of labelled episodes alone, if there are any, so that all
    windows have actions or none has."""
    span = (prompt_frames + num_frames) * frame_skip
    labelled = [episode for episode in store.episodes if "actions" in episode.labels and episode.num_frames >= span]
    if 0 < len(labelled) < len(store):
        store = type(store)(store.folder, labelled, store.arrays, store.action_spec, store.fingerprint)
    loader = Loader(store, batch_size=num_windows, num_frames=prompt_frames + num_frames, frame_skip=frame_skip, seed=seed)
    batch = loader.batch(0)
    if batch.frames is None:
        raise ValueError("evaluation needs a store of pixels, this one holds latents")
    actions = None
    if batch.actions is not None and batch.action_mask is not None and bool(batch.action_mask.all()):
        actions = batch.actions[:, :-1]
    return Windows(
        prompt=batch.frames[:, :prompt_frames],
        future=batch.frames[:, prompt_frames:],
        actions=actions,
        episodes=_episodes_of(loader),
    )


@torch.no_grad()
def imagine(world: World, windows: Windows, *, shuffled: bool = False, seed: int = 0, chunk: int = 32) -> Tensor:
    """What the world makes of each window, (B, T, 3, H, W) on the CPU.

    It is prompted, then rolled out under the true actions, or under another window's; where they are unknown, under the null action.
    Windows that differ only by `shuffled` share prompt and noise, so nothing but the actions to come differs.
    """
    first = windows.prompt.shape[1] - 1
    future_actions = None if windows.actions is None else windows.actions[:, first:]
    unknown = windows.actions is None and world.action_spec is not None
    if future_actions is None or world.action_spec is None:
        future_actions = torch.zeros(len(windows), windows.future.shape[1], 0)
    if shuffled:
        future_actions = future_actions.roll(1, dims=0)
    frames = []
    for start in range(0, len(windows), chunk):
        rows = slice(start, start + chunk)
        known = None if windows.actions is None or world.action_spec is None else windows.actions[rows, :first]
        state = world.prompt(windows.prompt[rows], known)
        if unknown:
            frames.append(_unled(world, state, windows.future.shape[1], seed))
        else:
            frames.append(world.decode(world.rollout(state, future_actions[rows], seed=seed))[0].float().cpu())
    return torch.cat(frames)


def evaluate_rollouts(world: World, windows: Windows, *, seed: int = 0) -> VideoReport:
    """Measure a world on held-out windows."""
    num_frames = windows.future.shape[1]
    predicted = imagine(world, windows, seed=seed)
    error = _squared_error(predicted, windows.future)
    floors = {"copy last frame": copy_last(windows.prompt, num_frames), "random frame": random_frames(windows.prompt, num_frames)}
    if windows.prompt.shape[1] > 1:
        floors["linear extrapolation"] = linear_extrapolation(windows.prompt, num_frames)
    copy_error = _squared_error(floors["copy last frame"], windows.future)
    both = torch.stack([error, copy_error], dim=1)
    ratio = interval = None
    if windows.actions is not None and world.action_spec is not None:
        shuffled_error = _squared_error(imagine(world, windows, shuffled=True, seed=seed), windows.future)
        pair = torch.stack([shuffled_error, error], dim=1)
        ratio, interval = float(_ratio(pair)), bootstrap_interval(pair, _ratio, clusters=windows.clusters)
    return VideoReport(
        num_windows=len(windows),
        num_episodes=windows.num_episodes,
        prompt_frames=windows.prompt.shape[1],
        rate_hz=world.config.rate_hz,
        world=_curve(predicted, windows),
        floors={name: _curve(frames, windows) for name, frames in floors.items()},
        gain_db=tuple(_gain(both).tolist()),
        gain_interval_db=bootstrap_interval(both, lambda rows: _gain(rows).mean(), clusters=windows.clusters),
        shuffled_action_ratio=ratio,
        shuffled_action_interval=interval,
    )


def _episodes_of(loader: Loader) -> Tensor:
    """(B,): which episode each window of the loader's first batch is cut from."""
    store = loader.store
    # A store that holds the number of the episode in place of each frame, read through the same loader.
    numbers = torch.full((max(episode.start + episode.num_frames for episode in store.episodes), 1), -1)
    for index, episode in enumerate(store.episodes):
        numbers[episode.start : episode.start + episode.num_frames] = index
    numbered = ArrayStore(store.folder, [replace(episode, labels=()) for episode in store.episodes], {"frames": numbers}, None, "")
    same = Loader(numbered, batch_size=loader.batch_size, num_frames=loader.num_frames, frame_skip=loader.frame_skip, seed=loader.seed)
    latents = same.batch(0).latents
    assert latents is not None
    return latents[:, 0, 0].long()


def _unled(world: World, state: State, num_frames: int, seed: int) -> Tensor:
    """The next frames (B, T, 3, H, W) while nobody says what is done: the null action, step by step."""
    latents = []
    for index in range(num_frames):
        state = world.step(state, None, seed=seed + index)
        latents.append(state.latent)
    return world.decode(Rollout(latents=torch.stack(latents, dim=1)[None], actions=None, state=state))[0].float().cpu()


def _squared_error(predicted: Tensor, true: Tensor) -> Tensor:
    return (predicted - true).square().mean((-3, -2, -1))


def _gain(errors: Tensor) -> Tensor:
    """(B, 2, T) errors of the world and of the floor -> (T,) dB."""
    world, floor = psnr_of_error(errors.mean(0))
    return world - floor


def _ratio(errors: Tensor) -> Tensor:
    """(B, 2, T) errors under shuffled and true actions -> their ratio."""
    return errors[:, 0].mean() / errors[:, 1].mean().clamp_min(1e-12)


def _curve(predicted: Tensor, windows: Windows) -> Curve:
    error = (predicted - windows.future).square()
    moved = ((windows.future - windows.prompt[:, -1:]).abs().amax(2, keepdim=True) > 0.06).to(error.dtype).expand_as(error)
    moving_error = (error * moved).sum((0, 2, 3, 4)) / moved.sum((0, 2, 3, 4)).clamp_min(1)
    return Curve(
        psnr_db=tuple(psnr_of_error(error.mean((0, 2, 3, 4))).tolist()),
        ssim=tuple(ssim(predicted, windows.future).mean(0).tolist()),
        moving_psnr_db=tuple(psnr_of_error(moving_error).tolist()),
    )
