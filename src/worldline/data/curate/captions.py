"""Words for clips that came without any, from a vision model behind an OpenAI-style HTTP endpoint. Off unless an endpoint is named.

What leaves this machine: a few frames of each clip and the question, to the endpoint that was named and nowhere else (redirects are
not followed).

May import: cv2, the standard library. Refuses to know: which model answers, where captions are kept.
"""

import json
import os
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KEY_VARIABLE = "WORLDLINE_CAPTION_KEY"
"""Environment variable whose value is sent as bearer token; settings are written to disk, so the key is none of them."""

_MAX_ANSWER_BYTES = 1 << 20
_MAX_CAPTION_CHARACTERS = 1000
_RETRY_STATUS = (429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionConfig:
    """Whom to ask and what.

    Attributes:
        endpoint: the address up to and without `/chat/completions`, such as http://localhost:8000/v1.
        model: its name, as the endpoint knows it.
        prompt: the question.
        num_frames: frames of each clip that are shown, in order.
        max_tokens: of the answer.
        timeout_seconds: per request.
        num_attempts: requests per clip before it stays without a caption.
        retry_seconds: waited after the first that failed; twice as long after each further one.
    """

    endpoint: str
    model: str
    prompt: str = "These are frames of one short video, in order. Say in one sentence what is seen and what happens."
    num_frames: int = 4
    max_tokens: int = 96
    timeout_seconds: float = 60.0
    num_attempts: int = 3
    retry_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"the caption endpoint is {self.endpoint!r}; give an address such as http://localhost:8000/v1")
        if not self.model:
            raise ValueError("no caption model was named; give the name that the endpoint knows it by")


class CaptionError(ValueError):
    """No usable answer; the message says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:  # noqa: PLR0917 - the library's
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def caption(frames: Sequence[np.ndarray], config: CaptionConfig) -> str:
    """One line about frames (H, W, 3) uint8, RGB.

    Raises:
        CaptionError: if the endpoint does not answer, or answers something else than a chat completion.
    """
    body = {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "temperature": 0,
        "messages": [{"role": "user", "content": [{"type": "text", "text": config.prompt}, *(_as_part(frame) for frame in frames)]}],
    }
    answer = _post(f"{config.endpoint.rstrip('/')}/chat/completions", json.dumps(body).encode(), config)
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
        line = " ".join(text.split())[:_MAX_CAPTION_CHARACTERS]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise CaptionError(f"{config.endpoint}: the answer is no chat completion ({type(error).__name__}: {error})") from error
    if not line:
        raise CaptionError(f"{config.endpoint}: the answer is empty")
    return line


def _post(url: str, body: bytes, config: CaptionConfig) -> bytes:
    headers = {"Content-Type": "application/json"}
    if os.environ.get(KEY_VARIABLE):
        headers["Authorization"] = f"Bearer {os.environ[KEY_VARIABLE]}"
    for attempt in range(config.num_attempts):
        reason = ""
        try:
            request = urllib.request.Request(url, body, headers)
            with _opener.open(request, timeout=config.timeout_seconds) as response:
                return response.read(_MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            error.close()
            if error.code not in _RETRY_STATUS:
                raise CaptionError(f"{url}: {reason}") from error
        except (OSError, ValueError) as error:
            reason = str(error)
        if attempt + 1 < config.num_attempts:
            time.sleep(config.retry_seconds * 2**attempt)
    raise CaptionError(f"{url}: no answer after {config.num_attempts} attempts ({reason})")


def _as_part(frame: np.ndarray) -> dict[str, Any]:
    import cv2  # noqa: PLC0415 - optional

    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"}}
