"""MuJoCo: what runs away is an error, and warnings leave no file behind."""

from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="needs the extra sim-mujoco")

from worldline.envs.mujoco_engine import check_physics, load_mujoco

BALL = '<mujoco><worldbody><body><freejoint/><geom size="0.1"/></body></worldbody></mujoco>'


def test_what_runs_away_or_starts_over_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(BALL)
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    check_physics(data, "ball", {})
    data.qpos[0] = 8e4
    mujoco.mj_kinematics(model, data)
    with pytest.raises(FloatingPointError, match=r"ball threw something 8e\+04 m away .*'mass': 3"):
        check_physics(data, "ball", {"mass": 3})
    mujoco.mj_resetData(model, data)
    data.qvel[0] = 1e20
    mujoco.mj_step(model, data)
    with pytest.raises(FloatingPointError, match="diverged"):
        check_physics(data, "ball", {})
    assert not list(tmp_path.iterdir())
