"""Colours: every domain means the same by a name, and light is linear where an engine follows it."""

import numpy as np
import pytest

from worldline.envs.colors import COLORS, reflectance, share_of_full
from worldline.envs.zoo import DOMAINS, load_domain


@pytest.mark.parametrize("name", DOMAINS)
def test_every_colour_of_a_domain_is_known(name: str) -> None:
    try:
        domain = load_domain(name)
    except ImportError as error:
        pytest.skip(str(error))
    for attribute in domain.attributes:
        if attribute.name.endswith("_color"):
            assert {*attribute.usual, *(attribute.unusual or ())} <= {*COLORS, "glass"}, attribute.name


def test_reflectances_are_linear_in_light() -> None:
    np.testing.assert_allclose(share_of_full("black"), 20 / 255)
    for name in COLORS:
        light = reflectance(name) / 0.85
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(255 * encoded, COLORS[name], atol=0.01)
