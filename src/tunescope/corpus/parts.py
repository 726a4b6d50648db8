"""Messages whose content is a list of parts, `[{"type": "text", "text": …}]`, as multimodal data has it.

Some templates go through the parts, some take the first alone; those that take plain text print the list as
Python would, leave it out or raise. Where parts would be lost their text is one part, or plain.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

Content = str | tuple[str, ...]


class Message(TypedDict):
    """One turn of a chat: its content is text, or the texts of its parts.

    `learned` is false where the data takes an assistant's turn out of what is learned.
    """

    role: str
    content: Content
    learned: NotRequired[bool]


def is_learned(message: Message) -> bool:
    """Whether the data leaves a turn among those that are learned."""
    return message.get("learned", True)


def spoken(content: Content) -> str:
    """All text of a content, its parts one behind the other."""
    return content if isinstance(content, str) else "".join(content)


def like(content: Content, text: str) -> Content:
    """Another text in the same form: plain, or as one part."""
    return text if isinstance(content, str) else (text,)


def record(message: Message) -> dict[str, Any]:
    """A message as a template gets it."""
    role, content = message["role"], message["content"]
    if isinstance(content, str):
        return {"role": role, "content": content}
    return {"role": role, "content": [{"type": "text", "text": text} for text in content]}


def written(message: Message) -> dict[str, Any]:
    """A message as it is written in data: `weight: 0` where it is not learned."""
    return record(message) if is_learned(message) else {**record(message), "weight": 0}


def texts(parts: Sequence[object]) -> tuple[str, ...]:
    """The texts of the parts of one message; raises `ValueError` for a part that is not text."""
    return tuple(_text(part) for part in parts)


def _text(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ValueError(f"a part that is {type(part).__name__}")
    text, kind = part.get("text"), part.get("type", "text")
    if kind != "text" or not isinstance(text, str):
        raise ValueError(f"a part of type {kind!r}" if kind != "text" else "a part without text")
    return text


Form = tuple[tuple[str, int], ...]


class Forms:
    """In which form a template takes contents in parts, asked once for all chats of one shape."""

    def __init__(self, render: Callable[[Sequence[Message]], str | None]) -> None:
        self._render = render
        self._known: dict[Form, Callable[[Content], Content]] = {}

    def taken(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages as the template renders all of their text: in parts, in one part, or as plain text."""
        form = tuple(
            (m["role"], -1 if isinstance(m["content"], str) else len(m["content"])) for m in messages
        )
        if all(count < 0 for _, count in form):
            return messages
        if form not in self._known:
            self._known[form] = self._taken(form)
        instead = self._known[form]
        return [{**m, "content": instead(m["content"])} for m in messages]

    def _taken(self, form: Form) -> Callable[[Content], Content]:
        marked: list[Message] = []
        for turn, (role, count) in enumerate(form):
            words = tuple(f"Vq8xPart{turn}x{part}End" for part in range(count))
            marked.append({"role": role, "content": words if count >= 0 else f"Vq8xTurn{turn}End"})
        return next((of for of in (_in_parts, _in_one) if self._goes_through(marked, of)), spoken)

    def _goes_through(self, marked: Sequence[Message], of: Callable[[Content], Content]) -> bool:
        text = self._render([{"role": m["role"], "content": of(m["content"])} for m in marked])
        words = [word for m in marked if not isinstance(m["content"], str) for word in m["content"]]
        if text is None or not all(word in text for word in words):
            return False
        # A list that was printed has its words in quotes.
        return not any(f"{quote}{word}" in text for word in words for quote in "'\"")


def _in_parts(content: Content) -> Content:
    return content


def _in_one(content: Content) -> Content:
    return content if isinstance(content, str) else ("".join(content),)
