"""Which of the changes bought the gain: what the house needs to know of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunescope.questions.attribution.readout import attribution_markdown
from tunescope.study.question import Drawing, Question
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _pictures(study: Study) -> Sequence[Drawing]:
    # Deferred: drawing needs matplotlib, measuring and reading do not.
    from tunescope.questions.attribution.pictures import pictures

    return pictures(study)


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it.
    from tunescope.questions.attribution.page import content

    return content(study)


QUESTION = Question(
    kind="attribution",
    main="attribution",
    words=lambda study: attribution_markdown(study.readout, study.sources),
    pictures=_pictures,
    content=_content,
)
