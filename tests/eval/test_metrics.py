"""Picture metrics against values worked out by hand or by an independent formula; floors; intervals that cover."""

import math

import pytest
import torch

from worldline.eval import bootstrap_interval, copy_last, linear_extrapolation, psnr, psnr_of_error, random_frames, ssim
from worldline.eval.metrics import resampled_means


def test_psnr_is_ten_decibels_per_power_of_ten():
    true = torch.full((2, 4, 3, 8, 8), 0.5)
    predicted = true.clone()
    predicted[0] += 0.1
    predicted[1, :, 0] += 0.1  # one channel of three
    assert psnr(predicted, true).shape == (2, 4)
    torch.testing.assert_close(psnr(predicted, true)[0], torch.full((4,), 20.0))
    torch.testing.assert_close(psnr(predicted, true)[1], torch.full((4,), 20 + 10 * math.log10(3)))
    assert psnr_of_error(torch.tensor([1.0, 0.01, 0.0])).tolist() == pytest.approx([0, 20, 100])


def direct_ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    """Wang et al. (2004), one window at a time, of single-channel pictures (H, W)."""
    axis = torch.arange(-5.0, 6.0, dtype=torch.float64)
    window = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    window = window / window.sum()
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (picture[top : top + 11, left : left + 11] for picture in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variance_a, variance_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append(luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4))
    return torch.stack(values).mean().item()


def test_ssim_is_the_published_formula():
    true, predicted = torch.rand(2, 3, 14, 17, dtype=torch.float64)
    predicted = 0.6 * true + 0.4 * predicted
    expected = sum(direct_ssim(a, b) for a, b in zip(predicted, true, strict=True)) / 3
    assert ssim(predicted, true).item() == pytest.approx(expected, rel=1e-9)
    assert 0.2 < expected < 0.95


def test_ssim_of_known_pictures():
    true = torch.rand(2, 5, 3, 16, 16)
    assert ssim(true, true).shape == (2, 5)
    torch.testing.assert_close(ssim(true, true), torch.ones(2, 5))
    # Flat pictures differ in luminance only.
    flat = torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)
    assert ssim(*flat).item() == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4), rel=1e-4)
    assert ssim(1 - true, true).max() < 0
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got"):
        ssim(torch.rand(3, 10, 16), torch.rand(3, 10, 16))


def test_floors_know_the_prompt_and_nothing_else():
    prompt = torch.tensor([[0.2, 0.3], [0.9, 0.7]]).view(2, 2, 1, 1, 1).expand(-1, -1, 3, 4, 4)

    def values(frames: torch.Tensor) -> list[list[float]]:
        assert frames.shape == (2, 3, 3, 4, 4)
        assert (frames == frames[..., :1, :1]).all()
        return frames[:, :, 0, 0, 0].tolist()

    assert values(copy_last(prompt, 3)) == [pytest.approx([0.3, 0.3, 0.3]), pytest.approx([0.7, 0.7, 0.7])]
    assert values(linear_extrapolation(prompt, 3)) == [pytest.approx([0.4, 0.5, 0.6]), pytest.approx([0.5, 0.3, 0.1])]
    assert values(random_frames(prompt, 3)) == [pytest.approx([0.7, 0.7, 0.7]), pytest.approx([0.3, 0.3, 0.3])]
    assert linear_extrapolation(prompt, 9).min() == 0, "clipped to what a picture can be"
    with pytest.raises(ValueError, match="at least two frames"):
        linear_extrapolation(prompt[:, :1], 3)
    with pytest.raises(ValueError, match="at least two"):
        random_frames(prompt[:1], 3)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(200, 40, generator=generator) + 3
    intervals = [bootstrap_interval(sample, num_resamples=300) for sample in samples]
    covered = sum(low <= 3 <= high for low, high in intervals) / len(intervals)
    assert 0.88 <= covered <= 0.98
    width = sum(high - low for low, high in intervals) / len(intervals)
    assert width == pytest.approx(2 * 1.96 / math.sqrt(40), rel=0.1)


def test_intervals_of_a_statistic_resample_rows_together():
    """The ratio of two columns that are proportional has no uncertainty, however much both vary."""
    column = torch.rand(30)
    rows = torch.stack([3 * column, column], dim=1)
    low, high = bootstrap_interval(rows, lambda picked: picked[:, 0].mean() / picked[:, 1].mean())
    assert (low, high) == (pytest.approx(3), pytest.approx(3))
    assert bootstrap_interval(column) == bootstrap_interval(column), "a seed decides"


def test_intervals_over_episodes_cover_the_truth_where_intervals_over_windows_do_not():
    """Eight windows of an episode that are nearly the same are hardly more than one."""
    generator = torch.Generator().manual_seed(0)
    clusters = torch.arange(30).repeat_interleave(8)
    covered = {"episodes": 0, "windows": 0}
    for _ in range(100):
        samples = torch.randn(30, generator=generator)[clusters] + 0.2 * torch.randn(240, generator=generator) + 3
        for name, numbers in (("episodes", clusters), ("windows", None)):
            low, high = bootstrap_interval(samples, clusters=numbers, num_resamples=300)
            covered[name] += low <= 3 <= high
    assert 88 <= covered["episodes"] <= 99
    assert covered["windows"] < 70


def test_a_cluster_is_resampled_whole():
    """Copies of a row add nothing, and a statistic sees whole clusters of any size."""
    values, clusters = torch.randn(12), torch.arange(12)
    once = bootstrap_interval(values, clusters=clusters)
    copied = bootstrap_interval(values.repeat_interleave(5), clusters=clusters.repeat_interleave(5))
    assert once == pytest.approx(copied)
    assert once == pytest.approx(bootstrap_interval(values)), "a cluster for each row is none"
    sizes = torch.tensor([1, 2, 3, 6])
    labels = torch.arange(4).repeat_interleave(sizes)

    def check(rows: torch.Tensor) -> torch.Tensor:
        assert all(int((rows == label).sum()) % int(sizes[label]) == 0 for label in range(4))
        return rows.double().mean()

    assert bootstrap_interval(labels, check, clusters=labels) == pytest.approx(bootstrap_interval(labels, clusters=labels))
    with pytest.raises(ValueError, match="one per row"):
        bootstrap_interval(values, clusters=clusters[:3])


def test_resampled_means_are_means_of_resamples():
    values, clusters = torch.rand(10, 2, 3), torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3])
    means = resampled_means(values, clusters, num_resamples=2000)
    assert means.shape == (2000, 2, 3)
    per_cluster = torch.stack([values[clusters == index].sum(0) for index in range(4)]).double()
    picks = torch.randint(4, (2000, 4), generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([2, 3, 1, 4]).double()
    torch.testing.assert_close(means[7], per_cluster[picks[7]].sum(0) / sizes[picks[7]].sum())
