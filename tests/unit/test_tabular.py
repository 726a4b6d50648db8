"""Tables that are damaged, and columns whose values do not fit."""

import base64
import contextlib
from pathlib import Path

import polars as pl
import pytest

from tunescope.errors import BadInput
from tunescope.table import Table
from tunescope.table import read_parquet as read_table
from tunescope.tabular import prove_parquet, read_csv, read_parquet, typed_columns

# A frame of one column, one byte of whose page makes the native reader ask for more memory than there is.
_ENDS_THE_READER = base64.b85decode(
    "P(e~L6#x}16+SE#e-!`~1{DSX04TLD{U8>x000620009900000008hm000000000$6$%+800tQt0eBS*76=wj7GNd_02v$>2o+!!0000"
    "L0vRkw1afb0bQJ;s6$&K+7y)<y76=&}85|~P92E)~B>)B)7y)<{3>F9$P8MJ$2mlt60TmPg7ETrjCI}W_6aWAj92g8iQc_P>I&))aWo=;"
    "?paCy0FE1}LG(kZ@K}A79K|wfnFE1~6Q9(gLK}A79ML|J9K}$hFb3sEvK}$hFQ9&zEFE1~5cR@ixK}kVDXF)+hK}A79ML|J9K}A79K|w"
    "cAFE1~8K|w)5L1#fhK|x1BK|w)5MMObCK~X_MNkKwEK~X_MML|PBK|w)5cR@ixK|w)KaxX70I72}}SwTW)K}A79ML|J9LNq}^Jv{&zPE"
    "c=bVRCaIC~$dnXm4&QAa-SPb7^mGATlm7E-)Y{Vs&Y3WFR+YIWRI}WHV-FWHL8qW;ilrF*GtaIAJh3VKO;2W@a*GH(_ODIWj3392@`u08R"
    "k_08l|vF#"
)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    frame = pl.DataFrame({"layer": [0, 1, 2], "norm": [0.5, 0.25, 0.125], "name": ["a", "b", "c"]})
    return Table(frame, "norms", {"units": {}}).write_parquet(tmp_path / "t.parquet")


def test_a_native_panic_over_a_damaged_footer_is_bad_input(sound: Path) -> None:
    """Every byte of the footer is changed in turn; polars panics on some of them, in this process."""
    whole = sound.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(start, len(whole) - 8, 3):
        sound.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(BadInput):
            read_table(sound, sealed=True)


@pytest.mark.parametrize("cut", [0, 4, 11, 60, -1])
def test_a_cut_file_is_refused_before_the_native_reader_sees_it(sound: Path, cut: int) -> None:
    sound.write_bytes(sound.read_bytes()[:cut])
    with pytest.raises(BadInput, match="no whole Parquet file"):
        read_parquet(sound)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[1]",
        '{"kind": 1, "meta": {}, "schema_version": 1}',
        '{"kind": "norms"}',
        '{"kind": "norms", "meta": 5}',
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"layer": [0]}).write_parquet(path, metadata={"tunescope": text})
    with pytest.raises(BadInput, match="says about itself"):
        read_table(path)


def test_a_page_that_ends_the_process_that_reads_it_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(_ENDS_THE_READER)
    with pytest.raises(BadInput) as caught:
        read_parquet(tmp_path / "t.parquet", "bad-table")
    assert (caught.value.slug, caught.value.file) == ("bad-table", str(tmp_path / "t.parquet"))


def bomb(path: Path, columns: int) -> Path:
    """Two million rows of one number in so many columns: 16 MB each when read, a kilobyte when stored."""
    numbers = pl.repeat(7, 2_000_000, dtype=pl.Int64, eager=True)
    frame = pl.DataFrame({f"c{number}": numbers for number in range(columns)})
    frame.write_parquet(path, row_group_size=len(numbers))
    return path


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no limit of memory here")
def test_few_bytes_that_state_more_than_a_gibibyte_are_refused_before_they_are_read_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bomb(tmp_path / "t.parquet", 100)
    assert path.stat().st_size < 2**20
    read: list[object] = []
    monkeypatch.setattr("polars.read_parquet", lambda *found, **_: read.append(found))
    with pytest.raises(BadInput, match="out of all proportion") as caught:
        read_parquet(path)
    assert (caught.value.slug, caught.value.file, read) == ("bad-table", str(path), [])


def test_a_table_of_many_equal_rows_is_read(tmp_path: Path) -> None:
    frame, _ = read_parquet(bomb(tmp_path / "t.parquet", 5))
    assert frame.shape == (2_000_000, 5)


def test_of_many_files_the_one_that_ends_its_reader_is_named(sound: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(5)]
    for path in paths:
        path.write_bytes(sound.read_bytes())
    prove_parquet(paths)
    paths[3].write_bytes(_ENDS_THE_READER)
    with pytest.raises(BadInput) as caught:
        prove_parquet(paths)
    assert caught.value.file == str(paths[3])


def test_a_name_with_wildcards_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "a[1]*.csv").write_text("x\n1\n")
    assert read_csv(tmp_path / "a[1]*.csv")["x"].to_list() == [1]


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        (["1", "many"], pl.Float64(), "'many' in row 2"),
        ([1.0, 2.5], pl.Int64(), "2.5 in row 2"),
        ([[1], [2]], pl.Float64(), "in row 1"),
        ([float("nan")], pl.Int64(), "nan in row 1"),
    ],
)
def test_the_first_value_that_does_not_fit_is_named(
    values: list[object], dtype: pl.DataType, found: str
) -> None:
    with pytest.raises(BadInput) as caught:
        typed_columns(pl.DataFrame({"x": values}), {"x": dtype}, "t.csv")
    assert found in str(caught.value.found)


def test_numbers_written_as_text_or_floats_fit_where_they_are_whole() -> None:
    frame = pl.DataFrame({"layer": [0.0, None, 2.0], "norm": ["1.5", None, "2"]})
    typed = typed_columns(frame, {"layer": pl.Int64(), "norm": pl.Float64()}, "t.csv")
    assert typed["layer"].to_list() == [0, None, 2]
    assert typed["norm"].to_list() == [1.5, None, 2.0]
