"""Chats in a model's own template: the rendered text, and which of its characters the assistant wrote.

Templates may render a turn differently when it is the last (Qwen3 puts `<think>` before the last answer
only), so that the text of a chat's first turns need not begin the text of the whole. Every turn is therefore
found in the text of the whole chat: it is what changes when the turn's content does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from tunescope.corpus.frames import Frame, begun, ended
from tunescope.corpus.parts import Forms, Message, is_learned, like, record, spoken
from tunescope.corpus.rendering import (
    SECONDS,
    EndlessTemplate,
    bounded_rendering,
    require_bounded,
    template_errors,
)
from tunescope.errors import BadInput, printable
from tunescope.words import counted

Span = tuple[int, int]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

_TAKE_ANOTHER = "use a model whose template takes plain text, or leave the turn out"
_LEAVE_OUT = "leave out that row or turn, or put a system text into the first user turn"

# How marks begin and end; they share no letter there, no length and no number of words.
_WORDS = (("Vq8xTurn", "End"), ("Zk3w Answer ", "Fin"))


@dataclass(frozen=True)
class Chat:
    """A rendered chat: the spans of `text` that are learned, and where each assistant's content stands."""

    text: str
    learned: tuple[Span, ...]
    contents: dict[int, Span]

    @property
    def ends_turns(self) -> bool:
        """Whether anything behind the content of an answer, which would end its turn, is learned with it."""
        return not self.contents or any(
            first < stop < last for first, last in self.learned for _, stop in self.contents.values()
        )


class ChatTemplate:
    """The template of a tokenizer; raises `BadInput` where the tokenizer has none."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise BadInput(
                "no-chat-template",
                "the data holds chats, and the model's tokenizer has no chat template",
                expected="a tokenizer with a chat template",
                found="none",
                fix="use an instruction-tuned model, or prompt + completion columns",
            )
        self._tokenizer = tokenizer
        self._frames: dict[tuple[tuple[str, bool], ...], dict[int, Frame]] = {}
        self._forms = Forms(self._tried)

    def __call__(self, messages: Sequence[Message], row: int) -> Chat:
        """The chat of one row (its number is for messages to the user).

        Raises `BadInput` where the template refuses the chat, leaves out a turn that has content, or does
        not come to an end.
        """
        try:
            return self._chat(messages, row)
        except EndlessTemplate as error:
            raise BadInput(
                "chat-template",
                f"the model's chat template comes to no end at row {row}",
                expected=f"a rendered chat within {SECONDS:g} seconds of computing",
                found="a template that was still running",
                fix="use a model with another chat template, or prompt + completion columns",
            ) from error

    def _chat(self, messages: Sequence[Message], row: int) -> Chat:
        messages = self._forms.taken(messages)
        text = self._text(messages, row)
        turns = [
            i for i, m in enumerate(messages) if m["role"] == "assistant" and spoken(m["content"]).strip()
        ]
        contents = {turn: self._content(messages, turn, text, row) for turn in turns}
        if (marked := self._marked(messages)) is not None:
            taken = [contents.pop(turn) for turn in turns if not is_learned(messages[turn])]
            return Chat(text, _without(marked, taken), contents)
        frames = self._framed(tuple((m["role"], isinstance(m["content"], str)) for m in messages))
        learned: list[Span] = []
        for turn, (start, stop) in contents.items():
            frame = frames.get(turn, Frame())
            floor = learned[-1][1] if learned else 0
            learned.append((begun(text, max(start, floor), frame.lead), ended(text, stop, frame)))
        kept = {turn: span for turn, span in zip(turns, learned, strict=True) if is_learned(messages[turn])}
        return Chat(text, tuple(kept.values()), {turn: contents[turn] for turn in kept})

    def _text(self, messages: Sequence[Message], row: int) -> str:
        try:
            return self._render(messages)
        except template_errors() as error:
            role = self._refused_role(messages)
            raise BadInput(
                "chat-template",
                f"the model's chat template cannot render row {row}: it stops at a turn of role {role!r}",
                expected="roles and an order of turns that the template knows",
                found=printable(str(error).strip() or type(error).__name__),
                fix=self._advice(messages, _LEAVE_OUT),
            ) from error

    def _refused_role(self, messages: Sequence[Message]) -> str:
        """The role of the first turn that the template does not render, even as the last one."""
        for count in range(1, len(messages)):
            try:
                self._render(messages[:count])
            except template_errors():
                return messages[count - 1]["role"]
        return messages[-1]["role"]

    def _render(self, messages: Sequence[Message], prompted: bool = False) -> str:
        with bounded_rendering():
            text: str = self._tokenizer.apply_chat_template(
                [record(message) for message in messages], tokenize=False, add_generation_prompt=prompted
            )
        return require_bounded(text, sum(len(spoken(message["content"])) for message in messages))

    def _content(self, messages: Sequence[Message], turn: int, text: str, row: int) -> Span:
        """Where the content of a turn stands: what differs once another content is rendered."""
        before, after = self._around(messages, turn, text, row)
        start = len(_shared(text, before))
        stop = len(text) - len(_shared(text[start:][::-1], after[::-1]))
        if start < stop:
            return start, stop
        raise _refused(row, turn, "no text left of it", self._advice(messages, _TAKE_ANOTHER))

    def _advice(self, messages: Sequence[Message], otherwise: str) -> str:
        """To write contents as parts, where they are plain and the template reads all of them so."""
        parts = [_marked_turn(i, m["role"], plain=False) for i, m in enumerate(messages)]
        text = self._tried(parts) if all(isinstance(m["content"], str) for m in messages) else None
        if text is None or not all(spoken(part["content"]) in text for part in parts):
            return otherwise
        return 'write every content as [{"type": "text", "text": "..."}], which this template reads'

    def _around(self, messages: Sequence[Message], turn: int, text: str, row: int) -> tuple[str, str]:
        """What the chat holds before and behind a turn, whatever the turn says.

        A template may change the words of a turn (capitals, the first words alone), so that it is found as
        what differs between two contents without a common letter at either end.
        """
        mark, other = (_mark(turn, text, word) for word in _WORDS)
        one = self._saying(messages, turn, mark, row)
        before, *after = one.split(mark)
        if len(after) == 1 and text.startswith(before) and text.endswith(after[0]):
            return before, after[0]
        if len(after) > 1:
            raise _refused(row, turn, f"{counted(len(after), 'place')} in the rendered chat")
        two = self._saying(messages, turn, other, row)
        if not after:
            before = _shared(one, two)
            return before, _shared(one[len(before) :][::-1], two[len(before) :][::-1])[::-1]
        if two.split(other) != [before, *after]:
            raise _refused(row, turn, "other text of the chat that follows from what the turn says")
        return before, after[0]

    def _saying(self, messages: Sequence[Message], turn: int, words: str, row: int) -> str:
        """The chat in which a turn says something else."""
        others = [*messages]
        others[turn] = {"role": "assistant", "content": like(messages[turn]["content"], words)}
        return self._text(others, row)

    def _marked(self, messages: Sequence[Message]) -> tuple[Span, ...] | None:
        """The spans that the template itself marks with `{% generation %}`; None where it marks nothing."""
        tokenizer = self._tokenizer
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default", "")
        if not _GENERATION.search(template):
            return None
        # Deferred: only these templates need it.
        from transformers.utils.chat_template_utils import render_jinja_template

        with bounded_rendering():
            _, spans = render_jinja_template(
                [[record(message) for message in messages]],
                chat_template=template,
                return_assistant_tokens_mask=True,
                **tokenizer.special_tokens_map,
            )
        return tuple((int(start), int(stop)) for start, stop in spans[0] if stop > start)

    def _framed(self, turns: tuple[tuple[str, bool], ...]) -> dict[int, Frame]:
        """The frame of every assistant turn in chats of these roles and forms, whatever their contents."""
        if turns not in self._frames:
            marked = [_marked_turn(i, role, plain) for i, (role, plain) in enumerate(turns)]
            assistants = [i for i, (role, _) in enumerate(turns) if role == "assistant"]
            whole = self._tried(marked)
            self._frames[turns] = (
                {} if whole is None else {i: self._frame(marked, i, whole) for i in assistants}
            )
        return self._frames[turns]

    def _frame(self, marked: Sequence[Message], turn: int, whole: str) -> Frame:
        own = spoken(marked[turn]["content"])
        if own not in whole:
            return Frame()
        above = whole.partition(own)[0]
        if turn:
            above = above.rpartition(spoken(marked[turn - 1]["content"]))[2]
        prompt = self._prompt(marked[:turn]) or self._prompt([{**marked[turn], "role": "user"}])
        lead = above.rpartition(prompt)[2] if prompt and prompt in above else ""
        closed = self._tried(marked[: turn + 1])
        tail = None if closed is None or own not in closed else closed.rpartition(own)[2]
        return Frame(lead, tail, self._gap(marked, turn, whole))

    def _gap(self, marked: Sequence[Message], turn: int, whole: str) -> str | None:
        """What stands between a turn and the next, whichever role that has."""
        if turn + 1 == len(marked):
            return None
        own, following = (spoken(marked[i]["content"]) for i in (turn, turn + 1))
        for role in ("user", "assistant", "system"):
            if role == marked[turn + 1]["role"]:
                continue
            instead: Message = {"role": role, "content": marked[turn + 1]["content"]}
            other = self._tried([*marked[: turn + 1], instead, *marked[turn + 2 :]])
            if other is not None and own in other and following in other:
                gaps = [chat.partition(own)[2].partition(following)[0] for chat in (whole, other)]
                return _shared(*gaps)
        return None

    def _prompt(self, messages: Sequence[Message]) -> str:
        """What the template adds to make the model answer; empty where it adds nothing or cannot."""
        plain, prompted = self._tried(messages), self._tried(messages, prompted=True)
        if plain is None or prompted is None:
            return ""
        added = prompted[len(_shared(plain, prompted)) :]
        return added if added.strip() else ""

    def _tried(self, messages: Sequence[Message], prompted: bool = False) -> str | None:
        try:
            return self._render(messages, prompted) if messages else None
        except template_errors():
            return None


def _without(marked: Sequence[Span], taken: Sequence[Span]) -> tuple[Span, ...]:
    """The spans that a template marks, but those that hold a turn which is not learned."""
    return tuple(span for span in marked if not any(span[0] < end and at < span[1] for at, end in taken))


def _refused(row: int, turn: int, found: str, advice: str = _TAKE_ANOTHER) -> BadInput:
    return BadInput(
        "turn-not-learned",
        f"row {row}, turn {turn + 1}: nothing of this assistant turn can be learned",
        expected="a template that renders every turn once",
        found=found,
        fix=advice,
    )


def _marked_turn(turn: int, role: str, plain: bool) -> Message:
    return {"role": role, "content": like("" if plain else (), _mark(turn, "", _WORDS[0]))}


def _mark(turn: int, text: str, words: tuple[str, str]) -> str:
    """A content that the text does not hold."""
    mark = f"{words[0]}{turn}{words[1]}"
    while mark in text:
        mark += words[1]
    return mark


def _shared(a: str, b: str) -> str:
    return commonprefix([a, b])  # noqa: RUF071  (texts, not paths)
