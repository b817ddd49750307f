import json
import logging
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import torch

from worldline.scale import list_checkpoints, load_latest, refuse_pickles, save_checkpoint

STATE = {"step": 3, "window": [0.1, 1e-300], "name": "run"}


def tensors(seed: int = 0, size: int = 1000) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(size, 4, generator=generator)
    return {
        "weights": weights,
        "tied": weights,
        "column": weights[:, 1],
        "half": weights.bfloat16(),
        "count": torch.tensor(3.0),
        "random": torch.arange(7, dtype=torch.uint8),
        "nothing": torch.zeros(0, 2),
    }


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert torch.equal(tensor, second[name]), name


def test_what_is_saved_comes_back_to_the_bit(tmp_path: Path) -> None:
    saved = tensors()
    path = save_checkpoint(tmp_path, 12, saved, STATE)
    assert path == tmp_path / "step_00000012"
    loaded = load_latest(tmp_path)
    assert loaded is not None
    step, found, state = loaded
    assert step == 12
    assert state == STATE
    assert_equal(saved, found)


def test_a_folder_without_checkpoints_holds_nothing(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "absent") is None
    assert load_latest(tmp_path) is None


def test_the_newest_are_kept_and_a_later_history_is_dropped(tmp_path: Path) -> None:
    for step in (0, 5, 10, 100_000_000):
        save_checkpoint(tmp_path, step, tensors(step), STATE, keep=2)
    assert list(list_checkpoints(tmp_path)) == [10, 100_000_000]
    save_checkpoint(tmp_path, 7, tensors(7), STATE, keep=3)
    assert list(list_checkpoints(tmp_path)) == [7]
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000007"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, tensors(1), STATE)
    save_checkpoint(tmp_path, 5, tensors(2), STATE)
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert_equal(loaded[1], tensors(2))


def truncate(path: Path) -> None:
    os.truncate(path / "tensors.safetensors", 500)


def flip_a_bit(path: Path) -> None:
    data = bytearray((path / "tensors.safetensors").read_bytes())
    data[-100] ^= 1
    (path / "tensors.safetensors").write_bytes(data)


def edit_the_state(path: Path) -> None:
    (path / "state.json").write_text(json.dumps({**STATE, "step": 4}))


def lose_the_state(path: Path) -> None:
    (path / "state.json").unlink()


def lose_the_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def empty_the_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("{}")


def garble_the_manifest(path: Path) -> None:
    (path / "manifest.json").write_bytes(b"\xff\x00[")


def list_as_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        edit_the_state,
        lose_the_state,
        lose_the_manifest,
        empty_the_manifest,
        garble_the_manifest,
        list_as_manifest,
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path, caplog, damage) -> None:
    save_checkpoint(tmp_path, 1, tensors(1), STATE)
    damage(save_checkpoint(tmp_path, 2, tensors(2), STATE))
    with caplog.at_level(logging.WARNING):
        loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded[0] == 1
    assert_equal(loaded[1], tensors(1))
    assert "step_00000002 is damaged" in caplog.text


def test_a_run_whose_every_checkpoint_is_damaged_does_not_start_over_in_silence(tmp_path: Path) -> None:
    for step in (1, 2):
        flip_a_bit(save_checkpoint(tmp_path, step, tensors(), STATE))
    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged .*step_00000002.*step_00000001"):
        load_latest(tmp_path)


def test_what_interrupted_saves_left_is_cleared_away(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors(), STATE)
    for name in ("step_00000002.tmp-77", "step_00000000.tmp-dropped-77"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tensors.safetensors").write_bytes(b"half")
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system has no limit on the size of files")
def test_a_full_disk_is_a_clear_error_and_costs_no_earlier_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tensors(1), STATE)
    save_checkpoint(tmp_path, 2, tensors(2), STATE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))  # files end here, as they would on a full disk
    try:
        with pytest.raises(OSError, match=r"could not write the checkpoint of step 3 .* Earlier checkpoints are untouched"):
            save_checkpoint(tmp_path, 3, tensors(3), STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000001", "step_00000002"]
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded[0] == 2
    assert_equal(loaded[1], tensors(2))


class Payload:
    """Pickled, it creates a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["model.pt", "weights.pth", "state.pkl", "pytorch_model.bin", "last.ckpt", ".metadata"])
@pytest.mark.parametrize("where", [".", "step_00000001"])
def test_pickled_files_are_refused_and_not_executed(tmp_path: Path, name: str, where: str) -> None:
    save_checkpoint(tmp_path / "run", 1, tensors(), STATE)
    mark = tmp_path / "executed"
    pickled = pickle.dumps(Payload(mark))
    pickle.loads(pickled)
    assert mark.exists()  # the payload works
    mark.unlink()
    (tmp_path / "run" / where / name).write_bytes(pickled)
    with pytest.raises(ValueError, match="pickle can run any code"):
        load_latest(tmp_path / "run")
    assert not mark.exists()


def test_refusal_names_the_files(tmp_path: Path) -> None:
    refuse_pickles(tmp_path)
    (tmp_path / "b.pt").touch()
    (tmp_path / "a.pkl").touch()
    with pytest.raises(ValueError, match=r"a\.pkl, b\.pt"):
        refuse_pickles(tmp_path)


def test_arguments_out_of_range_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step is -1"):
        save_checkpoint(tmp_path, -1, {}, {})
    with pytest.raises(ValueError, match="keep is 0"):
        save_checkpoint(tmp_path, 1, {}, {}, keep=0)
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        save_checkpoint(tmp_path, 1, {}, {"position": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("when", ["before the new one takes its place", "after"])
def test_a_death_while_a_step_is_saved_again_costs_nothing(when: str, tmp_path: Path) -> None:
    for step in (1000, 2000):
        save_checkpoint(tmp_path, step, tensors(step), {})
    aside = tmp_path / "step_00002000.aside"
    if when == "after":
        shutil.copytree(tmp_path / "step_00002000", aside)
    else:
        (tmp_path / "step_00002000").rename(aside)
    found = load_latest(tmp_path)
    assert found is not None
    assert found[0] == 2000
    assert_equal(found[1], tensors(2000))
    assert not aside.exists()
