"""Labels that do not belong to the frames beside them are refused, put in order, or left out with a reason; never shifted in silence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from worldline.data import DatasetError, LabelError, action_spec_of, read_lerobot, write_lerobot
from worldline.data.folder import read_columns
from worldline.data.inspection.contents import _resized
from worldline.data.lerobot_layout import array_of
from worldline.data.sources import SourceItem
from worldline.data.sources.labels import parse_csv
from worldline.interfaces import Clip


def clip(number: int = 0, **more: Any) -> Clip:
    """Frame t is of brightness 20 t, and its action is t."""
    frames = (torch.arange(10) * 20).view(10, 1, 1, 1).expand(10, 3, 32, 32).to(torch.uint8).contiguous()
    return Clip(frames=frames, rate_hz=10.0, source=f"s{number}", actions=torch.arange(10.0)[:, None], **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_lerobot(tmp_path / "set", [clip(0), clip(1)])
    return tmp_path / "set"


def table_of(root: Path) -> tuple[Path, pa.Table]:
    (path,) = (root / "data").rglob("*.parquet")
    return path, pq.read_table(path)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0]]),
        pa.array([[1.0, 2.0, 3.0], [4.0]]),
        pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
        pa.array([1.0, None]),
        pa.array([1e39, 0.0]),
    ],
)
def test_rows_of_several_lengths_or_none_are_no_matrix(column: pa.Array) -> None:
    with pytest.raises(DatasetError, match="column a"):
        array_of(pa.table({"a": column}), "a")


def test_shuffled_rows_are_put_in_the_order_of_the_frames(root: Path) -> None:
    path, table = table_of(root)
    pq.write_table(table.take(list(range(9, -1, -1)) + list(range(10, 20))), path)
    for found in read_lerobot(root):
        assert found.actions is not None
        assert found.actions[:, 0].tolist() == list(range(10))


def test_an_episode_that_lacks_rows_is_left_out(root: Path) -> None:
    path, table = table_of(root)
    pq.write_table(table.take([0, 1, 2, 5, 6, 7, 8, 9, *range(10, 20)]), path)
    assert len(list(read_lerobot(root))) == 1


def test_whole_numbers_come_back_exactly(tmp_path: Path) -> None:
    steps = torch.arange(10) + 2**24
    write_lerobot(tmp_path / "set", [clip(labels={"step": steps})])
    (found,) = read_lerobot(tmp_path / "set")
    assert torch.equal(found.labels["step"], steps)


def test_an_empty_cell_of_a_table_of_one_column_shifts_no_labels(tmp_path: Path) -> None:
    text = "a\n1\n\n3\n"
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(LabelError, match="blank line before row 2"):
        read_columns(tmp_path / "labels.csv", ["a"])
    with pytest.raises(ValueError, match="blank line before row 2"):
        parse_csv(text.encode())
    (tmp_path / "labels.csv").write_text("a\n1\n3\n\n\n")
    assert read_columns(tmp_path / "labels.csv", ["a"])[:, 0].tolist() == [1, 3]
    assert parse_csv(b"a\n1\n3\n\n\n") == {"a": ["1", "3"]}
    # Of several columns a blank line is no row: some programs write one after each.
    (tmp_path / "labels.csv").write_text("a,b\n\n1,2\n\n3,4\n\n")
    assert read_columns(tmp_path / "labels.csv", ["a"])[:, 0].tolist() == [1, 3]
    assert parse_csv(b"a,b\n\n1,2\n\n3,4\n\n") == {"a": ["1", "3"], "b": ["2", "4"]}


def test_a_number_beyond_float32_is_not_finite(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("a\n1\n1e39\n")
    with pytest.raises(LabelError, match="finite"):
        read_columns(tmp_path / "labels.csv", ["a"])


@pytest.mark.parametrize("stats", [[1], {"min": None, "max": None}, {"min": ["a"], "max": ["b"]}, {"min": [[0, 0]], "max": [1]}])
def test_damaged_statistics_are_named(stats: object, root: Path) -> None:
    (root / "meta" / "stats.json").write_text(json.dumps({"action": stats}))
    with pytest.raises(DatasetError, match=r"statistics|bounds|components"):
        action_spec_of(root)


def test_a_damaged_data_file_costs_its_episodes_alone(root: Path) -> None:
    (root / "meta" / "stats.json").unlink()
    path, _ = table_of(root)
    path.with_name("file-999.parquet").write_bytes(b"junk")
    spec = action_spec_of(root)
    assert spec is not None
    assert spec.high[0] >= 9


@pytest.mark.parametrize("start", [-0.001, float("nan")])
def test_an_episode_that_begins_nowhere_is_left_out(start: float, root: Path) -> None:
    (path,) = (root / "meta" / "episodes").rglob("*.parquet")
    table = pq.read_table(path)
    (name,) = (column for column in table.column_names if column.endswith("from_timestamp"))
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array([start, table[name][1].as_py()])), path)
    assert len(list(read_lerobot(root))) == 1


def test_words_that_no_file_can_hold_are_mended() -> None:
    item = SourceItem(
        key="k", name="caf\udce9.mp4", source="caf\udce9", caption="a \ud83d", path=Path("x"), facts={"id": 10**20, "n": 3, "s": "\ud83d"}
    )
    assert (item.name, item.source, item.caption) == ("caf?.mp4", "caf?", "a ?")
    assert item.facts == {"id": "1" + 20 * "0", "n": 3, "s": "?"}
    assert len(item.labels_key) == 64


def test_a_clip_keeps_everything_but_its_size() -> None:
    whole = clip(states=torch.rand(10, 3), rewards=torch.rand(10))
    small = _resized(whole, 16)
    assert small.frames.shape == (10, 3, 16, 16)
    assert small.states is whole.states
    assert small.rewards is whole.rewards
