"""Random directions for plans: white, correlated from frame to frame, with a power-law spectrum, or like recorded actions.

White noise averages out over a few frames; coloured noise moves things, which is what a plan has to do.

May import: torch and `worldline.interfaces`. Refuses to know: worlds, scores, what the noise is added to.

Shapes: N candidates, D decisions, A action components.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from worldline.control.candidates import check_fraction
from worldline.interfaces import ActionSpec


class Noise(Protocol):
    """Draws noise of unit variance for plans."""

    def draw(self, shape: tuple[int, int, int], *, generator: torch.Generator, like: Tensor) -> Tensor:
        """Noise of shape (N, D, A), with the dtype and on the device of `like`."""
        ...


class CorrelatedNoise:
    """Gaussian noise that forgets geometrically: e[t] = c e[t-1] + sqrt(1 - c^2) w[t], AR(1); white for c = 0.

    Args:
        correlation: c, of neighbouring decisions, in [0, 1).
    """

    def __init__(self, correlation: float = 0.0) -> None:
        check_fraction(correlation=correlation)
        self.correlation = correlation

    def draw(self, shape: tuple[int, int, int], *, generator: torch.Generator, like: Tensor) -> Tensor:
        """See `Noise`."""
        num_candidates, horizon, num_components = shape
        white = torch.randn((horizon, num_candidates, num_components), generator=generator, dtype=like.dtype, device=like.device)
        frames = [white[0]]
        for innovation in white[1:]:
            frames.append(self.correlation * frames[-1] + math.sqrt(1 - self.correlation**2) * innovation)
        return torch.stack(frames, dim=1)


class SideBySide:
    """Noise for actions that each hold several of a faster simulator, side by side: drawn for those, one after the other.

    Noise between whole actions leaves what is inside one white, and a plan that changes its mind within a frame goes nowhere.

    Args:
        noise: of the actions in their order.
        count: how many lie side by side.

    Raises:
        ValueError: if `count` is not positive.
    """

    def __init__(self, noise: Noise, count: int) -> None:
        if count < 1:
            raise ValueError(f"{count} actions side by side; give at least 1")
        self.noise, self.count = noise, count

    def draw(self, shape: tuple[int, int, int], *, generator: torch.Generator, like: Tensor) -> Tensor:
        """See `Noise`.

        Raises:
            ValueError: if the components are not those of `count` actions.
        """
        num_candidates, horizon, num_components = shape
        if num_components % self.count:
            raise ValueError(f"actions of {num_components} components are not {self.count} side by side")
        each = (num_candidates, horizon * self.count, num_components // self.count)
        return self.noise.draw(each, generator=generator, like=like).reshape(shape)


class PowerLawNoise:
    """Gaussian noise whose power falls with frequency as f^-beta (Timmer & König 1995), the proposals of iCEM (Pinneri et al. 2020).

    Args:
        exponent: beta: 0 is white, 1 pink, 2 Brownian; larger is smoother.

    Raises:
        ValueError: if the exponent is negative.
    """

    def __init__(self, exponent: float = 2.0) -> None:
        if not 0 <= exponent < math.inf:
            raise ValueError(f"exponent is {exponent}; it must be at least 0")
        self.exponent = exponent

    def draw(self, shape: tuple[int, int, int], *, generator: torch.Generator, like: Tensor) -> Tensor:
        """See `Noise`."""
        num_candidates, horizon, num_components = shape
        # Twice as long as is needed: noise from a Fourier series is periodic, and a plan need not end where it began.
        length = 2 * horizon
        frequencies = torch.fft.rfftfreq(length, dtype=like.dtype, device=like.device)
        # The constant part has the power of the lowest frequency, as in the paper's code: offsets of the whole plan are drawn, too.
        scale = frequencies.clamp_min(1 / length) ** (-self.exponent / 2)
        drawn = torch.randn((2, num_candidates, num_components, len(scale)), generator=generator, dtype=like.dtype, device=like.device)
        spectrum = torch.complex(drawn[0], drawn[1]) * scale
        # The ends of the spectrum of a real signal are real; with twice the power they count as much as their neighbours' two parts.
        real = torch.zeros_like(scale, dtype=torch.bool)
        real[[0, -1]] = True
        spectrum = torch.where(real, torch.complex(math.sqrt(2) * spectrum.real, torch.zeros_like(spectrum.real)), spectrum)
        weights = torch.where(real, 1.0, 2.0) * scale.square()
        noise = torch.fft.irfft(spectrum, n=length) * length / (2 * weights.sum()).sqrt()
        return noise[..., :horizon].transpose(1, 2).contiguous()


class FittedNoise:
    """Gaussian noise with the correlations of recorded actions, over time and between components, and unit variance on average.

    Proposals like the data's keep a planner where a learned world was trained.

    Args:
        covariance: (D * A, D * A) of normalised action sequences, decision by decision; plans may be as long or shorter.
        num_components: A.

    Raises:
        ValueError: if the covariance does not fit the components, or is not a covariance.
    """

    def __init__(self, covariance: Tensor, num_components: int) -> None:
        size = len(covariance)
        if covariance.shape != (size, size) or size % num_components:
            raise ValueError(f"covariance is {tuple(covariance.shape)} for {num_components} action components; give (D * A, D * A)")
        factor, info = torch.linalg.cholesky_ex(covariance.double() * size / covariance.double().trace().abs())
        if info.any() or not factor.isfinite().all():
            raise ValueError("covariance is not positive definite; fit it to more sequences than D * A, or with more shrinkage")
        self.factor = factor
        self.num_components = num_components

    @classmethod
    def fit(cls, actions: Tensor, action_spec: ActionSpec, *, shrinkage: float = 0.1) -> "FittedNoise":
        """Noise like recorded action sequences (E, D, A) in environment units.

        Args:
            actions: sequences as long as the plans, or longer.
            action_spec: of the world.
            shrinkage: share of the covariance that is replaced by its own diagonal, in (0, 1].

        Raises:
            ValueError: if `actions` is not (E, D, A) with E >= 2, or does not vary.
        """
        if actions.ndim != 3 or len(actions) < 2:
            raise ValueError(f"actions are {tuple(actions.shape)}; give at least two recorded sequences, (E, D, A)")
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}; it must be above 0 and at most 1")
        covariance = torch.cov(action_spec.normalize(actions.double()).flatten(1).T)
        if not (covariance.diagonal() > 1e-12).any():
            raise ValueError("the recorded actions never change; there is no noise like them")
        floor = 1e-6 * covariance.diagonal().mean()
        diagonal = torch.diag(covariance.diagonal().clamp_min(floor))
        return cls(torch.lerp(covariance, diagonal, shrinkage), actions.shape[-1])

    def draw(self, shape: tuple[int, int, int], *, generator: torch.Generator, like: Tensor) -> Tensor:
        """See `Noise`.

        Raises:
            ValueError: if plans are longer than the recorded sequences, or have other components.
        """
        num_candidates, horizon, num_components = shape
        size = horizon * num_components
        if size > len(self.factor) or num_components != self.num_components:
            most = (len(self.factor) // self.num_components, self.num_components)
            wanted = (horizon, num_components)
            raise ValueError(f"plans are {wanted} decisions and components, but the noise was fitted to {most}; fit longer sequences")
        white = torch.randn((num_candidates, size), generator=generator, dtype=like.dtype, device=like.device)
        return (white @ self.factor[:size, :size].to(like).T).unflatten(1, (horizon, num_components))
