import io

import numpy as np
import pytest

from worldline.data.sources.labels import LabelError, from_array, from_columns, from_json, from_row, parse_csv


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_a_table_of_one_row_describes_the_clip() -> None:
    labels = from_columns(parse_csv(b"caption,friction,robot,index\nslides,0.25,007,3\n"))
    assert (labels.caption, labels.actions) == ("slides", None)
    assert labels.facts == {"friction": 0.25, "robot": "007"}


def test_columns_go_by_their_names() -> None:
    table = b"t,observation.state.x,state_y,next.reward,gas,brake,on,source,note\n" + b"0,1,2,3,4,5,true,lab,dry\n" * 3
    labels = from_columns(parse_csv(table))
    assert labels.action_names == ("gas", "brake")
    assert labels.states is not None
    assert labels.states.tolist() == [[1, 2]] * 3
    assert labels.rewards is not None
    assert labels.rewards.tolist() == [3] * 3
    assert (labels.source, labels.facts) == ("lab", {"note": "dry", "on": True})


def test_words_become_the_simplest_fact() -> None:
    row = {"a": "3", "b": "0.5", "c": "true", "d": "nan", "e": "", "f": "1e999", "g": ["x", "y"], "h": {"x": 1}, "i": None, "j": "red"}
    assert from_row(row).facts == {"a": 3, "b": 0.5, "c": True, "d": "nan", "f": "1e999", "g": "x, y", "j": "red"}


def test_arrays_are_rows_of_numbers() -> None:
    assert from_array(npy(np.arange(3))).tolist() == [[0], [1], [2]]
    assert from_array(npy(np.ones((2, 3), np.float64))).dtype == np.float32
    for values in (np.ones((2, 2, 2)), np.array([np.nan]), np.array(["a"]), np.zeros((0, 2)), np.array([1e300])):
        with pytest.raises(LabelError):
            from_array(npy(values))
    for content in (b"", b"\x93NUMPY", npy(np.ones(100))[:200], b"\x93NUMPY\x01\x00\x10\x00{'descr': [[[[["):
        with pytest.raises(LabelError):
            from_array(content)


def test_json_is_an_object_or_a_caption() -> None:
    assert from_json(b'"a square"').caption == "a square"
    assert from_json(b'{"prompt": "go", "text": "a square"}').caption == "a square"
    for content in (b"[1]", b"{", b"[" * 100_000, b"\xff"):
        with pytest.raises(LabelError):
            from_json(content)
