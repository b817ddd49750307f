"""The rows of an episode are its own, however they lie in the file that it shares with others."""

from pathlib import Path

import pyarrow as pa
import pytest

from worldline.data.lerobot_layout import Dataset, DatasetError, Entry

INFO = {"codebase_version": "v3.0", "fps": 10, "features": {}, "data_path": "data.parquet", "video_path": "video.mp4"}


def rows_of(folder: Path, table: pa.Table, episode: int) -> list[int]:
    (folder / "data.parquet").touch()
    dataset = Dataset(folder, INFO, lambda path, columns: table)
    entry = Entry(index=episode, task=None, data="data.parquet", video="video.mp4", start_seconds=0.0)
    return dataset.rows_of(entry)["value"].to_pylist()


@pytest.mark.parametrize("episodes", [[0, 0, 1, 1, 1, 2], [2, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1]])
def test_rows_are_those_of_the_episode_in_order(tmp_path: Path, episodes: list[int]) -> None:
    pieces = [pa.table({"episode_index": [episode], "value": [number]}) for number, episode in enumerate(episodes)]
    for wanted in range(4):
        expected = [number for number, episode in enumerate(episodes) if episode == wanted]
        assert rows_of(tmp_path, pa.concat_tables(pieces), wanted) == expected


def test_a_table_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="episode_index"):
        rows_of(tmp_path, pa.table({"value": [1]}), 0)
