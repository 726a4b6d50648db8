"""What data say beside the text: fields that would change what is trained on, and are not read here."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from tunescope.errors import printable
from tunescope.words import counted, first

# What templates render of a message beside its content: without it the text would be another.
_RENDERED = (
    "tool_calls", "function_call", "tool_responses", "reasoning_content", "reasoning", "thinking",
    "images", "image", "videos", "video", "audios", "audio",
)  # fmt: skip
# What trainers take of a row beside its chat or its prompt: tools and pictures that the template renders, the
# turns before (LLaMA-Factory), what is learned of it.
_BESIDE = (
    "tools", "functions", "images", "image", "videos", "video", "audios", "audio", "system", "system_prompt",
    "history", "chat_template_kwargs", "loss_mask",
)  # fmt: skip
_READ = frozenset({"role", "content", "weight", "train", "recipient"})
_NAMED = 4


class _Line(Protocol):
    @property
    def line(self) -> int: ...
    @property
    def ignored(self) -> tuple[str, ...]: ...


def rendered(message: Mapping[object, object]) -> str | None:
    """The first key of a message that templates render and that is not read here."""
    # To whom a turn speaks, and that it is not over, are rendered where they are not what is usual.
    unusual = {
        "recipient": message.get("recipient") not in (None, "", "all"),
        "end_turn": message.get("end_turn") is False,
    }
    return next((key for key in (*_RENDERED, *unusual) if unusual.get(key, message.get(key))), None)


def beside(fields: Mapping[str, object]) -> str | None:
    """The first field of a row that changes its text or what is learned of it, and is not read here."""
    return next((key for key in _BESIDE if fields.get(key)), None)


def ignored(message: Mapping[object, object]) -> Iterable[str]:
    """Keys of a message that hold text, a list or an object and are not known here."""
    return (
        str(k) for k, v in message.items() if k not in _READ and v and isinstance(v, str | list | Mapping)
    )


def ignored_in(rows: Iterable[_Line]) -> str | None:
    """A sentence that names the keys of messages that were not read, and the first row; `None` for none."""
    having = [row for row in rows if row.ignored]
    if not having:
        return None
    keys = list(dict.fromkeys(key for row in having for key in row.ignored))
    return (
        f"messages hold keys that are not read: {printable(first([repr(key) for key in keys], _NAMED), 200)} "
        f"in {counted(len(having), 'row')}, the first at line {having[0].line}"
    )
