import json
import sys
from pathlib import Path

from worldline.train.log import RunLog


def steps_in(folder: Path) -> list[int]:
    return [json.loads(row)["step"] for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_go_on_after_a_crash_without_gap_or_double(tmp_path: Path) -> None:
    with RunLog(tmp_path, "run", step=0, progress=0.0) as log:
        for step in (1, 2, 3, 4):
            log.record(step, step / 10, {"train/loss": 1 / step})
    with (tmp_path / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 5, "train/lo')
    with RunLog(tmp_path, "run", step=3, progress=0.3) as log:
        assert steps_in(tmp_path) == [1, 2, 3]
        log.record(4, 0.4, {"train/loss": 0.5})
        log.record(5, 0.5, {"train/loss": 0.5})
        log.rewind(4)
        log.record(5, 0.5, {"train/loss": 0.25})
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["train/loss"] == 0.25
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_without_a_terminal_it_says_a_line_per_tenth(tmp_path: Path, capsys) -> None:
    with RunLog(tmp_path, "run", step=0, progress=0.0) as log:
        for step in range(1, 1001):
            log.record(step, step / 1000, {"train/loss": 0.5, "train/frames_per_second": 20.0})
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 12
    assert lines[-1] == "run: 100%  step 1000  loss 0.5  frames per second 20"


def test_a_missing_tensorboard_is_said_once_with_what_to_install(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with RunLog(tmp_path, "run", step=0, progress=0.0) as log:
        for step in range(1, 5):
            log.record(step, step / 4, {"train/loss": 0.5})
    assert capsys.readouterr().err.count('pip install "worldline[logs]"') == 1
    assert not (tmp_path / "tensorboard").exists()
