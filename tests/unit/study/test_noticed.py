"""What only says how a command ran is no finding among the answers, wherever a study is told."""

from dataclasses import replace
from pathlib import Path

import pytest

import tunescope
from tunescope.cli.frame import _strongest
from tunescope.demo.adapters import made_adapters
from tunescope.errors import Notice
from tunescope.lm.device import chosen_device
from tunescope.study.finding import noticed
from tunescope.study.notebook import card
from tunescope.study.report import report
from tunescope.study.study import Study

SAID = "no CUDA device is there"


@pytest.fixture
def on_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study with what `--device auto` says where there is no GPU, and with a file to check."""
    monkeypatch.setattr("tunescope.lm.device.resolve", lambda _: "cpu")
    (of_run,) = chosen_device("auto")[1]
    one, *_ = made_adapters(tmp_path / "made").values()
    study = tunescope.norms(str(one), layers="0-1")
    of_file = Notice("half-written", "a file is half written and was skipped")
    found = [noticed("a", of_run).record(), noticed("a", of_file).record()]
    return replace(study, readout={**study.readout, "findings": found})


def test_a_notice_of_the_run_is_no_answer_of_a_page_and_stands_among_its_checks(on_cpu: Study) -> None:
    page = report([on_cpu])
    answers = page.split('class="answers"')[1].split("</ol>")[0]
    assert "half written" in answers
    assert SAID not in answers
    checks = page.split('class="checks"')[1].split("</ul>")[0]
    assert SAID in checks
    assert page.count(SAID) == 1


def test_a_notice_of_the_run_is_no_finding_on_the_terminal_and_in_a_notebook(on_cpu: Study) -> None:
    assert [SAID in line for line in _strongest(on_cpu)] == [False]
    assert SAID not in card(on_cpu).split("<details>")[0]
