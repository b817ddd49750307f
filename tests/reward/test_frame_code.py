"""A code of frames holds as a sum what latents hold in another way, and comes back from disk as it was."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from worldline.eval.probe import fit_probe
from worldline.interfaces import Batch, Objective, Rollout, State, Trainable
from worldline.reward import FrameCode, FrameCodeConfig, GoalCode, load_frame_code, save_frame_code

CONFIG = FrameCodeConfig(num_tokens=2, latent_dim=3, code_dim=16, width=64, num_layers=1, late_after=200)


def turned(angle: Tensor, generator: torch.Generator) -> Tensor:
    """Latents (..., 2, 3) of a thing turned by `angle` (...): its third and fourth harmonic, no sum of which is its first, and noise."""
    noise = torch.randn(*angle.shape, 2, generator=generator)
    waves = [(3 * angle).sin(), (3 * angle).cos(), noise[..., 0], (4 * angle).sin(), (4 * angle).cos(), noise[..., 1]]
    return torch.stack(waves, dim=-1).unflatten(-1, (2, 3))


@pytest.fixture(scope="module")
def trained() -> FrameCode:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    code = FrameCode(CONFIG)
    optimizer = torch.optim.Adam(code.parameters(), lr=3e-3)
    for _ in range(400):
        start = 6.2832 * torch.rand(128, 1, generator=generator)
        angles = start + 0.1 * torch.randn(128, 2, generator=generator)
        optimizer.zero_grad()
        code.loss(Batch(latents=turned(angles, generator)))["contrast"].backward()
        optimizer.step()
    return code.eval().requires_grad_(False)


def test_a_code_holds_the_angle_as_a_sum(trained):
    assert isinstance(trained, Trainable)
    assert int(trained.updates) == 400
    generator = torch.Generator().manual_seed(1)
    angle = 6.2832 * torch.rand(2000, generator=generator)
    latents, target = turned(angle, generator), torch.stack([angle.sin(), angle.cos()], dim=1)
    assert trained(latents).shape == (2000, 16)
    torch.testing.assert_close(trained(latents).norm(dim=-1), torch.ones(2000))

    def r(features: Tensor) -> float:
        found = fit_probe(features[:1000], target[:1000], 1e-3)(features[1000:])
        return float(torch.corrcoef(torch.stack([found[:, 0], target[1000:, 0].double()]))[0, 1])

    assert abs(r(latents.flatten(1))) < 0.2
    assert r(trained.features(latents)) > 0.9


def test_a_goal_is_nearer_the_less_there_is_to_turn(trained):
    generator = torch.Generator().manual_seed(2)
    goal = turned(torch.tensor(1.0), generator)
    latents = turned(torch.tensor([[4.0, 1.1], [1.0, 1.8], [1.0, 4.0]]), generator)[None].requires_grad_()
    rollout = Rollout(latents=latents, actions=None, state=State(latent=latents[0, :, -1], position=2))
    objective = GoalCode(trained, goal)
    assert isinstance(objective, Objective)
    scores = objective(rollout)
    assert scores[0] > scores[1] > scores[2] >= -2
    assert scores.max() <= 0
    assert torch.autograd.grad(scores.sum(), latents)[0].abs().sum() > 0
    mean = GoalCode(trained, goal, over_time="mean")(rollout)
    torch.testing.assert_close(mean[0], (trained(latents[0, 0]) @ trained(goal) - 1).mean())


def test_a_code_comes_back_from_disk(trained, tmp_path):
    path = save_frame_code(trained, tmp_path / "code.safetensors", tokenizer="abc")
    latents = torch.randn(5, 2, 3)
    again = load_frame_code(path, tokenizer="abc")
    assert torch.equal(again(latents), trained(latents))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    save_frame_code(trained, tmp_path / "half.safetensors", tokenizer="abc", half=True)
    half = load_frame_code(tmp_path / "half.safetensors", tokenizer="abc")
    torch.testing.assert_close(half(latents), trained(latents), atol=0.02, rtol=0)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * path.stat().st_size
    with pytest.raises(ValueError, match="another tokenizer"):
        load_frame_code(path, tokenizer="abd")
    assert not list(tmp_path.glob(".*")), "nothing half written"


def test_what_is_no_code_is_refused(trained, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no frame code"):
        load_frame_code(tmp_path / "none.safetensors", tokenizer="")
    path = save_frame_code(trained, tmp_path / "code.safetensors", tokenizer="")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="can be read"):
        load_frame_code(path, tokenizer="")
    broken = FrameCode(CONFIG)
    broken.out.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        save_frame_code(broken, tmp_path / "nan.safetensors", tokenizer="")
    assert not (tmp_path / "nan.safetensors").exists()


def test_unusable_input_says_what_is_needed(trained):
    with pytest.raises(ValueError, match="temperature is 0"):
        FrameCodeConfig(num_tokens=1, latent_dim=2, temperature=0)
    with pytest.raises(ValueError, match=r"made for \(..., S, C\) = \(2, 3\)"):
        trained(torch.zeros(4, 3, 2))
    for shape in ((1, 2, 2, 3), (4, 1, 2, 3)):
        with pytest.raises(ValueError, match="two or more"):
            trained.loss(Batch(latents=torch.zeros(shape)))
    with pytest.raises(ValueError, match="over_time"):
        GoalCode(trained, torch.zeros(2, 3), over_time="best")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match=r"give the latents \(S, C\)"):
        GoalCode(trained, torch.zeros(2))
