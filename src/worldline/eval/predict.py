"""How a world thinks that one video goes on: the prediction, the error where the truth is known, and a film of both.

May import: world, data, eval.metrics, eval.panels. Refuses to know: training, the command line.

Shapes: P prompt frames, T predicted frames, K of them with a known truth, M samples, A action, H = W the world's image size.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldline.data import Fit, probe, to_float
from worldline.data.decode import read_video_indexed
from worldline.data.folder import LabelError, read_columns
from worldline.eval.metrics import copy_last, psnr_of_error
from worldline.eval.panels import Panel, draw_panels
from worldline.interfaces import ActionSpec
from worldline.world import World

DEFAULT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a world made of a video.

    Attributes:
        prompt: (P, 3, H, W) in [0, 1], what the world was shown.
        imagined: (M, T, 3, H, W), how it thinks that the video goes on.
        truth: (K, 3, H, W), how it does go on, as far as the file knows; K <= T.
        rate_hz: frames per second of all of them.
        source_size: height and width of the file, pixels.
        fit: how its frames were made square.
        with_actions: whether the world was given actions; False for the null action of "unknown", and for a world without actions.
        psnr_db: K values, of the squared error averaged over samples.
        copy_last_psnr_db: K values, of the last prompt frame repeated.
    """

    prompt: Tensor
    imagined: Tensor
    truth: Tensor
    rate_hz: float
    source_size: tuple[int, int]
    fit: Fit
    with_actions: bool
    psnr_db: tuple[float, ...]
    copy_last_psnr_db: tuple[float, ...]

    @property
    def horizons_seconds(self) -> tuple[float, ...]:
        """Seconds from the end of the prompt to each predicted frame, T values."""
        return tuple((index + 1) / self.rate_hz for index in range(self.imagined.shape[1]))

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {
            "prompt_frames": len(self.prompt),
            "predicted_frames": self.imagined.shape[1],
            "known_frames": len(self.truth),
            "samples": len(self.imagined),
            "rate_hz": self.rate_hz,
            "source_size": list(self.source_size),
            "image_size": self.prompt.shape[-1],
            "fit": self.fit,
            "with_actions": self.with_actions,
            "horizons_seconds": list(self.horizons_seconds),
            "psnr_db": list(self.psnr_db),
            "copy_last_psnr_db": list(self.copy_last_psnr_db),
        }


@torch.no_grad()
def predict_video(
    world: World,
    video: str | Path,
    *,
    num_frames: int | None = None,
    seconds: float | None = None,
    prompt_frames: int | None = None,
    actions: str | Path | None = None,
    samples: int = 1,
    fit: Fit = "stretch",
    seed: int = 0,
) -> Prediction:
    """Show a world the start of a video and let it imagine the rest.

    Args:
        world: reads the file at its own frame rate and size.
        video: a file.
        num_frames: frames to predict, T.
        seconds: the same in seconds; 2 s if neither is given.
        prompt_frames: P, frames that the world is shown, from the start. By default as many as it looks back, but no more than half of the
            video, or what leaves T frames to compare with.
        actions: a CSV file with a header and one row per frame of the file, as in training; its columns are the action's components. It may
            go on after the video ends, and must reach as far as the prediction. Without it the world is told that the actions are unknown.
        samples: M, futures.
        fit: how frames of another aspect ratio are made square.
        seed: of the futures.

    Raises:
        VideoError: if the file cannot be read.
        ValueError: if the video is shorter than the prompt, actions do not fit, or a number makes no sense.
    """
    num_frames = _frames_to_predict(world, video, num_frames, seconds)
    if samples < 1 or (prompt_frames is not None and prompt_frames < 1):
        raise ValueError(f"samples is {samples} and prompt_frames is {prompt_frames}; give at least 1 of each")
    context = world.config.dynamics.context_frames
    clip, indices = read_video_indexed(
        video,
        size=world.config.tokenizer.image_size,
        fit=fit,
        rate_hz=world.config.rate_hz,
        max_frames=(prompt_frames or context) + num_frames,
    )
    if prompt_frames is None:
        prompt_frames = min(context, max(math.ceil(len(clip) / 2), len(clip) - num_frames))
    if len(clip) < prompt_frames:
        raise ValueError(
            f"{video} has {len(clip)} frames at {clip.rate_hz:g} Hz, which is not enough for a prompt of {prompt_frames}; give fewer"
        )
    info = probe(video)
    known_actions = None
    if actions is not None:
        stride = (info.rate_hz or clip.rate_hz) / clip.rate_hz
        known_actions = _read_actions(world.action_spec, Path(actions), indices, stride, prompt_frames + num_frames - 1)
    frames = to_float(clip.frames)
    prompt, truth = frames[:prompt_frames], frames[prompt_frames:]
    imagined = _imagine(world, prompt, known_actions, num_frames=num_frames, samples=samples, seed=seed)
    error = (imagined[:, : len(truth)] - truth).square().mean((0, 2, 3, 4))
    copy_error = (copy_last(prompt[None], len(truth))[0] - truth).square().mean((1, 2, 3))
    return Prediction(
        prompt=prompt,
        imagined=imagined,
        truth=truth,
        rate_hz=clip.rate_hz,
        source_size=(info.height, info.width),
        fit=fit,
        with_actions=known_actions is not None,
        psnr_db=tuple(psnr_of_error(error).tolist()),
        copy_last_psnr_db=tuple(psnr_of_error(copy_error).tolist()),
    )


def compose_panels(prediction: Prediction) -> Tensor:
    """The prediction as one video (P + T, 3, H', W'): what is true, each imagined future, and the first one's |difference|."""
    prompt, truth = prediction.prompt, prediction.truth
    num_prompt, num_unknown = len(prompt), prediction.imagined.shape[1] - len(truth)
    blank = torch.full_like(prompt[:1], 0.5).expand(num_unknown, -1, -1, -1)
    ahead = [f"+{seconds:.2f}s" for seconds in prediction.horizons_seconds]
    true_label = ["prompt"] * num_prompt + ["truth"] * len(truth) + ["unknown"] * num_unknown
    panels = [Panel(label=true_label, frames=torch.cat([prompt, truth, blank]))]
    for imagined in prediction.imagined:
        panels.append(Panel(label=["prompt"] * num_prompt + [f"imagined {time}" for time in ahead], frames=torch.cat([prompt, imagined])))
    error = torch.cat([torch.zeros_like(prompt), (prediction.imagined[0, : len(truth)] - truth).abs(), blank])
    panels.append(Panel(label=["error"] * (num_prompt + len(truth)) + ["unknown"] * num_unknown, frames=error))
    return draw_panels(panels)


def _frames_to_predict(world: World, video: str | Path, num_frames: int | None, seconds: float | None) -> int:
    if num_frames is not None and seconds is not None:
        raise ValueError("both a number of frames and of seconds are given; give one of the two")
    if num_frames is None:
        rate_hz = world.config.rate_hz or probe(video).rate_hz
        if rate_hz is None:
            raise ValueError(f"neither the world nor {video} says how many frames a second has; give the number of frames to predict")
        num_frames = round((DEFAULT_SECONDS if seconds is None else seconds) * rate_hz)
    if num_frames < 1:
        raise ValueError(f"{num_frames} frames to predict; give a future of at least one frame")
    return num_frames


def _imagine(world: World, prompt: Tensor, actions: Tensor | None, *, num_frames: int, samples: int, seed: int) -> Tensor:
    """(M, T, 3, H, W); without actions every step is taken under the null action."""
    first = len(prompt) - 1
    state = world.fork(world.prompt(prompt, None if actions is None else actions[:first]), samples)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_frames, samples, *world.noise_shape, generator=generator).to(state.latent)
    frames = []
    for index in range(num_frames):
        action = None if actions is None else actions[first + index].expand(samples, -1)
        state = world.step(state, action, noise=noise[index])
        frames.append(world.decode(state))
    return torch.stack(frames, dim=1)


def _read_actions(spec: ActionSpec | None, path: Path, indices: Tensor, stride: float, count: int) -> Tensor:
    """The action (count, A) at each frame, from a file with a row per frame of the video.

    Args:
        spec: of the world. One that was trained with several recorded actions per frame has their components side by side.
        path: the CSV file.
        indices: the file's frame behind each frame of the clip.
        stride: frames of the file per frame of the clip, to go on counting where the video ends.
        count: frames.
    """
    if spec is None:
        raise ValueError(f"this world was trained without actions, so {path} cannot steer it; leave the actions away")
    columns = [name for name in spec.names if not re.search(r"\+\d+$", name)] or _header(path)
    per_frame, rest = divmod(spec.dim, len(columns))
    if rest or not per_frame:
        raise ValueError(f"{path} has {len(columns)} columns ({', '.join(columns)}); the world's action has {spec.dim} components")
    rows = read_columns(path, columns)
    beyond = torch.arange(1, max(0, count - len(indices)) + 1)
    starts = torch.cat([indices, indices[-1] + (beyond * stride).round().long()])[:count]
    picked = starts[:, None] + torch.arange(per_frame)
    if int(picked.max()) >= len(rows):
        raise LabelError(
            f"{path} has {len(rows)} rows; this prediction needs {int(picked.max()) + 1}, one per frame of the video and of what follows"
        )
    return rows[picked].flatten(1)


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a CSV file with a header and one row of actions per frame")
    with path.open(encoding="utf-8", errors="replace") as file:
        return [name.strip() for name in file.readline().split(",")]
