"""Will it load: what the house needs to know of it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.questions.check.readout import check_markdown
from tunescope.study.following import several
from tunescope.study.question import Question, adapters_of
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _following(study: Study, _: Path | None) -> Sequence[str]:
    places = adapters_of(study)
    fits = places and study.readout["attaches"]
    if not fits:
        return ()
    base, models = study.arguments.get("base"), study.readout["models"].values()
    needs = any("needs the base" in reason for model in models for reason in model["left_over"])
    beside = f" --base {shlex.quote(str(base)) if base else 'BASE'}" if base or needs else ""
    return (f"tunescope norms {several(places, 4)}{beside} -o study/",)


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it.
    from tunescope.questions.check.page import content

    return content(study)


QUESTION = Question(
    kind="check",
    main="attach",
    words=check_markdown,
    pictures=lambda _: (),
    following=_following,
    answer=lambda study: bool(study.readout["attaches"]),
    content=_content,
)
