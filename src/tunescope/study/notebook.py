"""A study as a notebook shows it: what was found first, its main picture, and its page to point at."""

import base64
import io
from html import escape

from tunescope.study.finding import answers
from tunescope.study.report import report
from tunescope.study.study import Study

_MOST = 5
_STYLE = "width: 100%; height: 80vh; border: 0"


def card(study: Study) -> str:
    """The first findings, the first picture and the whole page, as HTML that needs nothing from outside.

    The page stands in a frame, and its own policy lets it run its one script and reach nothing else. Where
    frames are taken out, as GitHub does, the findings and the picture remain.
    """
    found = answers(study.findings)[:_MOST]
    items = "".join(f"<li>{escape(finding.text)}</li>" for finding in found) or "<li>Nothing stands out.</li>"
    labels = ", ".join(str(source.get("label")) for source in study.sources)
    heading = f"<p><b>{escape(study.kind)}</b> of {escape(labels)}</p>"
    return f"<div>{heading}<ul>{items}</ul>{_picture(study)}{_page(study)}</div>"


def _picture(study: Study) -> str:
    figures = study.figures()
    if not figures:
        return ""
    name, caption = next(iter(figures.items()))
    out = io.BytesIO()
    study.figure(name).savefig(out, format="png", dpi=96)
    data = base64.b64encode(out.getvalue()).decode()
    image = f'<img style="max-width:100%" alt="{escape(caption)}" src="data:image/png;base64,{data}">'
    return f"{image}<p>{escape(caption)}</p>"


def _page(study: Study) -> str:
    title = f"{study.kind}: the page"
    frame = f'<iframe title="{escape(title)}" srcdoc="{escape(report([study]))}" style="{_STYLE}"></iframe>'
    return f"<details><summary>Look closer</summary>{frame}</details>"
