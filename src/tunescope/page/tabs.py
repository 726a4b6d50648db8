"""The four tabs of the page, and the command that fills one that was not run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What cannot be named again on a command line, or is no single state of a model.
_UNNAMED = frozenset({"live", "published-norms", "whole-model", "capture", "checkpoints"})


@dataclass(frozen=True)
class TabText:
    """One tab: its name, what it answers, and the command that would fill it (`{all}`, `{one}`: sources)."""

    key: str
    title: str
    asks: str
    command: str


TABS = (
    TabText("much", "How much", "How much did each weight change?", "tunescope norms {all} -o norms/"),
    TabText(
        "directions", "In which directions", "Do models change the same directions, beyond chance?",
        "tunescope subspace {two} -o directions/",
    ),
    TabText("when", "When", "When during training did it change?", "tunescope trajectory RUN/ -o motion/"),
    TabText(
        "matter", "Does it matter", "Which of the changes does the loss depend on?",
        "tunescope attribute {one} --base {base} --data held-out.jsonl -o effect/",
    ),
)  # fmt: skip


def invitation(tab: TabText, sources: Sequence[Mapping[str, Any]], base: str | None) -> str:
    """The command that fills a tab, with what is known of the sources filled in."""
    named = [s for s in sources if s.get("format") not in _UNNAMED and s.get("location")]
    every = [shlex.quote(f"{s['label']}={s['location']}") for s in named]
    two = every[:4] if len(every) > 1 else [*every, "OTHER"]
    return tab.command.format(
        all=" ".join(every[:12]) or "ADAPTER",
        two=" ".join(two) if every else "ADAPTER OTHER",
        one=shlex.quote(str(named[0]["location"])) if named else "ADAPTER",
        base=shlex.quote(base) if base else "BASE",
    )
