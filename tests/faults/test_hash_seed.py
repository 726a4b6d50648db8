"""The order in which Python hashes texts, the zone of the clock and the number of threads: the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunescope.hashes import sha256_of

from .disk.commands import COMMANDS, make_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.mark.parametrize("command", ["norms", "subspace", "check", "verify", "trajectory"])
def test_any_hash_seed_time_zone_and_number_of_threads_give_the_same_bytes(
    inputs: Path, tmp_path: Path, command: str
) -> None:
    written = []
    for seed, zone, threads in (("0", "UTC", "1"), ("1", "Asia/Tokyo", "2"), ("4", "America/Lima", "3")):
        place = tmp_path / seed
        place.mkdir()
        arguments = map(str, COMMANDS[command].arguments(inputs, Path("study")))
        ran = subprocess.run(
            [sys.executable, "-m", "tunescope", *arguments],
            cwd=place,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        written.append(
            {str(p.relative_to(place)): sha256_of(p) for p in place.rglob("*") if p.is_file()}
            | {"stdout": ran.stdout}
        )
    assert written[0] == written[1] == written[2]
