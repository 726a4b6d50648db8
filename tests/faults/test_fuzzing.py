"""A fixed run of the fuzzer, what it found before, and the proof that it would notice a bug.

`make fuzz` goes on for as long as one likes, from another seed each time.
"""

import ast
import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunescope.errors import BadInput
from tunescope.source.tuners import TUNERS

from .fuzz.kinds import KINDS
from .fuzz.methods import OWN
from .fuzz.mutations import Change
from .fuzz.trial import Bench

_SEED, _EACH = 20, 120

# Found by the fuzzer and made as small as they go; each was no answer once.
FOUND = [
    ("norms_csv", Change("bytes", 283390162, 12731270, 974667963)),
    ("norms_parquet", Change("values", 633792732, 199978905, 111747790)),
    ("study_record", Change("bytes", 456505959, 927577796, 710975312)),
    ("study_record", Change("values", 160561116, 740521201, 942860282)),
    ("study_record", Change("values", 719666960, 1025398330, 617834546)),
    ("capture", Change("values", 6935197, 569983307, 235690432)),
    ("capture", Change("values", 27730756, 187484694, 518306742)),
    ("lora_layers", Change("shapes", 177297701, 699132059, 787595519)),
    ("lycoris", Change("shapes", 391220737, 629334803, 1002734185)),
    ("lycoris", Change("shapes", 318484732, 680210108, 16769783)),
    ("torchtune", Change("shapes", 457045679, 785946167, 489385259)),
    ("merged_ia3", Change("shapes", 422320321, 627812899, 42337643)),
    ("packed_weights", Change("header", 61328642, 913920199, 857387902)),
    ("capture_start", Change("header", 938945329, 226190277, 472905293)),
    ("lm_config", Change("values", 295367921, 133558012, 300393631)),
    ("lm_generation", Change("values", 606193325, 425131331, 171869907)),
    ("tokenizer_config", Change("values", 638751871, 122858471, 708189232)),
    ("lm_model_config", Change("values", 816509895, 1017774665, 457207300)),
    ("yaml", Change("odd_tokens", 195042484, 234759370, 466966325)),
    ("merged_dora_config", Change("odd_values", 100658626, 543517449, 683849180)),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_input_is_read_or_refused_with_slug_file_and_expectation(
    tmp_path: Path, kind: str
) -> None:
    bench = Bench(kind, tmp_path)
    found = list(bench.try_some(random.Random(f"{_SEED} {kind}"), max(_EACH // bench.kind.slow, 2)))
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(("kind", "change"), FOUND)
def test_what_had_no_answer_once_has_one(tmp_path: Path, kind: str, change: Change) -> None:
    assert Bench(kind, tmp_path).answer([change]) is None


def test_scales_of_scales_that_are_absent_do_not_end_the_process(tmp_path: Path) -> None:
    changes = [
        Change("shapes", 178995630, 533956342, 636032180), Change("shapes", 621605515, 996477880, 606654491),
    ]  # fmt: skip
    assert Bench("packed_weights", tmp_path).answer(changes) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_input_is_read(tmp_path: Path, kind: str) -> None:
    Bench(kind, tmp_path).read()


def test_adapters_of_every_method_that_is_read_are_damaged() -> None:
    assert {*OWN} == {*TUNERS} - {"LORA"}


# A reader of every container, and the kind of input that goes through it.
READERS = [
    ("tunescope.source.files.container.parse_header", "safetensors"),
    ("tunescope.source.files.container.read_range", "safetensors"),
    ("tunescope.source.files.header._unique", "safetensors"),
    ("tunescope.source.files.npz._tensor", "npz"),
    ("tunescope.source.files.npz.check_members", "npz"),
    ("tunescope.source.files.sharded._check_name", "shard_index"),
    ("tunescope.source.formats.peft_config._check_value", "adapter_config"),
    ("tunescope.source.tuners.lora.terms", "adapter_config"),
    ("tunescope.source.formats.published._typed", "norms_csv"),
    ("tunescope.table._record", "norms_parquet"),
    ("tunescope.source.training_run.read_json", "trainer_state"),
    ("tunescope.corpus.reading._jsonl", "rows_jsonl"),
    ("tunescope.corpus.reading._text_records", "rows_gzip"),
    ("tunescope.cli.configuration._text", "yaml"),
    ("tunescope.corpus.rows._text", "rows_jsonl"),
    ("tunescope.corpus.reading._csv", "rows_csv"),
    ("tunescope.corpus.reading._checked", "rows_json"),
    ("tunescope.source.files.gguf._info", "gguf"),
    ("tunescope.source.files.sharded._read_index", "model_index"),
    ("tunescope.source.pairing._rows", "whole_model"),
    ("tunescope.source.formats.kohya.read_alpha", "kohya"),
    ("tunescope.source.formats.mlx.pair_delta", "npz"),
    ("tunescope.study.state._digest", "importance_state"),
    ("tunescope.study.state._digest", "attribution_state"),
    ("tunescope.writing._taken", "lock"),
    ("tunescope.hashes._parsed", "sidecar"),
    ("tunescope.study.reading.sha256_of", "study_record"),
    ("tunescope.lm.pretrained.refuse_foreign_code", "lm_config"),
    ("tunescope.lm.pretrained.refuse_foreign_code", "tokenizer_config"),
    ("tunescope.lm.pretrained.located", "lm_weights"),
    ("tunescope.source.dequantised._four_bits", "packed_weights"),
    ("tunescope.source.dequantised._eight_bits", "packed_weights"),
    ("tunescope.training.recording.read_parquet", "capture_part"),
    ("tunescope.training.start.read_safetensors", "capture_start"),
    ("tunescope.training.base_losses.read_json", "base_losses"),
    *(
        (f"tunescope.source.tuners.{family}._{part}", f"peft_{method}")
        for method, family, part in (
            ("adalora", "adalora", "delta"), ("c3a", "c3a", "circulant"), ("delora", "delora", "factors"),
            ("fourierft", "spectral", "spectrum"), ("waveft", "spectral", "inverse_haar"),
            ("gralora", "gralora", "blocks"), ("loha", "loha", "pair"), ("lokr", "lokr", "sizes"),
            ("miss", "miss", "factors"), ("pvera", "vera", "factors"), ("vera", "vera", "saved"),
            ("randlora", "randlora", "check"), ("shira", "sparse", "scattered"),
            ("supertuning", "sparse", "super_shape"), ("tinylora", "tinylora", "problem"),
            ("unilora", "unilora", "factors"), ("vblora", "vblora", "mix"),
        )
    ),
]  # fmt: skip
BUGS = [ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, ZeroDivisionError]


@pytest.mark.parametrize(("reader", "kind"), READERS)
def test_a_bug_planted_in_a_reader_is_not_taken_for_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, kind: str
) -> None:
    bench = Bench(kind, tmp_path)
    # What is loaded only now would keep the broken reader beyond this test.
    bench.read()
    for bug in BUGS:

        def broken(*_: Any, raised: type[Exception] = bug, **__: Any) -> None:
            raise raised("planted")

        monkeypatch.setattr(reader, broken)
        finding = bench.answer([])
        assert finding is not None, f"{bug.__name__} was taken for bad input"
        assert finding.raised == f"{bug.__name__}: {bug('planted')}"


def test_a_planted_bug_ends_the_command_with_70(
    run: Callable[..., Any], adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("planted")

    monkeypatch.setattr("tunescope.source.files.container.parse_header", broken)
    ran = run("norms", adapter())
    assert ran.code == 70
    assert "a bug of ours: ValueError: planted" in ran.err


def test_exit_3_without_slug_file_or_expectation_counts_as_uncaught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vague(*_: Any) -> None:
        raise BadInput("vague", "something is wrong", file="x")

    bench = Bench("safetensors", tmp_path)
    monkeypatch.setattr("tunescope.source.files.container.parse_header", vague)
    finding = bench.answer([])
    assert finding is not None
    assert finding.raised == "vague without expected"


def test_every_refusal_of_an_input_says_what_was_expected_and_what_to_do() -> None:
    """Of each refusal of the package, read from its source; the file is known or named by `concerning`."""
    said = {"BadInput": {"expected", "fix"}, "Missing": {"fix"}}
    lacking = [
        f"{path.name}:{node.lineno} {sorted(said[node.func.id] - given)}"
        for path in sorted((Path(__file__).parents[2] / "src" / "tunescope").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in said
        if None not in (given := {keyword.arg for keyword in node.keywords})
        if said[node.func.id] - given
    ]
    assert lacking == []


def test_a_folder_that_may_not_be_entered_is_an_answer_wherever_it_is_met(
    run: Callable[..., Any], adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of others on a shared disk: any look at what lies in them raises."""
    place = adapter()

    def denied(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(place / "theirs"))

    monkeypatch.setattr("tunescope.source.files.container.parse_header", denied)
    ran = run("norms", place)
    assert ran.code == 4
    assert "[denied]" in ran.err
    assert "theirs" in ran.err
