"""A point mass that is pushed over a plane and seen as a soft blob: a linear-quadratic world with real pixels.

May import: torch and its sibling in `testing`. Refuses to know: planners, rewards and learned models.

Shapes: B batch, T frames, H height, W width. A latent is two tokens of two channels: position (x, y) and velocity (x, y).
"""

import torch
from torch import Tensor

from worldline.interfaces import Rollout, State
from worldline.testing.linear_quadratic import LinearQuadraticWorld, latents_of

# Whole numbers of 1/255, so that a picture stored in bytes has the same background.
_BLOB_COLOR = (1.0, 0.4, 0.2)
_BACKGROUND_COLOR = (0.2, 0.2, 0.4)


class PointMassWorld(LinearQuadraticWorld):
    """`World` of a 2-D double integrator that is drawn as a Gaussian blob, so pixels have gradients to actions.

        position[t+1] = position[t] + velocity[t] dt + acceleration[t] dt^2 / 2
        velocity[t+1] = velocity[t] + acceleration[t] dt

    The picture shows positions from -1 (left, top) to 1 (right, bottom). Everything `LinearQuadraticWorld` knows in closed form
    holds here, for the cost |position|^2 + 0.1 |velocity|^2 + 0.01 |acceleration|^2 and ten times the state's cost at the end.

    Args:
        step_seconds: dt.
        noise_scale: standard deviation of the noise on each component of position and velocity.
        action_limit: largest acceleration along each direction.
        size: height and width of the picture in pixels.
        blob_radius: standard deviation of the blob, in units of position.
    """

    def __init__(
        self,
        *,
        step_seconds: float = 0.2,
        noise_scale: float = 0.0,
        action_limit: float = 2.0,
        size: int = 32,
        blob_radius: float = 0.15,
    ) -> None:
        eye = torch.eye(2, dtype=torch.float64)
        state_cost = torch.diag(torch.tensor([1.0, 1.0, 0.1, 0.1], dtype=torch.float64))
        super().__init__(
            torch.kron(torch.tensor([[1.0, step_seconds], [0.0, 1.0]], dtype=torch.float64), eye),
            torch.kron(torch.tensor([[step_seconds**2 / 2], [step_seconds]], dtype=torch.float64), eye),
            state_cost=state_cost,
            action_cost=0.01 * eye,
            final_cost=10 * state_cost,
            noise_scale=noise_scale,
            action_limit=action_limit,
            num_tokens=2,
        )
        self.step_seconds = step_seconds
        self.size = size
        self.blob_radius = blob_radius

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """Pixels (..., 3, H, W) in [0, 1] of a state, a rollout or latents (..., 2, 2); velocity cannot be seen in one frame."""
        position = latents_of(source)[..., 0, :]
        weight_x, weight_y = torch.exp(-(((self._grid(position) - position[..., None]) / self.blob_radius) ** 2) / 2).unbind(-2)
        weight = (weight_y[..., :, None] * weight_x[..., None, :])[..., None, :, :]
        background, blob = (position.new_tensor(color)[:, None, None] for color in (_BACKGROUND_COLOR, _BLOB_COLOR))
        return background + weight * (blob - background)

    def prompt(self, video: Tensor, *, actions: Tensor | None = None) -> State:
        """The state behind the last frame of a video: position from the blob's centroid, velocity from the last two frames.

        Args:
            video: (T, 3, H, W) in [0, 1], the blob well inside the picture.
            actions: (T - 1, 2) accelerations that were applied at each frame but the last; zero if None.

        Raises:
            ValueError: if `video` is not (T, 3, H, W) with T >= 1.
        """
        if video.ndim != 4 or video.shape[1:] != (3, self.size, self.size) or not len(video):
            raise ValueError(f"video is {tuple(video.shape)}; give (T, 3, {self.size}, {self.size}) with at least one frame")
        background, blob = (video.new_tensor(color) for color in (_BACKGROUND_COLOR, _BLOB_COLOR))
        red = (video[:, 0] - background[0]) / (blob[0] - background[0])
        grid = self._grid(video)
        mass = red.sum((1, 2))
        positions = torch.stack([(red.sum(1) * grid).sum(1) / mass, (red.sum(2) * grid).sum(1) / mass], dim=-1)
        velocity = torch.zeros_like(positions[-1])
        if len(video) > 1:
            # The mean velocity over the last frame lies half a frame before its end.
            velocity = (positions[-1] - positions[-2]) / self.step_seconds
            if actions is not None:
                velocity = velocity + actions[-1].to(velocity) * self.step_seconds / 2
        return State(latent=torch.stack([positions[-1], velocity])[None], position=len(video))

    def _grid(self, like: Tensor) -> Tensor:
        """Positions (size,) of the centres of the pixels along one side."""
        return (torch.arange(self.size, dtype=like.dtype, device=like.device) + 0.5) / self.size * 2 - 1
