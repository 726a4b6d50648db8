"""What a shell offers: verbs, options, sources behind their labels, labels, words of lists, saved studies."""

import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from tests.absent import absent

from tunescope.cli import VERBS, app
from tunescope.questions.importance import command as importance_command
from tunescope.questions.importance.measurement import METHODS
from tunescope.questions.norms import command as norms_command
from tunescope.questions.norms.measure import METRICS

Offered = Callable[..., list[str]]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Offered:
    """The values that click offers after these words; the last is what was begun."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "code").mkdir(parents=True)
    (tmp_path / "runs" / "chat.safetensors").write_bytes(b"")
    (tmp_path / "runs" / ".hidden").mkdir()

    def complete(*words: str) -> list[str]:
        found = ShellComplete(app, {}, "tunescope", "_TUNESCOPE_COMPLETE")
        return [item.value for item in found.get_completions(list(words[:-1]), words[-1])]

    return complete


def test_verbs_and_options_are_offered(offered: Offered) -> None:
    assert set(offered("")) == set(VERBS)
    assert offered("no") == ["norms"]
    assert "--focus-layer" in offered("norms", "--")


def test_metrics_methods_and_kinds_are_those_that_exist(offered: Offered) -> None:
    assert offered("norms", "--metric", "stable") == ["stable_rank"]
    assert sorted(norms_command.OFFERED) == sorted(METRICS)
    assert sorted(importance_command.OFFERED) == sorted(METHODS)
    assert offered("norms", "--fail-on", "hot_c") == ["hot_cell"]
    assert offered("subspace", "x", "--device", "c") == ["cpu", "cuda"]


def test_words_of_a_list_are_offered_once_each_behind_what_stands_there(offered: Offered) -> None:
    assert offered("norms", "x", "--modules", "q_proj,m") == ["q_proj,mlp"]
    assert offered("importance", "m", "--method", "taylor,") == [
        f"taylor,{name}" for name in importance_command.OFFERED if name != "taylor"
    ]
    assert offered("norms", "x", "--figures", "png,p") == ["png,pdf"]


def test_a_source_is_completed_as_a_path_behind_its_label_too(offered: Offered) -> None:
    found = ShellComplete(app, {}, "tunescope", "_TUNESCOPE_COMPLETE").get_completions(["norms"], "runs/c")
    assert [(item.value, item.type) for item in found] == [("runs/c", "file")]
    assert offered("norms", "a=runs/c") == ["a=runs/chat.safetensors", "a=runs/code/"]
    assert offered("norms", "a=") == ["a=runs/"]
    assert offered("norms", "a=runs/.") == ["a=runs/.hidden/"]
    assert offered("norms", "a=absent/") == []
    assert offered("finetune", "--data", "code=runs/ch") == ["code=runs/chat.safetensors"]


def test_labels_that_were_given_are_offered_for_their_scales(offered: Offered) -> None:
    assert offered("norms", "style=runs/code", "plain", "--scale", "") == ["style="]
    assert offered("norms", "style", "=", "runs/code", "--scale", "s") == ["style="]
    verify = (
        "verify",
        "merged",
        "--base",
        "base",
        "code=runs/code",
        "chat=runs/chat.safetensors",
        "--expect",
    )
    assert offered(*verify, "c") == ["code=", "chat="]


def test_studies_and_folders_on_the_way_to_one_are_offered(offered: Offered, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    assert offered("draw", "") == ["runs/", "study/"]
    assert offered("report", "st") == ["study/"]
    assert offered("draw", f"{tmp_path}/st") == [f"{tmp_path}/study/"]


def test_completing_imports_no_numeric_library() -> None:
    text = """
import sys
from click.shell_completion import ShellComplete
from tunescope.cli import VERBS, app
complete = ShellComplete(app, {}, "tunescope", "_TUNESCOPE_COMPLETE").get_completions
complete([], "")
for verb in VERBS:
    complete([verb], "--")
complete(["norms", "--metric"], "s")
complete(["norms", "a=b", "--scale"], "")
print([name for name in ("numpy", "polars", "scipy", "matplotlib", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_program_prints_what_a_shell_evaluates(
    shell: str, monkeypatch: pytest.MonkeyPatch, run: Callable[..., object]
) -> None:
    monkeypatch.setenv("_TUNESCOPE_COMPLETE", f"{shell}_source")
    done = run()
    assert "_TUNESCOPE_COMPLETE" in done.out
    assert done.code == 0


# As docs/completion.md has it; what a shell needs before, where it is started without its own files.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(_TUNESCOPE_COMPLETE=bash_source tunescope)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit && compinit -u; eval "$(_TUNESCOPE_COMPLETE=zsh_source tunescope)"',
    ),
    "fish": (["fish", "--no-config"], "_TUNESCOPE_COMPLETE=fish_source tunescope | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_metrics_and_paths_behind_labels(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        absent(f"{shell} is not installed")
    (tmp_path / "runs" / "code").mkdir(parents=True)
    bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for begun, whole in (("--metric stable", "stable_rank"), ("a=runs/c", "a=runs/code/")):
        line = f"tunescope norms {begun}"
        environment = os.environ | {"PATH": bin_first, "PS1": "> ", "TERM": "dumb", "HOME": str(tmp_path)}
        words, setup = SHELLS[shell]
        if shell == "fish":
            text = f"{setup}; complete -C '{line}'"
            done = subprocess.run(
                [*words, "-c", text],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.split() == [whole]
        else:
            assert whole in pressed_tab(words, setup, line, whole, environment, tmp_path)


def pressed_tab(
    words: list[str], setup: str, line: str, until: str, environment: dict[str, str], folder: Path
) -> str:
    """What an interactive shell shows of `line` after a press of tab, read until `until` stands there."""
    screen, terminal = pty.openpty()
    shell = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)

    def shown(wanted: str) -> str:
        text = ""
        while wanted not in text:
            assert select.select([screen], [], [], 120)[0], text
            text += os.read(screen, 4096).decode(errors="replace")
        return text

    try:
        os.write(screen, f"{setup}; echo re''ady\n".encode())
        shown("ready")
        os.write(screen, f"{line}\t".encode())
        return shown(until)
    finally:
        shell.kill()
        shell.wait()
        os.close(screen)
