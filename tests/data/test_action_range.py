import torch

from worldline.data.action_range import spec_from_actions


def test_bounds_hold_the_usual_and_ignore_a_glitch() -> None:
    actions = torch.linspace(-1, 1, 10_001)[:, None].repeat(1, 2)
    actions[500, 1] = 1e6
    spec = spec_from_actions(actions, ("steady", "glitch"))
    for low, high in zip(spec.low, spec.high, strict=True):
        assert -1.3 < low < -1
        assert 1 < high < 1.3
    assert spec.names == ("steady", "glitch")


def test_a_component_that_never_moves_gets_room() -> None:
    spec = spec_from_actions(torch.full((50, 1), 2007.0))
    assert (spec.low, spec.high) == ((2006.0,), (2008.0,))


def test_more_actions_than_torch_can_rank() -> None:
    spec = spec_from_actions(torch.linspace(0, 1, 1_000_000)[:, None].expand(-1, 40))
    assert len(spec.low) == 40
    assert spec.high[0] > 0.99
