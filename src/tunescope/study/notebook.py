"""A study as a notebook shows it: what was found first, and its main picture."""

import base64
import io
from html import escape

from tunescope.study.finding import ordered
from tunescope.study.study import Study

_MOST = 5


def card(study: Study) -> str:
    """The first findings and the first picture as HTML that needs nothing from outside."""
    found = ordered(study.findings)[:_MOST]
    items = "".join(f"<li>{escape(finding.text)}</li>" for finding in found) or "<li>Nothing stands out.</li>"
    labels = ", ".join(str(source.get("label")) for source in study.sources)
    heading = f"<p><b>{escape(study.kind)}</b> of {escape(labels)}</p>"
    return f"<div>{heading}<ul>{items}</ul>{_picture(study)}</div>"


def _picture(study: Study) -> str:
    figures = study.figures()
    if not figures:
        return ""
    name, caption = next(iter(figures.items()))
    out = io.BytesIO()
    study.figure(name).savefig(out, format="png", dpi=96)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}"><p>{escape(caption)}</p>'
