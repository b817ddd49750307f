"""Picture metrics and the floors that every prediction is measured against.

May import: torch. Refuses to know: worlds, data sets.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of frames (..., 3, H, W) in [0, 1], one value per frame, at most 100."""
    return psnr_of_error((predicted - true).square().mean((-3, -2, -1)))


def psnr_of_error(mean_squared_error: Tensor) -> Tensor:
    """Mean squared errors as PSNR in dB; errors below 1e-10 count as 1e-10."""
    return -10 * mean_squared_error.clamp_min(1e-10).log10()


def ssim(predicted: Tensor, true: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of frames (..., 3, H, W) in [0, 1], one value per frame.

    Gaussian window of 11 pixels and standard deviation 1.5, constants 0.01 and 0.03, means over channels and over the pixels that the
    window fits around.

    Raises:
        ValueError: for frames of fewer than 11 pixels a side.
    """
    if min(true.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs frames of at least 11 x 11 pixels, got {tuple(true.shape[-2:])}")
    lead = true.shape[:-3]
    x, y = (frames.reshape(-1, *frames.shape[-2:]) for frames in (predicted, true))
    rows, columns = (_window_means(size).to(x) for size in x.shape[-2:])

    def blur(images: Tensor) -> Tensor:
        return rows @ images @ columns.T

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return (luminance * structure).mean((-2, -1)).view(*lead, -1).mean(-1)


def _window_means(size: int) -> Tensor:
    """(size - 10, size): what takes `size` values to the Gaussian means around all that have five neighbours on each side."""
    offset = torch.arange(size, dtype=torch.float64) - torch.arange(size - 10, dtype=torch.float64)[:, None] - 5
    line = torch.exp(-(offset**2) / (2 * 1.5**2)) * (offset.abs() <= 5)
    return line / line.sum(1, keepdim=True)


def copy_last(prompt: Tensor, num_frames: int) -> Tensor:
    """The floor that says nothing changes: the last frame of prompts (B, P, 3, H, W), repeated, (B, T, 3, H, W)."""
    return prompt[:, -1:].expand(-1, num_frames, -1, -1, -1)


def linear_extrapolation(prompt: Tensor, num_frames: int) -> Tensor:
    """The floor that says every pixel goes on changing as it last did, clipped to [0, 1]; needs two frames of prompt."""
    if prompt.shape[1] < 2:
        raise ValueError("linear extrapolation needs a prompt of at least two frames")
    ahead = torch.arange(1, num_frames + 1, dtype=prompt.dtype, device=prompt.device).view(1, -1, 1, 1, 1)
    return (prompt[:, -1:] + ahead * (prompt[:, -1:] - prompt[:, -2:-1])).clamp(0, 1)


def random_frames(prompt: Tensor, num_frames: int) -> Tensor:
    """The floor that knows the data but not the scene: the last frame of another row's prompt, repeated."""
    if len(prompt) < 2:
        raise ValueError("the random floor takes its frames from other rows; give at least two")
    return copy_last(prompt.roll(1, dims=0), num_frames)


def bootstrap_interval(
    values: Tensor,
    statistic: Callable[[Tensor], Tensor] | None = None,
    *,
    clusters: Tensor | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a statistic of rows (N, ...), by resampling with replacement (Efron, 1979). The mean by default.

    `clusters` (N,) says which rows belong together, such as the windows of one episode. Then whole clusters are resampled (Field and Welsh,
    2007): rows of one cluster resemble each other, and resampled apart they would make the interval too narrow.

    Raises:
        ValueError: if there is not one cluster number per row.
    """
    generator = torch.Generator().manual_seed(seed)
    if clusters is None:
        picks = torch.randint(len(values), (num_resamples, len(values)), generator=generator)
        results = values[picks].mean(1) if statistic is None else torch.stack([statistic(values[pick]) for pick in picks])
    elif statistic is None:
        results = resampled_means(values, clusters, num_resamples=num_resamples, seed=seed)
    else:
        members = _members(values, clusters)
        picks = torch.randint(len(members), (num_resamples, len(members)), generator=generator)
        results = torch.stack([statistic(values[torch.cat([members[index] for index in pick])]) for pick in picks.tolist()])
    low, high = percentiles(results)
    return float(low), float(high)


def resampled_means(values: Tensor, clusters: Tensor, *, num_resamples: int = 1000, seed: int = 0) -> Tensor:
    """Means of rows (N, ...) in resamples of whole clusters (N,), (num_resamples, ...) float64.

    Most figures are functions of means (of squared errors, of moments), so one call gives the intervals of all of them.

    Raises:
        ValueError: if there is not one cluster number per row.
    """
    members = _members(values, clusters)
    rows = values.double().reshape(len(values), -1)
    sums = torch.stack([rows[index].sum(0) for index in members])
    sizes = torch.tensor([len(index) for index in members], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(members), (num_resamples, len(members)), generator=generator)
    times = torch.zeros(num_resamples, len(members), dtype=torch.float64).scatter_add_(
        1, picks, torch.ones_like(picks, dtype=torch.float64)
    )
    return ((times @ sums) / (times @ sizes)[:, None]).view(num_resamples, *values.shape[1:])


def percentiles(resamples: Tensor) -> tuple[Tensor, Tensor]:
    """Ends (...) of the 95 % interval of resampled statistics (R, ...)."""
    low, high = torch.quantile(resamples.double(), torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return low, high


def _members(values: Tensor, clusters: Tensor) -> list[Tensor]:
    """The rows of each cluster."""
    if clusters.shape != values.shape[:1]:
        raise ValueError(f"{tuple(clusters.shape)} cluster numbers for {len(values)} rows; give one per row")
    return [(clusters == cluster).nonzero()[:, 0] for cluster in clusters.unique()]
