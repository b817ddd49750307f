"""Attempts on disk, with one process and with two."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.eval.suites.control.attempt import Attempt, Shown
from worldline.eval.suites.control.records import Key, Records, Scene

SETUP = {"world": "one"}
SCENE = Scene(environment="slide", protocol="strict", offset=10)
OTHER_PROCESS = """
import sys
from pathlib import Path
from test_records import SETUP, attempt, key
from worldline.eval.suites.control.records import Records

records = Records(Path(sys.argv[1]), SETUP)
with records.claim(key(0), wait=False) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
    records.add(key(0), attempt(num_frames=7))
"""


def key(pair: int) -> Key:
    return Key(scene=SCENE, planner="cem", frame_evaluations=100, seed=0, pair=pair, settings="{}")


def attempt(num_frames: int) -> Attempt:
    return Attempt(
        solved=True, num_frames=num_frames, start_cost=1.0, predicted=(0.5,), realised=(0.6,), seconds=(0.1,), frame_evaluations=100
    )


def test_what_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    records = Records(tmp_path, SETUP)
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with records.claim(key(0), wait=False) as mine:
            assert not mine
        with records.claim(key(1), wait=False) as mine:
            assert mine
        assert records.get(key(0)) is None
        other.communicate("go on\n")
    with records.claim(key(0), wait=True) as mine:
        assert mine
        assert records.get(key(0)) == attempt(num_frames=7)
    assert not list((tmp_path / "claims").iterdir())


def test_a_process_that_dies_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.kill()
    records = Records(tmp_path, SETUP)
    with records.claim(key(0), wait=False) as mine:
        assert mine
    assert records.get(key(0)) is None


def test_a_line_that_was_broken_off_costs_that_attempt_alone(tmp_path: Path) -> None:
    records = Records(tmp_path, SETUP)
    for pair in range(3):
        records.add(key(pair), attempt(num_frames=pair))
    path = tmp_path / "attempts.jsonl"
    path.write_text(path.read_text()[:-20])
    again = Records(tmp_path, SETUP)
    assert again.get(key(1)) == attempt(num_frames=1)
    assert again.get(key(2)) is None
    again.add(key(2), attempt(num_frames=5))
    assert again.get(key(2)) == attempt(num_frames=5)
    assert Records(tmp_path, SETUP).get(key(2)) == attempt(num_frames=5)
    assert Records(tmp_path, SETUP | {"world": "another"}).get(key(1)) is None
    assert json.loads(path.read_text().splitlines()[-1])["attempt"]["num_frames"] == 5


def test_films_of_two_setups_and_settings_are_kept_apart(tmp_path: Path) -> None:
    one, two = Records(tmp_path, SETUP), Records(tmp_path, {"world": "two"})
    other_settings = replace(key(0), settings='{"wider": true}')
    lengths = {(one, key(0)): 5, (one, other_settings): 6, (two, key(0)): 7}
    for (records, of), length in lengths.items():
        size = 8 * length  # another world may have other pictures
        records.add(of, attempt(length), Shown(real=torch.rand(length, 3, size, size), imagined=torch.rand(length, 3, size, size)))
    for (records, of), length in lengths.items():
        film = records.film(of)
        assert film is not None
        assert film.real.shape == (length, 3, 8 * length, 8 * length)


def test_an_attempt_is_kept_though_its_film_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    film = Shown(real=torch.rand(2, 3, 8, 8), imagined=torch.rand(2, 3, 8, 8))
    with pytest.raises(OSError, match="No space"):
        Records(tmp_path, SETUP).add(key(0), attempt(9), film)
    again = Records(tmp_path, SETUP)
    assert again.get(key(0)) == attempt(9)
    assert again.film(key(0)) is None


def test_damaged_lines_and_films_are_passed_over(tmp_path: Path) -> None:
    records = Records(tmp_path, SETUP)
    records.add(key(0), attempt(4), Shown(real=torch.rand(2, 3, 8, 8), imagined=torch.rand(2, 3, 8, 8)))
    (film,) = (tmp_path / "films").glob("*.pt")
    film.write_bytes(film.read_bytes()[:100])
    with (tmp_path / "attempts.jsonl").open("a") as file:
        file.write('7\n[]\n{"setup": 3}\n{"key": "cut')
    records = Records(tmp_path, SETUP)
    assert records.get(key(0)) == attempt(4)
    assert records.film(key(0)) is None
    records.add(key(1), attempt(5))
    assert Records(tmp_path, SETUP).get(key(1)) == attempt(5)
