"""When did the layers move: what the house needs to know of it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.questions.trajectory.gallery import Gallery, gallery
from tunescope.questions.trajectory.layers import followed
from tunescope.questions.trajectory.readout import INCOMPLETE, lacking, readout_markdown, results_markdown
from tunescope.study.following import several
from tunescope.study.question import Drawing, Question
from tunescope.study.study import Study

if TYPE_CHECKING:
    from tunescope.page.panels import Content


def _gallery(study: Study) -> Gallery:
    by_layer, norms = (followed(study.tables[name]) for name in ("motion_by_layer", "norms_by_layer"))
    return gallery(by_layer, norms)


def _pictures(study: Study) -> Sequence[Drawing]:
    # Deferred: drawing needs matplotlib, measuring and reading do not.
    from tunescope.questions.trajectory.figures import pictures

    begin = str(study.written.get("limits", "zero"))
    beside = partial(lacking, study.readout)
    return pictures(_gallery(study), study.arguments["fps"], study.arguments["hold"], begin, beside)


def _pages(study: Study) -> Mapping[str, str]:
    return {"results.md": results_markdown(_gallery(study), study.readout)}


def _following(study: Study, _: Path | None) -> Sequence[str]:
    ends = [str(Path(s["location"]) / "adapter") for s in study.sources if s["format"] == "capture"]
    adapters = [place for place in ends if Path(place).is_dir()]
    return (f"tunescope norms {several(adapters, 4)} -o norms/",) if adapters else ()


def _content(study: Study) -> "Content":
    # Deferred: only a page needs it.
    from tunescope.questions.trajectory.page import content

    return content(study)


QUESTION = Question(
    kind="trajectory",
    main="motion",
    words=lambda study: readout_markdown(study.readout, study.sources),
    pictures=_pictures,
    pages=_pages,
    following=_following,
    content=_content,
    incomplete=INCOMPLETE,
)
