"""The command line of sweeps: options from three places, refusals, and the two outputs."""

import json

import click
import pytest

from tunescope.cli.configuration import read_config
from tunescope.cli.finetune import parse_domains
from tunescope.demo import model_path
from tunescope.errors import Missing, UsageError


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a in range(5) for b in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_sweep_from_a_file_the_environment_and_flags(run, sums, tmp_path, monkeypatch):
    config = tmp_path / "sweep.yaml"
    config.write_text(
        f"model: {model_path()}\ndata: {{sums: {sums}}}\nquantize: none\nlr: 5e-3\n"
        "rank: 3\nalpha: 5\nmax-steps: 2\nbatch_size: 4\naccumulate: 1\n"
    )
    monkeypatch.setenv("TUNESCOPE_FINETUNE_RANK", "4")
    monkeypatch.setenv("TUNESCOPE_FINETUNE_ALPHA", "6")
    done = run("finetune", "--config", config, "--rank", "2", "-o", tmp_path / "runs", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["schema_version"] == 1
    (record,) = document["runs"]
    settings = record["settings"]
    assert (settings["rank"], settings["alpha"], settings["batch_size"]) == (2, 6.0, 4)
    assert record["run"] == "sums/lr-5e-3/seed-0"
    again = run("finetune", "--config", config, "--rank", "2", "-o", tmp_path / "runs")
    assert again.code == 0
    assert "sums/lr-5e-3/seed-0" in again.out
    assert "skipped" in again.err or "already" in again.err
    other = run("finetune", "--config", config, "--rank", "3", "-o", tmp_path / "runs")
    assert other.code == 2
    assert "rank" in other.err


def test_rates_and_seeds_from_the_environment_and_lists_from_a_file(run, sums, tmp_path, monkeypatch):
    config = tmp_path / "sweep.yaml"
    config.write_text(
        f"model: {model_path()}\ndata: {{sums: {sums}}}\nquantize: none\nmax-steps: 1\n"
        "rank: 2\nepochs: null\nlr: [1e-5]\nseed: 9\ntargets: [q_proj, up_proj]\n"
    )
    monkeypatch.setenv("TUNESCOPE_FINETUNE_LR", "1e-3 2e-3")
    monkeypatch.setenv("TUNESCOPE_FINETUNE_SEED", "4")
    done = run("finetune", "--config", config, "-o", tmp_path / "runs", "--json")
    assert done.code == 0, done.err
    records = json.loads(done.out)["runs"]
    assert [record["run"] for record in records] == ["sums/lr-1e-3/seed-4", "sums/lr-2e-3/seed-4"]
    assert records[0]["settings"]["targets"] == "q_proj,up_proj"
    assert records[0]["settings"]["epochs"] == 1
    again = run("finetune", "--config", config, "-o", tmp_path / "runs", "--quiet")
    assert (again.code, again.out, again.err) == (0, "", "")


def test_one_process_of_several_is_refused(run, sums, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    done = run("finetune", "--model", model_path(), "--data", f"sums={sums}", "-o", tmp_path / "runs")
    assert done.code == 2
    assert "torchrun" in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--lr", "0"], 2),
        (["--epochs", "nan"], 2),
        (["--full", "--quantize", "nf4"], 2),
        (["--quantize", "int3"], 2),
        (["--targets", "query"], 2),
        (["--model", "./nowhere"], 4),
        (["--data", "x=/no/such/file.jsonl"], 4),
        (["--data", "nonsense"], 2),
        (["--data", "tables=x.jsonl"], 2),
        (["--data", "x" * 300 + "=x.jsonl"], 2),
        (["--seed", 2**32], 2),
        (["--report-to", "carrier-pigeon"], 2),
        (["-o", "/proc/runs"], 5),
    ],
)
def test_bad_arguments(run, sums, tmp_path, arguments, code):
    out = tmp_path / "runs"
    given = ["--model", model_path(), "--data", f"sums={sums}", "--max-steps", 1, "--quantize", "none"]
    done = run("finetune", *given, "-o", out, *arguments)
    assert done.code == code, done.err
    assert done.out == ""
    # A target is looked for in the loaded model; everything else is refused before anything is written.
    assert not list(out.glob("*/lr-*")) if "--targets" in arguments else not out.exists()


def test_domains_are_named_once():
    assert parse_domains(("a=x=y", "b=z")) == {"a": "x=y", "b": "z"}
    for texts in (("a",), ("=x",), ("a=",), ("a=x", "a=y")):
        with pytest.raises(UsageError):
            parse_domains(texts)


KNOWN = ["model", "data", "lr", "batch_size"]


@pytest.mark.parametrize(
    ("name", "text", "slug"),
    [
        ("a.yaml", "modle: x", "unknown-key"),
        ("a.yaml", "model: x\nmodel: y", "bad-config"),
        ("a.yaml", "- model", "bad-config"),
        ("a.yaml", "? [1, 2]\n: x", "bad-config"),
        ("a.yaml", "model: [", "bad-config"),
        ("a.yaml", "model: !!python/object/apply:os.getcwd []", "bad-config"),
        ("a.yaml", "lr: &a [1]\ndata: [" + "*a, " * 40 + "]", "bad-config"),
        ("a.toml", "model = ", "bad-config"),
        ("a.toml", "model = 'x'\nmodel = 'y'", "bad-config"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(tmp_path, name, text, slug):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path, KNOWN)
    assert caught.value.slug == slug
    if slug == "unknown-key":
        assert "model" in str(caught.value.fix)


@pytest.mark.parametrize(
    "line", ["rank: 2.5", "rank: [2, 3]", "data: {a: }", "data: {a: [x, y]}", "lr: {x: 1}"]
)
def test_values_of_the_wrong_kind_are_refused(run, sums, tmp_path, line):
    """The number 2.5 is not the integer 2."""
    config = tmp_path / "a.yaml"
    config.write_text(f"model: {model_path()}\n{line}\n")
    data = () if line.startswith("data") else ("--data", f"sums={sums}")
    done = run("finetune", "--config", config, *data, "-o", tmp_path / "runs")
    assert done.code == 2
    assert line.split(":")[0] in done.err
    assert not (tmp_path / "runs").exists()


def test_configs_in_yaml_and_toml_say_the_same(tmp_path):
    (tmp_path / "a.yaml").write_text("model: x\nlr: [1.0e-3]\nbatch-size: 2\n")
    (tmp_path / "a.toml").write_text("model = 'x'\nlr = [1e-3]\nbatch_size = 2\n")
    assert read_config(tmp_path / "a.yaml", KNOWN) == read_config(tmp_path / "a.toml", KNOWN)
    with pytest.raises(Missing):
        read_config(tmp_path / "b.yaml", KNOWN)


def test_options_of_the_recipe_and_of_the_command_agree():
    """Every setting of the recipe has an option with the same default."""
    from tunescope.cli.finetune import command
    from tunescope.training import Recipe

    options = {option.name: option for option in command.params if isinstance(option, click.Option)}
    for name, value in Recipe(model="x").settings().items():
        assert name in options
        if value is not None and name not in ("model", "quantize"):
            default = options[name].get_default(click.Context(command))
            assert default == value, name
