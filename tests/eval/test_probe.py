"""Linear probes on features that hold the answer, hide it, or hold it only for episodes that were seen."""

import pytest
import torch

from worldline.eval.probe import cross_probe, fit_probe, fold_of


def rows(num_episodes: int = 20, length: int = 15) -> tuple[torch.Tensor, torch.Tensor]:
    episodes = torch.arange(num_episodes).repeat_interleave(length)
    return torch.randn(len(episodes), 3, dtype=torch.float64), episodes


def correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([x, y]))[0, 1])


def test_what_the_features_contain_is_found():
    state, episodes = rows()
    mixed = torch.cat([state @ torch.randn(3, 8, dtype=torch.float64), torch.randn(len(state), 4, dtype=torch.float64)], dim=1)
    found = cross_probe(mixed, state, episodes)
    for component in range(3):
        assert correlation(found.predicted[:, component], state[:, component]) > 0.9999


def test_more_features_than_rows_are_no_trouble():
    state, episodes = rows(10, 4)
    wide = (
        torch.cat([state, 0.01 * torch.randn(len(state), 200, dtype=torch.float64)], dim=1)
        @ torch.linalg.qr(torch.randn(203, 203).double())[0]
    )
    tall, dual = fit_probe(state, state, 0.1), fit_probe(wide, state, 0.1)
    assert tall.weight.shape == (3, 3)
    assert dual.weight.shape == (203, 3)
    assert correlation(dual(wide)[:, 0], state[:, 0]) > 0.9
    assert len(cross_probe(wide, state, episodes).probes) == 5


def test_what_the_features_do_not_contain_is_not_found():
    state, episodes = rows(40)
    found = cross_probe(torch.randn(len(state), 6), state, episodes)
    assert abs(correlation(found.predicted[:, 0], state[:, 0])) < 0.15


def test_an_episode_is_never_predicted_from_itself():
    """Features that only name the episode foretell a value of the episode perfectly, if the episode was seen."""
    _, episodes = rows()
    names = torch.eye(20)[episodes]
    of_episode = torch.randn(20, 1, dtype=torch.float64)[episodes]
    assert correlation(fit_probe(names, of_episode, 1e-4)(names)[:, 0], of_episode[:, 0]) > 0.99
    assert correlation(cross_probe(names, of_episode, episodes).predicted[:, 0], of_episode[:, 0]) < 0.3
    folds = fold_of(episodes)
    assert all(len(folds[episodes == episode].unique()) == 1 for episode in range(20))


def test_few_episodes_are_refused():
    state, episodes = rows(9)
    with pytest.raises(ValueError, match="10 episodes or more, got 9"):
        cross_probe(state, state, episodes)
