import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from worldline.cli import main
from worldline.data import EpisodeStore
from worldline.recipes import Recipe
from worldline.world import World


def command(videos: Path, out: Path, *more: str, minutes: float = 0.02) -> list[str]:
    words = ["train", str(videos), "--out", str(out), "--size", "nano", "--image-size", "32", "--held-out", "square_2"]
    return [*words, "--minutes", str(minutes), *more]


@pytest.fixture(scope="module")
def run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "mine"
    assert main(command(videos, out)) == 0
    return out


def test_training_leaves_a_world_with_its_figures(run: Path) -> None:
    figures = json.loads((run / "figures.json").read_text())
    world = World.load(run / "world")
    assert world.config.rate_hz == 5
    assert world.fingerprint() == figures["fingerprint"]
    assert figures["held_out"]["sources"] == ["square_2"]
    assert figures["training"]["num_frames"] == 2 * 20
    assert "mean gain over copying the last frame" in world.config.figures
    assert f"{figures['rollouts']['mean_gain_db']:+.2f} dB" in (run / "world" / "README.md").read_text()


def test_the_same_command_again_prints_the_same_figures(run: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = (run / "world" / "model.safetensors").read_bytes()
    assert main(command(videos, run, "--json")) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / "figures.json").read_text())
    assert (run / "world" / "model.safetensors").read_bytes() == weights


def test_the_table_has_the_floors(run: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(videos, run)) == 0
    shown = capsys.readouterr().out
    assert all(floor in shown for floor in ("copy last frame", "random frame", "linear extrapolation"))
    assert "no interval: one held-out episode" in shown


def test_a_run_can_be_predicted_with_by_its_folder(run: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "future.mp4"
    assert main(["predict", str(videos / "square_2.mp4"), "--world", str(run), "--out", str(out)]) == 0
    assert out.is_file()


def test_pushers_may_act_more_often_than_there_are_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gym_pusht")
    filmed: list[EpisodeStore] = []

    def train_and_measure(recipe: Recipe, train: EpisodeStore, *rest: object, **more: object) -> None:
        filmed.append(train)
        raise StopIteration

    monkeypatch.setattr("worldline.cli.train.train_and_measure", train_and_measure)
    words = ["train", "push", "--rate-hz", "5", "--act-hz", "10", "--episodes", "4", "--held-out", "0.5", "--out", str(tmp_path / "run")]
    with pytest.raises(StopIteration):
        main(words)
    (store,) = filmed
    assert store.action_spec is not None
    assert store.action_spec.names == ("target_x", "target_y", "target_x+1", "target_y+1")
    assert {(episode.num_frames, episode.rate_hz) for episode in store.episodes} == {(40, 5.0)}


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ([], (None, None)),
        (["--minutes", "10"], (240, 360)),
        (["--minutes", "10", "--start", "push", "--seed", "1"], (None, 600)),
        (["--minutes", "10", "--start", "push", "--train-tokenizer", "--seed", "1"], (240, 360)),
    ],
)
def test_push_by_steps_ends_by_the_clock_as_well(
    more: list[str], seconds: tuple[float | None, float | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gym_pusht")
    asked: list[Recipe] = []

    def train_and_measure(recipe: Recipe, *rest: object, **more: object) -> None:
        asked.append(recipe)
        raise StopIteration

    monkeypatch.setattr("worldline.cli.train.train_and_measure", train_and_measure)
    films = ["--episodes", "2", "--held-out", "0.5", "--out", str(tmp_path / "run")]
    with pytest.raises(StopIteration):
        main(["train", "push", "--steps", "7", "400", "--windows", "90", "--lr-scale", "0.5", *films, *more])
    (recipe,) = asked
    trainings = recipe.tokenizer_training, recipe.dynamics_training
    assert tuple(training.steps for training in trainings) == (7, 400)
    assert tuple(training.duration_seconds for training in trainings) == seconds
    assert [(training.learning_rate, training.muon_learning_rate) for training in trainings] == [(5e-4, 5e-3), (1e-3, 5e-3)]
    assert (recipe.dynamics_batch, recipe.shortcut.self_after) == ((90, 20), 300)


def test_labelled_videos_make_a_world_that_can_be_steered(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drives, out, film = tmp_path / "drives", tmp_path / "run", str(tmp_path / "future.mp4")
    shutil.copytree(videos, drives)
    for index in range(3):  # at 10 Hz, for a world at 5 Hz: two rows of the file make one action
        rows = [f"{time},{time % 5 - 2},0.5" for time in range(40)]
        (drives / f"square_{index}.csv").write_text("\n".join(["frame,steering,throttle", *rows]))
    assert main(command(drives, out, "--action-columns", "steering", "throttle")) == 0
    assert "shuffled-action ratio" in capsys.readouterr().out
    spec = World.load(out / "world").action_spec
    assert spec is not None
    assert spec.names == ("steering", "throttle", "steering+1", "throttle+1")
    words = ["predict", str(drives / "square_2.mp4"), "--world", str(out), "--out", film, "--json"]
    assert main([*words, "--actions", str(drives / "square_2.csv")]) == 0
    assert json.loads(capsys.readouterr().out)["with_actions"]


def test_a_run_may_go_on_from_another_ones_world(run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "further"
    words = ["train", str(videos), "--out", str(out), "--held-out", "square_2", "--minutes", "0.02", "--start", str(run)]
    assert main(words) == 0
    before, after = World.load(run / "world"), World.load(out / "world")
    assert World.digest(after.tokenizer) == World.digest(before.tokenizer)
    assert after.config.dynamics == before.config.dynamics
    assert before.fingerprint()[:12] in (out / "world" / "README.md").read_text()
    longer = [*words[: words.index("--minutes")], "--minutes", "0.03", *words[words.index("--minutes") + 2 :]]
    assert main(longer) == 0
    assert json.loads((out / "dynamics" / "config.json").read_text())["duration_seconds"] == pytest.approx(1.8)
    assert main(words) == 0, "what has had its time is finished"
    assert main([*words, "--size", "tiny"]) == 2
    assert "holds another run: size was None and is tiny" in capsys.readouterr().err
    assert main([*words[:3], str(tmp_path / "other"), *words[4:], "--size", "tiny"]) == 2
    assert "leave --size away" in capsys.readouterr().err


def test_new_dynamics_may_be_packed(run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "packed"
    words = ["train", str(videos), "--out", str(out), "--held-out", "square_2", "--size", "nano", "--minutes", "0.02", "--packing", "2"]
    assert main([*words, "--new-dynamics"]) == 2
    assert "belongs to --start" in capsys.readouterr().err
    assert main([*words, "--start", str(run)]) == 2
    assert "packing is 2, and the world" in capsys.readouterr().err
    assert main([*words[:-1], "0", "--start", str(run), "--new-dynamics"]) == 2
    assert "packing" in capsys.readouterr().err
    assert main([*words, "--start", str(run), "--new-dynamics"]) == 0
    before, after = World.load(run / "world"), World.load(out / "world")
    assert World.digest(after.tokenizer) == World.digest(before.tokenizer)
    assert after.config.dynamics.packing == 2


def test_mirror_images_are_trained_on_and_not_measured_on(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drives, out = tmp_path / "drives", tmp_path / "run"
    shutil.copytree(videos, drives)
    for index in range(3):
        (drives / f"square_{index}.csv").write_text("\n".join(["frame,steering", *(f"{time},{time % 5 - 2}" for time in range(40))]))
    words = command(drives, out, "--action-columns", "steering")
    assert main([*words, "--mirror", "brake"]) == 2
    assert "no component of the actions is called brake; there is steering" in capsys.readouterr().err
    assert main([*words, "--mirror", "steering"]) == 0
    figures = json.loads((out / "figures.json").read_text())
    once, twice = (EpisodeStore.open(out / name).num_frames for name in ("data", "data_mirrored"))
    assert twice == figures["training"]["num_frames"] == 2 * (once - figures["held_out"]["num_frames"])
    assert main(["train", "push", "--out", str(tmp_path / "push"), "--mirror"]) == 2
    assert "--mirror and --recolor are of recordings" in capsys.readouterr().err


def test_other_colors_are_trained_on_and_not_measured_on(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(videos, tmp_path / "run")
    assert main([*words, "--recolor", "-1"]) == 2
    assert "give the number of copies" in capsys.readouterr().err
    assert main([*words, "--mirror", "--recolor", "2"]) == 0
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    mirrored, more = (EpisodeStore.open(tmp_path / "run" / name).num_frames for name in ("data_mirrored", "data_recolored"))
    assert more == figures["training"]["num_frames"] > 2 * mirrored
    assert main([*words, "--mirror", "--recolor", "1"]) == 2
    assert "recolor was 2 and is 1" in capsys.readouterr().err


def test_a_tokenizer_may_be_trained_on(run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "further"
    words = ["train", str(videos), "--out", str(out), "--held-out", "square_2", "--minutes", "0.02", "--train-tokenizer"]
    assert main(words) == 2
    assert "--train-tokenizer belongs to --start" in capsys.readouterr().err
    assert main([*words, "--start", str(run)]) == 0
    assert World.digest(World.load(out / "world").tokenizer) != World.digest(World.load(run / "world").tokenizer)


@pytest.mark.parametrize("infers", [True, False])
def test_where_some_videos_have_labels_the_card_says_what_became_of_the_others(videos: Path, tmp_path: Path, infers: bool) -> None:
    drives, out = tmp_path / "drives", tmp_path / "run"
    shutil.copytree(videos, drives)
    (drives / "square_0.csv").write_text("\n".join(["frame,steering", *(f"{time},{time % 5 - 2}" for time in range(40))]))
    assert main(command(drives, out, "--action-columns", "steering", *(() if infers else ("--no-infer-labels",)))) == 0
    provenance = World.load(out / "world").config.provenance
    expected = "none: 39 known actions, fewer than 100, teach too little" if infers else None
    assert provenance.get("inferred action labels") == expected


def test_another_command_does_not_go_on_with_the_run(run: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(videos, run, "--seed", "1")) == 2
    assert "seed was 0 and is 1" in capsys.readouterr().err
    assert main(command(videos, run, minutes=1)) == 2
    assert "minutes was" in capsys.readouterr().err, "its tokenizer would be trained on, and its latents be others"


def test_a_command_that_was_refused_can_be_mended(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = command(videos, out)
    assert main([*words[:-4], "--held-out", "nobody", *words[-2:]]) == 2
    assert "no source nobody; the sources are square_0" in capsys.readouterr().err
    assert not (out / "command.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a folder of videos"),
        (["{missing}"], "no such folder"),
        (["{video}"], "give the folder that holds it"),
        (["{videos}", "--recipe", "push"], "films its own"),
        (["push", "--rate-hz", "4"], "10 over a whole number"),
        (["push", "--rate-hz", "5", "--act-hz", "4"], "pushers act at 10 over"),
        (["push", "--rate-hz", "5", "--act-hz", "2.5"], "a whole multiple"),
        (["{videos}", "--act-hz", "10"], "belongs to the recipe push"),
        (["{videos}", "--steps", "1", "2"], "--steps belongs to"),
        (["{videos}", "--windows", "0"], "--windows is 0"),
        (["{videos}", "--lr-scale", "0"], "--lr-scale is 0"),
        (["{videos}", "--lr-scale", "nan"], "--lr-scale is nan"),
        (["{videos}", "--image-size", "50"], "multiple of 16"),
        (["{videos}", "--minutes", "-1"], "positive"),
        (["{videos}", "--rate-hz", "0"], "positive"),
        (["{videos}", "{videos}", "--recipe", "cars"], "takes one folder"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    words: list[str], said: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"missing": tmp_path / "missing", "videos": videos, "video": videos / "square_0.mp4"}
    assert main(["train", *(word.format(**known) for word in words), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_name_that_is_a_recipe_and_a_folder_is_asked_about(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(videos, tmp_path / "push")
    monkeypatch.chdir(tmp_path)
    words = ["--out", "run", "--size", "nano", "--image-size", "32", "--held-out", "square_2", "--minutes", "0.02"]
    assert main(["train", "push", *words]) == 2
    assert f"write --recipe push, or {tmp_path / 'push'}" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "push"), *words]) == 0


def test_sigterm_saves_and_says_so(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    finished = threading.Event()

    def stop() -> None:
        while not (out / "tokenizer" / "metrics.jsonl").is_file() and not finished.is_set():
            time.sleep(0.01)
        if not finished.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # should the signal come too late, the tests live on
    thread = threading.Thread(target=stop)
    try:
        thread.start()
        assert main(command(videos, out, "--json", minutes=5)) == 130
    finally:
        finished.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)
    said = json.loads(capsys.readouterr().out)
    assert said["interrupted"]
    assert "run the same command again to go on" in said["message"]
    assert list((out / "tokenizer" / "checkpoints").iterdir())
