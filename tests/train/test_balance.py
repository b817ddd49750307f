import pytest
import torch
from torch import Tensor

from worldline.train.balance import LossBalance


def gradients(balance: LossBalance, **scales: float) -> dict[str, float]:
    """How far the total moves with each term, the terms being scale * 1.0."""
    leaves = {name: torch.tensor(1.0, requires_grad=True) for name in scales}
    balance.total({name: leaf * scales[name] for name, leaf in leaves.items()}).backward()
    return {name: leaf.grad.item() for name, leaf in leaves.items() if leaf.grad is not None}


def settled(balance: LossBalance, terms: dict[str, Tensor]) -> LossBalance:
    for _ in range(2000):
        balance.update(terms)
    return balance


def test_terms_of_unlike_size_weigh_the_same() -> None:
    balance = settled(LossBalance({}, enabled=True), {"large": torch.tensor(1000.0), "small": torch.tensor(0.001)})
    found = gradients(balance, large=1000.0, small=0.001)
    assert found["large"] == pytest.approx(1.0, rel=1e-4)
    assert found["small"] == pytest.approx(1.0, rel=1e-4)


def test_weights_count_after_balancing() -> None:
    balance = settled(LossBalance({"small": 0.25}, enabled=True), {"large": torch.tensor(1000.0), "small": torch.tensor(0.001)})
    assert gradients(balance, large=1000.0, small=0.001)["small"] == pytest.approx(0.25, rel=1e-4)


def test_the_rms_runs_with_a_decay_of_a_hundredth() -> None:
    balance = LossBalance({}, enabled=True)
    balance.update({"first": torch.tensor(3.0), "second": torch.tensor(1.0)})
    balance.update({"first": torch.tensor(5.0), "second": torch.tensor(1.0)})
    assert balance.tensors()["first"].item() == pytest.approx(0.99 * 9 + 0.01 * 25)


def test_before_any_statistics_a_term_is_measured_by_itself() -> None:
    assert gradients(LossBalance({}, enabled=True), first=50.0, second=-2.0) == pytest.approx({"first": 1.0, "second": -1.0})


@pytest.mark.parametrize("enabled", [True, False])
def test_a_single_term_is_left_as_it_is(enabled: bool) -> None:
    balance = settled(LossBalance({}, enabled=enabled), {"only": torch.tensor(40.0)})
    assert gradients(balance, only=40.0) == {"only": 40.0}


def test_switched_off_it_adds_weighted_terms() -> None:
    balance = settled(LossBalance({"second": 2.0}, enabled=False), {"first": torch.tensor(9.0), "second": torch.tensor(1.0)})
    assert gradients(balance, first=9.0, second=1.0) == {"first": 9.0, "second": 2.0}


def test_batches_without_a_label_do_not_inflate_its_term() -> None:
    terms = {"video": torch.tensor(1.0), "reward": torch.tensor(0.0)}
    balance = settled(LossBalance({}, enabled=True), terms)
    assert gradients(balance, video=1.0, reward=0.1)["reward"] == pytest.approx(1.0)  # first label after many batches without
    settled(balance, {"video": torch.tensor(1.0), "reward": torch.tensor(0.1)})
    before = balance.tensors()["reward"]
    balance.update(terms)
    assert torch.equal(balance.tensors()["reward"], before)


@pytest.mark.parametrize("terms", [{}, {"flow": torch.ones(3)}])
def test_what_is_no_loss_is_refused(terms: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="at least one scalar tensor"):
        LossBalance({}, enabled=True).total(terms)
