"""Which parameters do the predictions depend on: what the house needs to know of it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.questions.importance.readout import importance_markdown
from tunescope.source.spec import parse_spec
from tunescope.study.question import Drawing, Question
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _pictures(study: Study) -> Sequence[Drawing]:
    # Deferred: drawing needs matplotlib, measuring and reading do not.
    from tunescope.questions.importance.figures import pictures

    return pictures(study)


def _following(study: Study, _: Path | None) -> Sequence[str]:
    model, data = (study.arguments[name] for name in ("model", "data"))
    base = shlex.quote(parse_spec(model)[1])
    return (f"tunescope attribute ADAPTER --base {base} --data {shlex.quote(data)} -o effect/",)


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it.
    from tunescope.questions.importance.page import content

    return content(study)


QUESTION = Question(
    kind="importance",
    main="importance",
    words=lambda study: importance_markdown(study.readout, study.sources),
    pictures=_pictures,
    following=_following,
    content=_content,
)
