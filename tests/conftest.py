"""What every test can rely on: one thread, a fixed seed, and no network."""

import ipaddress
import os
import socket
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# No deadline: a test never judges wall time. Derandomised: a red run can be repeated.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to other machines fail, so that a test which needs one is seen here and not on a plane."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and not is_local(address[0]):
            raise ConnectionRefusedError(f"tests may not use the network, and this one wants {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


def is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
