"""Is this adapter in this checkpoint: what the house needs to know of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunescope.questions.verify.words import verify_markdown
from tunescope.study.question import Drawing, Question
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _pictures(_: Study) -> Sequence[Drawing]:
    return ()


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it.
    from tunescope.questions.verify.page import content

    return content(study)


QUESTION = Question(
    kind="verify",
    main="merge",
    words=verify_markdown,
    pictures=_pictures,
    answer=lambda study: study.readout["verdict"] == "as_expected",
    content=_content,
)
