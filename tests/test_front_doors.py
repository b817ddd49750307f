"""What packages hand out only when it is asked for: all that they promise, and nothing before."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["worldline", "worldline.data", "worldline.eval"])
def test_every_promised_name_is_there_and_no_other(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


@pytest.mark.parametrize("module", ["worldline.cli", "worldline.data.sandbox", "worldline.data.ingest", "worldline.cli.ingest"])
def test_help_and_ingest_do_not_wait_for_torch(module: str) -> None:
    pytest.importorskip("tyro", reason="the command line needs tyro")
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
