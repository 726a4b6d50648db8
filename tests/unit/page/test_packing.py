"""The page's data: what is packed is what comes out, nulls and NaN told apart."""

import numpy as np
import polars as pl
import pytest
from tests.packed import column, frame_of, unpacked

from tunescope.page.packing import NULL_FLOAT, NULL_INT, packed
from tunescope.page.panels import Data


def test_floats_come_back_as_float32_with_nulls_and_nans_told_apart() -> None:
    frame = pl.DataFrame({"x": [0.1, None, float("nan"), float("inf"), -3.5e-20]})
    found = column(packed({}, {"t": Data(frame)}), "t", "x", 4, "<f4")
    assert found[1] == NULL_FLOAT
    assert np.isnan(found[2])
    assert np.isinf(found[3])
    assert found[[0, 4]] == pytest.approx([0.1, -3.5e-20], rel=1e-7)


def test_integers_and_texts_keep_their_nulls() -> None:
    frame = pl.DataFrame({"layer": [3, None, -1], "name": ["b", None, "a"]})
    text = packed({}, {"t": Data(frame)})
    assert column(text, "t", "layer", 4, "<i4").tolist() == [3, NULL_INT, -1]
    assert column(text, "t", "name", 1, "u1").tolist() == [0, 255, 1]
    assert unpacked(text)[0]["data"]["t"]["columns"]["name"]["levels"] == ["b", "a"]


def test_more_texts_than_a_byte_counts_take_two_bytes() -> None:
    frame = pl.DataFrame({"name": [f"n{i}" for i in range(300)]})
    assert column(packed({}, {"t": Data(frame)}), "t", "name", 2, "<u2").tolist() == list(range(300))


def test_an_integer_beyond_int32_is_kept_as_a_float() -> None:
    frame = pl.DataFrame({"numel": [2**40, 1]})
    assert column(packed({}, {"t": Data(frame)}), "t", "numel", 4, "<f4").tolist() == [2.0**40, 1.0]


def test_equal_data_gives_equal_text_and_an_empty_frame_is_no_error() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0]})
    assert packed({"a": 1}, {"t": Data(frame)}) == packed({"a": 1}, {"t": Data(frame.clone())})
    assert unpacked(packed({}, {"t": Data(frame.clear())}))[0]["data"]["t"]["rows"] == 0


def test_a_whole_frame_comes_back() -> None:
    frame = pl.DataFrame({"name": ["b", None, "a"], "layer": [3, None, -1], "x": [0.5, None, 2.0]})
    assert frame_of(packed({}, {"t": Data(frame)}), "t").equals(frame)
