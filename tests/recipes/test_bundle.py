"""A world that comes along: small, the same but for rounding, and found in an installed package."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.recipes.bundle import bundle_world
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig, bundled_worlds

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=16, grid=2, latent_dim=4, width=32, num_layers=1, head_dim=16, window=1),
        dynamics=DynamicsConfig(num_tokens=4, latent_dim=4, action_dim=0, width=32, num_layers=2, head_dim=16, context_frames=4),
        sampler=SamplerConfig(num_steps=1),
        provenance={"seed": 7},
    )
    return World(config).save_pretrained(tmp_path / "source")


def test_it_is_the_same_world_but_for_rounding(source: Path, tmp_path: Path) -> None:
    report = bundle_world(source, tmp_path / "nano")
    assert report.megabytes == pytest.approx((source / "model.safetensors").stat().st_size / 2e6, rel=0.2)
    assert 0 < report.largest_difference < 0.02
    assert report.fingerprint == World.load(tmp_path / "nano").fingerprint() != World.load(source).fingerprint()
    card = (tmp_path / "nano" / "README.md").read_text(encoding="utf-8")
    assert "| seed | 7 |" in card
    assert "rounded to float16" in card


def test_what_is_too_large_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the most is 0\.001 MB"):
        bundle_world(source, tmp_path / "nano", most_megabytes=0.001)
    assert not (tmp_path / "nano").exists()


@pytest.mark.parametrize("name", sorted(bundled_worlds()))
def test_what_comes_along_is_small_and_loads(name: str) -> None:
    world = World.load(name)
    assert World.load(f"worldline/{name}").fingerprint() == world.fingerprint()
    assert (bundled_worlds()[name] / "model.safetensors").stat().st_size <= 20e6
    assert world.config.figures, "a world that comes along says how good it is"


def test_an_installed_package_brings_its_worlds(source: Path, tmp_path: Path) -> None:
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("building a wheel here needs setuptools 77, as pyproject.toml asks")
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "src" / "worldline", tree / "src" / "worldline", ignore=shutil.ignore_patterns("__pycache__", "worlds"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    bundle_world(source, tree / "src" / "worldline" / "worlds" / "nano")
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=tree, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    load = "import worldline; print(worldline.__file__, worldline.World.load('nano').fingerprint())"
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); {load}"]
    said = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    assert Path(said[0]).is_relative_to(tmp_path / "installed")
    assert said[1] == World.load(tree / "src" / "worldline" / "worlds" / "nano").fingerprint()
