"""Collections: resumable, the same however they were made, and honest about what is missing."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from worldline.data import read_lerobot
from worldline.envs.record import record, simulator_seed
from worldline.recipes.collection import MIXTURE, CollectionPlan, collect, film_episode, read_episode, standard_plans

pytest.importorskip("gym_pusht", reason="the domain that is filmed here needs the extra pusht")

from worldline.envs.push import Push

PLAN = CollectionPlan(domain="push", num_episodes=3, num_frames=4, sizes=(32,), seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished collection."""
    folder = tmp_path_factory.mktemp("collection") / "push"
    done: list[tuple[int, int]] = []
    report = collect(folder, PLAN, num_workers=1, progress=lambda *step: done.append(step))
    assert done == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert report.num_episodes == 3
    assert report.failures == {}
    return folder


def test_it_is_a_data_set_with_a_sheet_and_nothing_else_is_left(folder: Path) -> None:
    clips = list(read_lerobot(folder))
    (expected,) = record(Push(), seed=8, num_frames=4, sizes=(32,))
    assert len(clips) == 3
    assert clips[1].text == expected.text
    assert clips[1].actions is not None
    assert expected.actions is not None
    assert torch.equal(clips[1].actions, expected.actions)
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")
    happened = {name: sum(bool(clip.labels[f"event.{name}"].any()) for clip in clips) for name in Push.event_names}
    assert collect(folder, PLAN).events == happened
    assert [path.name for path in folder.parent.iterdir()] == ["push"]


def test_a_second_call_does_nothing_and_other_options_are_refused(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert collect(folder, PLAN).num_episodes == 3
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(FileExistsError, match="not collected with these options"):
        collect(folder, CollectionPlan(domain="push", num_episodes=4, num_frames=4, sizes=(32,), seed=7))


def test_it_goes_on_where_it_was_broken_off(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "again", PLAN, num_workers=1, progress=broken_off)
    work = tmp_path / ".again.episodes"
    kept = {path: path.stat().st_mtime_ns for path in work.glob("*.safetensors")}
    assert kept
    cut = work / "9.safetensors"
    film_episode(PLAN, 9, cut)
    cut.write_bytes(cut.read_bytes()[:-50])  # as a crash of the machine leaves it
    kept.pop(cut, None)  # it may have been filmed before the break
    with pytest.raises(FileExistsError, match="another plan"):
        collect(tmp_path / "again", CollectionPlan(domain="push", num_episodes=3, num_frames=5, sizes=(32,), seed=7))

    def film_the_rest(*_: object, **__: object) -> Iterator[tuple[int, None]]:
        for seed in range(7, 10):
            path = work / f"{seed}.safetensors"
            if path in kept:
                assert path.stat().st_mtime_ns == kept[path]
            else:
                film_episode(PLAN, seed, path)
                yield seed, None

    # In this process, which is a test of its own: what comes out does not depend on where episodes are filmed.
    monkeypatch.setattr("worldline.recipes.collection.run_in_processes", film_the_rest)
    collect(tmp_path / "again", PLAN)
    for name in ("meta/stats.json", "meta/tasks.parquet", "sheet.png"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_data_set_with_other_episodes_is_never_removed(folder: Path, tmp_path: Path) -> None:
    """As where a run was broken off between two sizes, and an episode that had failed is filmed by the next."""
    shutil.copytree(folder, tmp_path / "push")
    (tmp_path / "push" / "collection.json").unlink()
    plan = replace(PLAN, num_episodes=2)
    (tmp_path / ".push.episodes").mkdir()
    for seed in (7, 8):
        film_episode(plan, seed, tmp_path / ".push.episodes" / f"{seed}.safetensors")
    with pytest.raises(FileExistsError, match="has 3 episodes, and 2 are filmed"):
        collect(tmp_path / "push", plan, num_workers=1)
    assert len(list(read_lerobot(tmp_path / "push"))) == 3
    assert len(list((tmp_path / ".push.episodes").glob("*.safetensors"))) == 2


def test_an_episode_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = CollectionPlan(domain="push", policy="goal", num_frames=5, sizes=(16, 24))
    film_episode(plan, 2, tmp_path / "2.safetensors")
    for size, expected in zip(plan.sizes, record(Push(), seed=2, policy="goal", num_frames=5, sizes=plan.sizes), strict=True):
        clip = read_episode(tmp_path / "2.safetensors", size)
        assert torch.equal(clip.frames, expected.frames)
        assert clip.facts == expected.facts
        assert clip.source == "push/train/goal/2"
        assert all(torch.equal(clip.labels[name], label) for name, label in expected.labels.items())


def test_the_standard_set_has_three_splits_that_share_no_seed() -> None:
    plans = standard_plans("push")
    assert [(plan.split, plan.num_episodes) for plan in plans] == [("train", 1000), ("validation", 100), ("ood", 100)]
    seeds = [simulator_seed(plan.seed + index, plan.split) for plan in plans for index in range(plan.num_episodes)]
    assert len(set(seeds)) == len(seeds)


def test_the_mixture_is_mostly_the_interesting_policy_and_has_them_all() -> None:
    plan = CollectionPlan(domain="push", policy=MIXTURE)
    policies = [plan.policy_of(Push, seed) for seed in range(100)]
    assert policies.count(Push.policy_names[0]) == 80
    assert set(policies) == set(Push.policy_names)


@pytest.mark.parametrize(
    "wrong", [{"num_episodes": 0}, {"num_frames": 1}, {"sizes": ()}, {"sizes": (64, 64)}, {"seed": -1}, {"seed": 2**29 - 1}]
)
def test_plans_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        CollectionPlan(domain="push", **wrong)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose one of push"):
        collect(tmp_path / "out", CollectionPlan(domain="atlantis"))
    with pytest.raises(ValueError, match="choose one of mixture, push"):
        collect(tmp_path / "out", CollectionPlan(domain="push", policy="dance"))


def test_only_some_attributes_may_be_unusual(tmp_path: Path) -> None:
    able = {one.name: one for one in Push.attributes if one.unusual is not None}
    (chosen, *others) = able
    plan = CollectionPlan(domain="push", split="ood", num_frames=2, num_episodes=1, sizes=(16,), unusual=(chosen,))
    film_episode(plan, 0, tmp_path / "0.safetensors")
    facts = read_episode(tmp_path / "0.safetensors", 16).facts
    assert _among(facts[f"attribute.{chosen}"], able[chosen].unusual)
    assert others
    assert all(_among(facts[f"attribute.{name}"], able[name].usual) for name in others)
    with pytest.raises(ValueError, match=f"push has no unusual mood; there are unusual {', '.join(able)}"):
        collect(tmp_path / "none", CollectionPlan(domain="push", split="ood", unusual=("mood",)))
    with pytest.raises(ValueError, match="belongs to the split ood"):
        CollectionPlan(domain="push", unusual=(chosen,))


def _among(value: Any, values: Any) -> bool:
    in_range = isinstance(values, tuple) and all(isinstance(one, float) for one in values)
    return values[0] <= value <= values[1] if in_range else value in values
