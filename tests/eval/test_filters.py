"""Oriented filters: what they see, and the Fréchet distance against its formula."""

import pytest
import torch
import torch.nn.functional as F

from worldline.eval.filters import filter_distance, frechet_distance, moments, principal_components, video_features


def test_equal_frames_are_at_no_distance_and_others_at_some():
    frames = torch.rand(2, 3, 3, 32, 32)
    assert filter_distance(frames, frames).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert filter_distance(frames, 1 - frames).min() > 0.01


def test_the_distance_grows_with_blur_and_with_displacement():
    picture = torch.rand(1, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    blurred = [F.avg_pool2d(F.pad(picture, [r] * 4, mode="replicate"), 2 * r + 1, stride=1) for r in (1, 2, 4)]
    near, far, farthest = (float(filter_distance(frame, picture)) for frame in blurred)
    assert 0 < near < far < farthest
    moved = [float(filter_distance(picture.roll(step, 3), picture)) for step in (1, 2, 4)]
    assert moved == sorted(moved)


def test_a_change_of_contrast_counts_less_than_one_of_structure():
    lines = torch.zeros(1, 3, 32, 32)
    lines[..., ::4] = 0.6
    fainter, turned = lines * 0.8, lines.mT
    assert float(filter_distance(fainter, lines)) < 0.05 * float(filter_distance(turned, lines))


def test_small_frames_are_refused():
    with pytest.raises(ValueError, match="at least 8 x 8"):
        filter_distance(torch.rand(3, 6, 8), torch.rand(3, 6, 8))


def test_features_see_motion():
    still = torch.rand(1, 1, 3, 32, 32).expand(-1, 4, -1, -1, -1)
    moving = torch.stack([still[0, 0].roll(3 * step, 2) for step in range(4)])[None]
    first, second = video_features(still), video_features(moving)
    assert first.shape == second.shape == (1, 3, first.shape[2])
    half = first.shape[2] // 2
    assert float(first[..., half:].abs().max()) < 1e-3
    assert float(second[..., half:].abs().max()) > 0.05


def test_the_frechet_distance_of_two_gaussians_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    roots = torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    covariances = roots @ roots.mT
    first, second = (torch.cat([m, (c + m[:, None] * m).flatten()]) for m, c in zip(means, covariances, strict=True))
    product = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.sqrt().sum()
    expected = (means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * product
    assert float(frechet_distance(first, second)) == pytest.approx(float(expected))
    assert float(frechet_distance(first, first)) == pytest.approx(0, abs=1e-6)
    # Along one axis, the difference of the standard deviations: (3 - 1)^2, and of the means: 2^2.
    assert float(frechet_distance(torch.tensor([0.0, 1.0]).double(), torch.tensor([2.0, 9.0 + 4.0]).double())) == pytest.approx(8)


def test_the_frechet_distance_of_samples_comes_near_that_of_their_gaussians():
    generator = torch.Generator().manual_seed(1)
    one = torch.randn(20_000, 3, generator=generator, dtype=torch.float64)
    other = 2 * torch.randn(20_000, 3, generator=generator, dtype=torch.float64) + 1
    assert float(frechet_distance(moments(one).mean(0), moments(other).mean(0))) == pytest.approx(3 * (1 + 1), rel=0.03)


def test_principal_components_are_the_widest_directions():
    rows = torch.randn(500, 5) * torch.tensor([0.1, 3.0, 0.1, 1.0, 0.1]) + 4
    mean, directions = principal_components(rows, 2)
    assert mean.tolist() == pytest.approx(rows.mean(0).tolist(), rel=1e-4)
    assert directions.abs().argmax(0).tolist() == [1, 3]
