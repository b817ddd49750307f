"""The whole of ingest on a few small videos: what comes out, what is done twice, what nothing depends on."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

pytest.importorskip("scenedetect", reason="ingest needs the extra curate")
pytest.importorskip("faiss", reason="ingest needs the extra curate")

from worldline.data import read_lerobot
from worldline.data.ingest import IngestConfig, execute, ingest
from worldline.data.ingest.remote import execute_on_ray
from worldline.data.sandbox import Sandbox, SandboxLimits
from worldline.data.sources import Rejection, SourceItem

_spec = importlib.util.spec_from_file_location("pile", Path(__file__).parent / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
pile = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pile)
CONFIG: IngestConfig = pile.CONFIG


def run(items: list[SourceItem], out: Path, config: IngestConfig = CONFIG, *, num_workers: int = 1) -> dict:
    return ingest(items, out, config, num_workers=num_workers).figures


def test_a_pile_becomes_data_sets(items: list[SourceItem], tmp_path: Path) -> None:
    result = ingest([*items, Rejection(name="x.mp4", reason="a bad day")], tmp_path / "out", CONFIG, num_workers=1)
    figures = result.figures
    assert (figures["num_found"], figures["num_new"], figures["num_rejected"], figures["num_kept"]) == (4, 4, 1, 4)
    assert figures["groups"] == {"video": 3, "actions_2_rewards": 1}
    assert result.rejections == {"x.mp4": "a bad day"}
    plain = list(read_lerobot(tmp_path / "out" / "datasets" / "video"))
    assert sorted(clip.source for clip in plain) == ["0", "1", "2"]
    assert {clip.source: clip.text for clip in plain} == {"0": None, "1": None, "2": "a block wanders"}
    for clip in plain:
        assert clip.actions is None
        assert (tuple(clip.frames.shape), clip.rate_hz) == ((15, 3, 32, 32), 10.0)
        assert float(clip.facts["score.motion"]) > 0
        assert clip.facts["original_width"] == 64
    (site,) = [clip.facts["site"] for clip in plain if "site" in clip.facts]
    assert site == "north"
    (labelled,) = read_lerobot(tmp_path / "out" / "datasets" / "actions_2_rewards")
    assert labelled.actions is not None
    assert labelled.rewards is not None
    # From 20 Hz to 10 Hz: actions of the frames that were kept, rewards of all added up.
    rows = labelled.actions[:, 0]
    assert torch.equal(labelled.actions[:, 1], -rows)
    assert set((rows[1:] - rows[:-1]).tolist()) <= {1.0, 2.0, 3.0}
    assert torch.equal(labelled.rewards[1:], rows[1:] - rows[:-1])
    clips = pq.read_table(tmp_path / "out" / "datasets" / "clips.parquet")
    assert clips["verdict"].to_pylist() == ["kept"] * 4
    assert "score.sharpness" in clips.column_names


def test_the_second_run_does_nothing_and_new_files_cost_themselves(items: list[SourceItem], tmp_path: Path) -> None:
    first = run(items[:2], tmp_path)
    before = {path: path.stat().st_mtime_ns for path in pile.results_in(tmp_path)}
    again = ingest(items[:2], tmp_path, CONFIG, num_workers=1)
    assert (again.entries, again.figures["num_new"], again.figures["hash"]) == (None, 0, first["hash"])
    more = run(items[2:], tmp_path)
    assert (more["num_new"], more["num_files"]) == (2, 4)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert more["hash"] == run(items, tmp_path / "at_once")["hash"]


def test_neither_order_nor_workers_nor_copies_matter(items: list[SourceItem], tmp_path: Path) -> None:
    expected = run(items, tmp_path / "a")["hash"]
    assert run(items[::-1], tmp_path / "b", num_workers=3)["hash"] == expected
    assert run([*items, items[0]], tmp_path / "c", num_workers=2)["hash"] == expected
    files = [
        sorted((path.name, path.read_bytes()) for path in (tmp_path / name / "datasets").resolve().rglob("*") if path.is_file())
        for name in "abc"
    ]
    assert files[0] == files[1] == files[2]


def test_another_setting_is_another_result(items: list[SourceItem], tmp_path: Path) -> None:
    first = run(items[:1], tmp_path)["hash"]
    other = replace(CONFIG, curate=replace(CONFIG.curate, rate_hz=5.0))
    changed = run(items[:1], tmp_path, other)
    assert (changed["num_new"], changed["hash"] != first) == (1, True)
    assert run(items[:1], tmp_path)["hash"] == first


def test_copies_are_dropped_within_and_across_runs(videos: list[Path], tmp_path: Path) -> None:
    from worldline.data import read_video, write_video

    clip = read_video(videos[0])
    write_video(tmp_path / "copy.mp4", (clip.frames.float() / 255 * 0.92), clip.rate_hz, quality=30)
    copy = pile.item_of(tmp_path / "copy.mp4")
    figures = run([pile.item_of(videos[0]), copy, pile.item_of(videos[1])], tmp_path / "within")
    assert figures["verdicts"] == {"kept": 2, "duplicate": 1}
    run([pile.item_of(videos[0])], tmp_path / "across")
    assert run([copy], tmp_path / "across")["verdicts"] == {"kept": 1, "duplicate": 1}
    kept = ingest([copy], tmp_path / "across", replace(CONFIG, duplicates=None), num_workers=1)
    assert kept.figures["verdicts"] == {"kept": 2}


def test_what_cannot_be_read_is_counted_once_and_tried_again_on_request(items: list[SourceItem], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    bad = pile.item_of(tmp_path / "text.mp4")
    result = ingest([*items[:1], bad], tmp_path / "out", CONFIG, num_workers=1)
    assert (result.figures["num_unreadable"], result.figures["num_kept"]) == (1, 1)
    assert "not readable as video" in result.rejections["text.mp4"]
    assert run([*items[:1], bad], tmp_path / "out")["num_new"] == 0
    assert ingest([bad], tmp_path / "out", CONFIG, num_workers=1, retry=True).figures["num_new"] == 1


def test_what_a_busy_machine_did_not_finish_is_no_result(items: list[SourceItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(execute, "Sandbox", lambda num_workers: Sandbox(SandboxLimits(cpu_seconds=0.1, wall_slack=-300)))  # No patience.
        with pytest.raises(ValueError, match="nothing was kept"):
            ingest(items[:1], tmp_path / "out", CONFIG, num_workers=1)
    assert not list(pile.results_in(tmp_path / "out"))
    assert run(items[:1], tmp_path / "out")["hash"] == run(items[:1], tmp_path / "fresh")["hash"]


def test_labels_that_do_not_fit_drop_the_clip(videos: list[Path], tmp_path: Path) -> None:
    short = pile.item_of(videos[0], actions=np.zeros((5, 2), np.float32))
    broken = pile.item_of(videos[1], actions=np.full((30, 2), np.nan, np.float32))
    result = ingest([short, broken, pile.item_of(videos[2])], tmp_path / "out", CONFIG, num_workers=1)
    assert result.figures["verdicts"] == {"labels": 2, "kept": 1}
    assert result.entries is not None
    few, infinite = sorted(entry.detail for entry in result.entries if entry.detail)
    assert few.startswith("action has 5 rows, the clip needs ")
    assert infinite == "action holds values that are not finite"


def test_damaged_results_are_made_again(items: list[SourceItem], tmp_path: Path) -> None:
    expected = run(items[:2], tmp_path)["hash"]
    path = next(iter(pile.results_in(tmp_path)))
    path.write_bytes(path.read_bytes()[:100])
    ingest(items[2:], tmp_path, CONFIG, num_workers=1)
    run(items, tmp_path)
    assert run(items, tmp_path / "fresh")["hash"] == run(items, tmp_path)["hash"] != expected


def test_a_killed_run_goes_on(items: list[SourceItem], tmp_path: Path) -> None:
    paths = [str(item.path) for item in items[:3]]
    script = (
        "import importlib.util, sys, time\n"
        "spec = importlib.util.spec_from_file_location('pile', sys.argv[1])\n"
        "pile = importlib.util.module_from_spec(spec); spec.loader.exec_module(pile)\n"
        "from pathlib import Path\n"
        "from worldline.data.ingest import ingest\n"
        "def slowly():\n"
        "    for path in sys.argv[3:]:\n"
        "        yield pile.item_of(Path(path)); print('given', flush=True); time.sleep(0.5)\n"
        "ingest(slowly(), sys.argv[2], pile.CONFIG, num_workers=1)\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent / "conftest.py"), str(tmp_path / "killed"), *paths]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(12_000):  # Ten minutes, for a machine on which the libraries alone take one to load.
        if list(pile.results_in(tmp_path / "killed")) or process.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(pile.results_in(tmp_path / "killed"))
    assert not (tmp_path / "killed" / "datasets").exists()
    plain = [pile.item_of(Path(path)) for path in paths]
    resumed = run(plain, tmp_path / "killed")
    assert resumed["num_new"] < 3
    assert resumed["hash"] == run(plain, tmp_path / "whole")["hash"]


def test_two_at_once_and_nothing_kept_are_refused(items: list[SourceItem], tmp_path: Path) -> None:
    def nested() -> list[SourceItem]:
        with pytest.raises(ValueError, match="another ingest is at work"):
            run(items[:1], tmp_path)
        return items[:1]

    def lazily():
        yield from nested()

    ingest(lazily(), tmp_path, CONFIG, num_workers=1)
    with pytest.raises(ValueError, match="nothing was kept"):
        run(items[:1], tmp_path / "none", replace(CONFIG, curate=replace(CONFIG.curate, min_seconds=5.0)))


def test_ray_is_asked_for_by_name_when_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from worldline.data.ingest.work import WorkFolder

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"worldline\[ray\]"):
        execute_on_ray([], WorkFolder(tmp_path, "x"), CONFIG.curate, num_workers=1, address="local", on_done=lambda _name, _reason: None)


def test_of_two_notes_on_one_file_the_later_one_is_believed(videos: list[Path], tmp_path: Path) -> None:
    """A table of actions that was corrected between two runs; which one was first by its hash does not matter."""
    for trial in range(6):
        wrong, right = (pile.item_of(videos[0], actions=np.full((30, 2), value, np.float32)) for value in (trial, 100 + trial))
        for item in (wrong, right):
            result = ingest([item], tmp_path / str(trial), CONFIG, num_workers=1)
        assert result.entries is not None
        actions = [entry.labels.actions for entry in result.entries if entry.labels.actions is not None]
        assert {float(one[0, 0]) for one in actions} == {100.0 + trial}


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_damaged_labels_are_put_again(ending: str, videos: list[Path], tmp_path: Path) -> None:
    item = pile.item_of(videos[0], actions=np.ones((30, 2), np.float32))
    expected = run([item], tmp_path)["hash"]
    (path,) = (tmp_path / "work" / "labels").rglob(f"*.{ending}")
    path.write_bytes(path.read_bytes()[:40])
    run([pile.item_of(videos[1])], tmp_path)  # which goes on without it
    assert run([item, pile.item_of(videos[1])], tmp_path)["hash"] == run([item, pile.item_of(videos[1])], tmp_path / "fresh")["hash"]
    assert run([item], tmp_path / "alone")["hash"] == expected
