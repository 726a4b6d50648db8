"""Bad sources on the command line: the exit code says the kind, the output stays absent, no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def no_weights(folder: Path) -> None:
    (folder / "README.md").write_text("nothing here")


def web_page(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_text("<!DOCTYPE html><title>Sign in</title>")


def cut_short(folder: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 5)


def broken_link(folder: Path) -> None:
    (folder / "adapter_model.safetensors").symlink_to("../../blobs/gone")


def broken_archive(folder: Path) -> None:
    (folder / "adapters.npz").write_bytes(b"PK\x03\x04" + b"\0" * 40)


def missing(folder: Path) -> None:
    folder.rmdir()


@pytest.mark.parametrize(
    ("spoil", "code", "slug"),
    [
        (no_weights, 3, "no-weights"),
        (web_page, 3, "html-page"),
        (cut_short, 3, "truncated"),
        (broken_archive, 3, "bad-archive"),
        (broken_link, 4, "broken-link"),
        (missing, 4, "not-found"),
    ],
)
def test_bad_source_beside_a_good_one(
    run: Callable[..., Any],
    adapter: Callable[..., Path],
    tmp_path: Path,
    spoil: Callable[[Path], None],
    code: int,
    slug: str,
) -> None:
    good, bad, out = adapter(), tmp_path / "bad", tmp_path / "out"
    bad.mkdir()
    spoil(bad)
    ran = run("norms", f"good={good}", f"bad={bad}", "-o", out)
    assert ran.code == code
    assert f"[{slug}]" in ran.err
    assert str(bad) in ran.err
    assert "Traceback" not in ran.err + ran.out
    assert not out.exists()
