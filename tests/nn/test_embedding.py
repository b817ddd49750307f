"""Fourier features against their formula, rotary positions against rotation matrices."""

import math

import torch

from worldline.nn import FourierFeatures
from worldline.nn.embedding import rotate, rotation


def test_fourier_features_follow_the_formula():
    features = FourierFeatures(2, 3)
    x = torch.tensor([0.3, -0.8])
    expected = [0.3, -0.8]
    for wave in (math.sin, math.cos):
        expected += [wave(2**k * math.pi * value / 2) for value in (0.3, -0.8) for k in range(3)]
    assert features.out_dim == len(expected)
    torch.testing.assert_close(features(x), torch.tensor(expected))


def test_rotation_turns_pairs_by_position_times_frequency():
    cos_sin = rotation(torch.tensor([3]), head_dim=4, base=100.0)
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    for index, angle in enumerate((3.0, 0.3)):
        matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        torch.testing.assert_close(rotate(x, cos_sin)[0, index::2], matrix @ x[0, index::2])


def test_products_depend_on_distance_only():
    query, key = torch.randn(2, 1, 8)

    def product(first: int, second: int) -> torch.Tensor:
        of_query, of_key = (rotation(torch.tensor([position]), head_dim=8) for position in (first, second))
        return (rotate(query, of_query) * rotate(key, of_key)).sum()

    torch.testing.assert_close(product(7, 4), product(13, 10))
    assert not torch.isclose(product(7, 4), product(7, 5))
