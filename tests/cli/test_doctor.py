import json
import sys
from pathlib import Path

import pytest

from worldline.cli import main


def test_a_healthy_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--folder", str(tmp_path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    findings = {finding["name"]: finding for finding in figures["findings"]}
    assert figures["healthy"]
    assert findings["video"]["verdict"] == "ok"
    assert findings["torch"]["detail"][0].isdigit()
    assert {"processor", "memory", "folder", "cuda", "float32", "bfloat16", "pusht", "worlds"} <= findings.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--folder", str(tmp_path / "missing")]) == 1
    shown = capsys.readouterr().out
    assert "BROKEN folder" in shown
    assert "Broken: folder." in shown


def test_a_missing_extra_comes_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    assert main(["doctor", "--folder", str(tmp_path)]) == 0
    assert 'pip install "worldline[pusht]"' in capsys.readouterr().out


def test_a_missing_package_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert main(["doctor", "--folder", str(tmp_path)]) == 1
    assert 'pip install "safetensors"' in capsys.readouterr().out
