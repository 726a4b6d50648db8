"""What a chat template puts around a turn, and where in a rendered chat the turn begins and ends by it."""

import re
from dataclasses import dataclass

# What closes a turn, where the end of a chat cannot tell: gpt-oss ends the last turn differently.
_MARKER = re.compile(r"\s*<[^<>\s]{1,60}>")


@dataclass(frozen=True)
class Frame:
    """What a template puts around one turn: `lead` is generated before the content, `tail` behind it.

    `tail` is None where the template does not render a chat that ends with this turn. `gap` is what stands
    behind the turn whoever speaks next, None where nobody does or only one role may.
    """

    lead: str = ""
    tail: str | None = None
    gap: str | None = None


def begun(text: str, start: int, lead: str) -> int:
    """Where a turn begins: before as much of its lead as the text holds there."""
    held = next(n for n in range(len(lead), -1, -1) if text.endswith(lead[:n], 0, start))
    return start - held


def ended(text: str, stop: int, frame: Frame) -> int:
    """Where a turn ends: behind its tail, or behind the marker that stands in its place."""
    tail = frame.tail
    if tail is not None and text.startswith(tail, stop):
        return stop + len(tail)
    if tail and tail.strip() and text.startswith(tail.rstrip(), stop):
        return stop + len(tail.rstrip())
    marker = _MARKER.match(text, stop)
    # A marker that only the next speaker has opens the next turn.
    if marker is None or (frame.gap is not None and not frame.gap.startswith(marker[0])):
        return stop
    return marker.end()
