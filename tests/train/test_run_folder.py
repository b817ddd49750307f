import json
import subprocess
import sys
from pathlib import Path

import pytest

from worldline.train.run_folder import agree_on_config, locked

GROW, CHANGE = frozenset({"steps", "seconds"}), frozenset({"log"})
HOLD = "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


def agree(folder: Path, **config: object) -> None:
    agree_on_config(folder, config, may_grow=GROW, may_change=CHANGE)


def test_a_run_keeps_the_settings_it_was_begun_with(tmp_path: Path) -> None:
    agree(tmp_path, steps=10, rate=0.1, log=5, weights={"flow": 1.0})
    agree(tmp_path, steps=10, rate=0.1, log=5, weights={"flow": 1.0})
    with pytest.raises(ValueError, match=r"rate was 0.1 and is 0.2; weights was .* Repeat its settings, or give another folder"):
        agree(tmp_path, steps=10, rate=0.2, log=5, weights={"flow": 2.0})
    assert json.loads((tmp_path / "config.json").read_text())["rate"] == 0.1


def test_a_run_may_be_prolonged_but_not_shortened(tmp_path: Path) -> None:
    agree(tmp_path, steps=10, seconds=5.0, log=5)
    agree(tmp_path, steps=20, seconds=None, log=1)
    assert json.loads((tmp_path / "config.json").read_text()) == {"steps": 20, "seconds": None, "log": 1}
    with pytest.raises(ValueError, match=r"seconds was None and is 9.0 \(it may only grow\); steps was 20 and is 19"):
        agree(tmp_path, steps=19, seconds=9.0, log=1)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is training in"), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):
        pass


def test_a_folder_with_pickles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="refused"), locked(tmp_path):
        pass
