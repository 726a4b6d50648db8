"""Is this adapter in this checkpoint: what the house needs to know of it."""

from collections.abc import Sequence

from tunescope.questions.verify.words import verify_markdown
from tunescope.study.question import Drawing, Question
from tunescope.study.study import Study


def _pictures(_: Study) -> Sequence[Drawing]:
    return ()


QUESTION = Question(
    kind="verify",
    main="merge",
    words=verify_markdown,
    pictures=_pictures,
    answer=lambda study: study.readout["verdict"] == "as_expected",
)
