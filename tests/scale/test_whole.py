"""Text files that appear whole: what was there before stays where the new one cannot be written."""

import os
from pathlib import Path

import pytest

from worldline.scale import read_json, write_whole


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    for text in ('{"a": 1}', '{"a": "é"}'):
        assert write_whole(path, text) == path
        assert path.read_text(encoding="utf-8") == text
    assert read_json(path) == {"a": "é"}
    assert [found.name for found in tmp_path.iterdir()] == ["note.json"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note.json"
    write_whole(path, "before")

    def full(source: Path, text: str, **_: object) -> None:
        os.close(os.open(source, os.O_CREAT | os.O_WRONLY))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "after")
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b'{"fingerprint": "ab', b"\xff\xfe"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"figures\.json is damaged"):
        read_json(tmp_path / "figures.json")
