"""The demo from end to end on a budget of seconds: real simulator, real training, a page that holds what it says."""

import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
import torch

from worldline.control import CEMConfig
from worldline.data import EpisodeStore, VideoError, read_video, write_video
from worldline.recipes.demo import DemoConfig, DemoResult, demo_recipe, run_demo, run_folder
from worldline.world import World

SECTIONS = ["summary", "video", "error", "actions", "agent", "gradients", "planning", "facts"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DemoConfig:
    return DemoConfig(
        out=tmp_path_factory.mktemp("demo") / "out",
        minutes=0.05,
        num_workers=1,
        num_threads=1,
        num_episodes=12,
        episode_frames=16,
        image_size=32,
        num_windows=4,
        num_plans=1,
        planning_steps=6,
        planner=CEMConfig(horizon=2, num_candidates=4, num_iterations=1, num_elites=2),
        bundled=None,
    )


@pytest.fixture(scope="module")
def result(config: DemoConfig) -> DemoResult:
    (config.out / "media").mkdir(parents=True)
    (config.out / "media" / "user.mp4").write_bytes(b"of an earlier demo")
    return run_demo(config)


def sections(page: Path) -> list[str]:
    return re.findall(r'<section id="([^"]+)">', page.read_text(encoding="utf-8"))


def check_media(page: Path) -> set[str]:
    """Names of the videos on a page; each must be there and decode."""
    names = re.findall(r'<video [^>]*src="([^"]+)"', page.read_text(encoding="utf-8"))
    for name in names:
        assert len(read_video(page.parent / name)) > 1
    return set(names)


def test_the_page_is_complete(result: DemoResult, config: DemoConfig) -> None:
    assert result.page == config.out / "index.html"
    assert sections(result.page) == SECTIONS
    assert check_media(result.page) == {"media/rollouts.mp4", "media/planned.mp4"}
    assert not (config.out / "media" / "user.mp4").exists()
    text = result.page.read_text(encoding="utf-8")
    assert text.count("<svg viewBox") - text.count('class="key"') == 4
    assert not re.search(r"\bnan\b|\binf\b", text)


def test_figures_are_those_on_the_page(result: DemoResult, config: DemoConfig) -> None:
    figures = json.loads((config.out / "figures.json").read_text(encoding="utf-8"))
    assert figures == result.figures
    text = result.page.read_text(encoding="utf-8")
    assert f"{figures['rollouts']['mean_gain_db']:+.2f} dB" in text
    assert f"{figures['rollouts']['shuffled_action_ratio']:.2f} [" in text
    assert f"{figures['world']['num_parameters']:,}" in text
    for row in figures["gradients"]["rows"]:
        assert f"{row['analytic']:+.6e}" in text
    for verdict in figures["verdicts"]:
        assert f"<td>{escape(verdict['question'])}</td>" in text
    num_missed = sum(not verdict["met"] for verdict in figures["verdicts"])
    assert text.count('<td class="missed">missed</td>') == num_missed
    assert num_missed > 0, "seconds of training cannot meet every bar"
    assert f"{num_missed} of 7 bars are missed" in text
    assert "does not beat copying the last frame at frame 1" in text


def test_gradients_are_right_even_of_a_world_that_is_not(result: DemoResult) -> None:
    assert result.figures["gradients"]["num_frames"] == 8
    assert result.figures["gradients"]["worst_relative_error"] <= 1e-5


def test_the_world_is_saved_with_its_figures(result: DemoResult) -> None:
    world = World.load(result.world)
    assert world.fingerprint() == result.figures["world"]["fingerprint"]
    questions = {verdict["question"] for verdict in result.figures["verdicts"]}
    assert world.config.figures.keys() == questions
    assert "Gradients agree with finite differences" in (result.world / "README.md").read_text(encoding="utf-8")


def test_again_with_a_video_reuses_data_and_training(result: DemoResult, config: DemoConfig, tmp_path: Path) -> None:
    video = tmp_path / "my <b>scene.mp4"
    write_video(video, torch.rand(40, 3, 24, 40), rate_hz=10)
    logs = {path: path.stat().st_mtime_ns for path in config.out.glob("**/metrics.jsonl")}
    assert len(logs) == 2, "tokenizer and dynamics"

    again = run_demo(replace(config, video=video))

    assert {path: path.stat().st_mtime_ns for path in config.out.glob("**/metrics.jsonl")} == logs
    assert len(list((config.out / "data").iterdir())) == 1
    for name in ("world", "rollouts", "agent", "steered", "gradients", "planning", "verdicts"):
        assert again.figures[name] == result.figures[name], name
    assert sections(again.page) == [*SECTIONS[:-1], "user-video", SECTIONS[-1]]
    assert "media/user.mp4" in check_media(again.page)
    user = again.figures["user_video"]
    assert (user["source_size"], user["prompt_frames"], user["known_frames"]) == ([24, 40], 4, 6)
    assert len(user["psnr_db"]) == len(user["copy_last_psnr_db"]) == 6
    text = again.page.read_text(encoding="utf-8")
    assert "my &lt;b&gt;scene.mp4" in text
    assert "<b>" not in text
    assert "only ever seen Push-T" in text


def test_an_unreadable_video_is_told_before_any_work(config: DemoConfig, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    for video in (broken, tmp_path / "absent.mp4"):
        with pytest.raises(VideoError, match=re.escape(str(video))):
            run_demo(replace(config, out=tmp_path / "out", video=video))
    assert not (tmp_path / "out").exists()


def test_other_settings_are_another_run(result: DemoResult, config: DemoConfig) -> None:
    train_set = EpisodeStore.open(next((config.out / "data").iterdir()))
    recipe = demo_recipe(config.minutes, image_size=config.image_size)
    folders = {
        run_folder(config, recipe, train_set),
        run_folder(replace(config, seed=1), recipe, train_set),
        run_folder(replace(config, minutes=1.0), recipe, train_set),
        run_folder(config, replace(recipe, max_steps=16), train_set),
        run_folder(config, recipe, train_set.split_by_source(0.5)[0]),
    }
    assert len(folders) == 5
    assert run_folder(replace(config, video=Path("x.mp4"), num_windows=9), recipe, train_set) in folders


def test_the_budget_is_shared_out() -> None:
    recipe = demo_recipe(8.0)
    seconds = [recipe.tokenizer_training.duration_seconds, recipe.dynamics_training.duration_seconds]
    assert sum(value for value in seconds if value is not None) == pytest.approx(8 * 60)


@pytest.mark.parametrize(
    ("name", "value"), [("minutes", 0.0), ("minutes", float("nan")), ("num_episodes", 3), ("planning_steps", 1), ("seed", -1)]
)
def test_senseless_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        replace(DemoConfig(), **{name: value})


def test_the_command_is_quoted() -> None:
    assert DemoConfig(out=Path("my demo"), video=Path("a'b.mp4")).command == (
        "worldline demo --out 'my demo' --minutes 7 --seed 0 --video 'a'\"'\"'b.mp4'"
    )


def test_a_world_that_comes_along_plays_the_first_act(result: DemoResult, config: DemoConfig, tmp_path: Path) -> None:
    bundled = World.load(result.world).save_pretrained(tmp_path / "nano", half=True)
    out = run_demo(replace(config, bundled=bundled))
    assert sections(out.page) == ["first-act", *SECTIONS]
    assert {"media/first_rollout.mp4", "media/first_plan.mp4"} <= check_media(out.page)
    assert out.figures["first_act"]["planning"]["num_actions"] == 10
    assert out.figures["rollouts"] == result.figures["rollouts"]
