"""Captions from a real HTTP server of our own: asked once, kept, and failures counted."""

import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scenedetect", reason="ingest needs the extra curate")
pytest.importorskip("faiss", reason="ingest needs the extra curate")

from worldline.data import read_lerobot
from worldline.data.curate.captions import KEY_VARIABLE, CaptionConfig, CaptionError, caption
from worldline.data.curate.config import CurateConfig
from worldline.data.ingest import IngestConfig, ingest
from worldline.data.sources import SourceItem


class Endpoint(ThreadingHTTPServer):
    """Answers as vision endpoints do; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.answers: list[tuple[int, bytes]] = []  # given before the usual one
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Endpoint  # ty: ignore[incompatible-mutable-override]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            usual = json.dumps({"choices": [{"message": {"content": " a block\nwanders "}}]}).encode()
            status, answer = self.server.answers.pop(0) if self.server.answers else (200, usual)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def config_for(endpoint: Endpoint, **changes: Any) -> CaptionConfig:
    return CaptionConfig(
        endpoint=f"http://127.0.0.1:{endpoint.server_port}/v1", model="seer", timeout_seconds=30, retry_seconds=0.01, **changes
    )


FRAMES = [np.full((16, 16, 3), (250, 10, 10), np.uint8)] * 2


def test_frames_and_question_arrive_and_the_answer_is_one_line(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert caption(FRAMES, config_for(endpoint, prompt="What?")) == "a block wanders"
    (asked,) = endpoint.asked
    question, *pictures = asked["messages"][0]["content"]
    assert (asked["model"], question["text"], len(pictures)) == ("seer", "What?", 2)
    jpeg = b64decode(pictures[0]["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    blue, green, red = picture[8, 8]
    assert red > 240
    assert blue < 30
    assert green < 30
    assert endpoint.keys == ["Bearer secret"]


def test_a_busy_endpoint_is_asked_again_and_a_refusal_is_not(endpoint: Endpoint) -> None:
    endpoint.answers = [(503, b""), (429, b"")]
    assert caption(FRAMES, config_for(endpoint)) == "a block wanders"
    assert len(endpoint.asked) == 3
    for status, answer, message in (
        (401, b"", "HTTP 401"),
        (302, b"", "HTTP 302"),
        (200, b"{}", "no chat completion"),
        (200, b"<", "no chat"),
    ):
        endpoint.answers = [(status, answer)]
        with pytest.raises(CaptionError, match=message):
            caption(FRAMES, config_for(endpoint))


def test_an_endpoint_that_is_not_there(endpoint: Endpoint) -> None:
    with pytest.raises(CaptionError, match="no answer after 2 attempts"):
        caption(FRAMES, replace(config_for(endpoint, num_attempts=2), endpoint="http://127.0.0.1:1/v1"))
    mistakes: tuple[dict[str, Any], ...] = ({"endpoint": "file:///etc/passwd", "model": "x"}, {"endpoint": "http://x", "model": ""})
    for wrong in mistakes:
        with pytest.raises(ValueError, match="give"):
            CaptionConfig(**wrong)


def test_silent_clips_get_words_once(endpoint: Endpoint, items: list[SourceItem], tmp_path: Path) -> None:
    config = IngestConfig(curate=CurateConfig(size=(32, 32)), captions=config_for(endpoint, num_attempts=1))
    endpoint.answers = [(401, b"")]
    first = ingest(items, tmp_path, config, num_workers=1).figures
    assert (len(endpoint.asked), first["num_without_caption"]) == (3, 1)
    second = ingest(items, tmp_path, config, num_workers=1).figures
    assert (len(endpoint.asked), second["num_without_caption"]) == (4, 0)
    ingest(items, tmp_path, config, num_workers=1)
    assert len(endpoint.asked) == 4
    words = {clip.source: clip.text for clip in read_lerobot(tmp_path / "datasets" / "video")}
    assert words == {"0": "a block wanders", "1": "a block wanders", "2": "a block wanders"}
