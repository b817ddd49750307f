import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from worldline.train.optimizers import (
    Float32Muon,
    build_optimizers,
    muon_parameters,
    optimizer_tensors,
    orthogonalized,
    restore_optimizers,
    scale_learning_rates,
)


class Input(nn.Linear):
    adamw = True


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Input(48, 64)
        self.hidden = nn.Linear(64, 32)
        self.narrow = nn.Linear(32, 31)
        self.embedding = nn.Embedding(64, 64)
        self.convolution = nn.Conv1d(64, 64, 1)
        self.norm = nn.LayerNorm(64)
        self.tied = nn.Linear(64, 32)
        self.tied.weight = self.hidden.weight
        self.frozen = nn.Linear(64, 64)
        self.frozen.requires_grad_(False)


def build(model: nn.Module, muon_learning_rate: float | None = 2e-3) -> list[torch.optim.Optimizer]:
    return build_optimizers(model, learning_rate=1e-3, muon_learning_rate=muon_learning_rate, weight_decay=0.1)


def test_muon_takes_hidden_matrices_and_adamw_each_other_trainable_parameter() -> None:
    model = Network()
    assert [id(parameter) for parameter in muon_parameters(model)] == [id(model.hidden.weight)]
    adamw, muon = build(model)
    assert isinstance(adamw, AdamW)
    assert isinstance(muon, Muon)
    taken = [id(parameter) for optimizer in (adamw, muon) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(taken) == sorted(id(parameter) for parameter in model.parameters() if parameter.requires_grad)


def test_only_matrices_decay() -> None:
    for group in build(Network())[0].param_groups:
        assert {parameter.ndim >= 2 for parameter in group["params"]} == {group["weight_decay"] > 0}


def test_without_a_rate_for_muon_everything_is_adamws() -> None:
    assert [type(optimizer) for optimizer in build(Network(), None)] == [AdamW]


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        build(nn.Linear(2, 2).requires_grad_(False))


@pytest.mark.parametrize("shape", [(64, 64), (256, 64), (48, 192)])
def test_muons_step_has_the_size_of_adamws(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(*shape, bias=False)
    before = model.weight.detach().clone()
    (muon,) = build_optimizers(model, learning_rate=1.0, muon_learning_rate=0.01, weight_decay=0.0)
    model.weight.grad = torch.randn_like(model.weight) * 1e3
    muon.step()
    root_mean_square = (model.weight.detach() - before).square().mean().sqrt().item()
    assert 0.12 < root_mean_square / 0.01 < 0.28  # about 0.2 of the rate, whatever the shape and the gradient's scale


def test_rates_are_scaled_from_their_peaks() -> None:
    optimizers = build(Network())
    for factor in (0.5, 0.1):
        scale_learning_rates(optimizers, factor)
    assert [group["lr"] for optimizer in optimizers for group in optimizer.param_groups] == pytest.approx([1e-4, 1e-4, 2e-4])


def test_momenta_come_back_by_name_and_later_ones_are_forgotten() -> None:
    model = Network()
    optimizers = build(model)

    def step() -> None:
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
        for optimizer in optimizers:
            optimizer.step()

    step()
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(optimizers, model).items()}
    assert "hidden.weight.momentum_buffer" in saved
    assert "norm.bias.exp_avg_sq" in saved
    step()
    restore_optimizers(optimizers, model, saved)
    found = optimizer_tensors(optimizers, model)
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], saved[name]) for name in saved)
    restore_optimizers(optimizers, model, {})
    assert not optimizer_tensors(optimizers, model)


@pytest.mark.parametrize("shape", [(64, 64), (128, 48), (48, 128)])
def test_muon_in_float32_is_torchs_up_to_rounding_and_shares_its_state(shape: tuple[int, int]) -> None:
    start, gradients = torch.randn(shape), torch.randn(5, *shape)
    found = []
    for kind in (Muon, Float32Muon):
        weight = nn.Parameter(start.clone())
        optimizer = kind([weight], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        found.append((weight.detach() - start, optimizer.state[weight]))
    (expected, torchs), (moved, ours) = found
    assert (moved - expected).norm() < 0.02 * expected.norm()
    assert torchs.keys() == ours.keys()
    assert torch.allclose(torchs["momentum_buffer"], ours["momentum_buffer"], atol=1e-6)


def test_an_orthogonalized_matrix_has_singular_values_near_one_and_its_own_vectors() -> None:
    matrix = torch.randn(40, 96)
    found = orthogonalized(matrix, (3.4445, -4.775, 2.0315), 5, 1e-7)
    assert 0.5 < torch.linalg.svdvals(found).min() < torch.linalg.svdvals(found).max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    seen = left.T @ found @ right.T
    assert (seen - seen.diag().diag()).abs().max() < 1e-4


@pytest.mark.parametrize("is_fast", [True, False])
def test_where_bfloat16_is_emulated_muon_runs_in_float32(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worldline.train.optimizers.fast_bfloat16", lambda device: is_fast)
    assert type(build(Network())[1]) is (Muon if is_fast else Float32Muon)
