"""`worldline ingest`, as it is typed."""

import json
from pathlib import Path

import pytest

pytest.importorskip("scenedetect", reason="ingest needs the extra curate")
pytest.importorskip("faiss", reason="ingest needs the extra curate")

from worldline.cli import main
from worldline.data import read_lerobot


def test_a_folder_becomes_a_data_set_with_a_report(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ingest", str(videos), "--out", str(tmp_path / "out"), "--size", "32", "--workers", "1", "--keep-all", "--keep-duplicates"]
    assert main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["num_found"], figures["num_kept"]) == (3, 3)
    assert figures["stage_cpu_seconds"].keys() >= {"decode", "shots", "resize", "filters", "fingerprint", "encode"}
    assert len(list(read_lerobot(tmp_path / "out" / "datasets" / "video"))) == 3
    page = (tmp_path / "out" / "report.html").read_text()
    for anchor in ("totals", "dropped", "scores", "kept", "rejected", "captions", "files"):
        assert f'id="{anchor}"' in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert main(command) == 0
    assert "nothing new in 3 files" in capsys.readouterr().out


def test_mistakes_are_explained(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([str(videos), "--size", "33"], "even"),
        ([str(videos), "--captions", "http://localhost:1"], "go together"),
        ([str(videos), "--workers", "0"], "at least 1"),
    ):
        assert main(["ingest", *words, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
