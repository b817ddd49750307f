"""Operations are counted as the closed form has them."""

import torch

from worldline.dynamics import Dynamics, DynamicsConfig, ShortcutConfig, ShortcutObjective
from worldline.interfaces import Batch
from worldline.recipes.flops import training_flops_per_frame
from worldline.tokenizer import Tokenizer, TokenizerConfig, TokenizerObjective


class Product(torch.nn.Module):
    """A (B, T, 1, 8) latent times a matrix 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(8, 8))

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        assert batch.latents is not None
        return {"square": (batch.latents.flatten(0, 2) @ self.weight).square().mean()}


def test_a_product_and_its_gradient() -> None:
    # Forward 2 x 8 x 8 for each frame, and as much again for the gradient of the weight; latents need none.
    assert training_flops_per_frame(Product(), Batch(latents=torch.randn(3, 5, 1, 8))) == 2 * (2 * 8 * 8)


def test_six_operations_per_weight_and_token() -> None:
    tokenizer = Tokenizer(TokenizerConfig(image_size=32, grid=2, latent_dim=8, width=64, num_layers=2, head_dim=32, window=1))
    batch = Batch(frames=torch.rand(2, 2, 3, 32, 32))
    matrices = sum(value.numel() for name, value in tokenizer.named_parameters() if value.ndim == 2 and "position" not in name)
    found = training_flops_per_frame(TokenizerObjective(tokenizer), batch)
    assert 0.9 < found / (6 * matrices * tokenizer.config.num_tokens) < 1.1


def test_nothing_of_the_model_changes() -> None:
    config = DynamicsConfig(num_tokens=2, latent_dim=4, action_dim=0, width=32, num_layers=2, head_dim=16)
    objective = ShortcutObjective(Dynamics(config), ShortcutConfig(self_after=0, self_share=0.5), None)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    batch = Batch(latents=torch.randn(4, 3, 2, 4))
    state = torch.get_rng_state()
    with_large_steps = training_flops_per_frame(objective, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.parameters())
    objective.config = ShortcutConfig(self_share=0.0)
    assert training_flops_per_frame(objective, batch) < with_large_steps
