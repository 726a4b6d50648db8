"""One training example as text, and the records that could not become one."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tunescope.corpus.parts import Content, Message, is_learned, spoken, texts, written
from tunescope.corpus.unread import beside, ignored, rendered

ACCEPTED = (
    "messages | prompt + completion | question + solution (or answer) | instruction (+ input) + output | text"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One example: a prompt that is given and a completion that is learned, or a chat.

    Plain text is a completion without a prompt. Where `messages` is set the other two are empty, and the
    assistant's turns are what is learned. `line` is where it was read, counted as in `Rejected`, or 0;
    `ignored` are keys of its messages that hold something and were not read.
    """

    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()
    line: int = field(default=0, compare=False)
    ignored: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no example: `line` counts lines of text files and records of others, from one."""

    line: int
    reason: str


@dataclass(frozen=True)
class Rows(Sequence[Row]):
    """What was read from one source: the usable rows in order, and the records that were not usable."""

    rows: tuple[Row, ...]
    rejected: list[Rejected] = field(default_factory=list)
    source: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.rows[index]


def data_hash(rows: Iterable[Row]) -> str:
    """SHA-256 (hex) of the rows' text, in order: equal for equal text, whatever file format it came from.

    >>> data_hash([Row("1+1=", "2")]) == data_hash([Row("1+1=", "2")])
    True
    """
    digest = hashlib.sha256()
    for row in rows:
        fields = [row.prompt, row.completion, [written(message) for message in row.messages]]
        digest.update(json.dumps(fields, ensure_ascii=True, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


class NoRowError(ValueError):
    """A record that is no example, and why."""


def record_of(row: Row) -> dict[str, object]:
    """The record that `row_of` reads as this row.

    >>> record_of(Row("1+1=", "2"))
    {'prompt': '1+1=', 'completion': '2'}
    """
    if row.messages:
        return {"messages": [written(message) for message in row.messages]}
    return {"prompt": row.prompt, "completion": row.completion} if row.prompt else {"text": row.completion}


def row_of(record: object) -> Row:
    """The record as a `Row`; raises `NoRowError` with the reason where it is none."""
    if not isinstance(record, Mapping):
        raise NoRowError(f"an object with named fields is needed, found {type(record).__name__}")
    fields = {str(key): value for key, value in record.items() if value is not None}
    for needed, build in _SHAPES:
        if all(any(name in fields for name in names) for names in needed):
            if needed != _PLAIN and (unread := beside(fields)):
                raise NoRowError(
                    f"field {unread!r} changes the text that is trained on, or what is learned of it, and is "
                    "not read here; write it into the messages or the prompt, or leave the field out"
                )
            return build(fields)
    present = ", ".join(sorted(fields)[:8]) or "none"
    raise NoRowError(f"no known fields ({present}); accepted: {ACCEPTED}")


def _text(fields: Mapping[str, object], *names: str, empty: bool = False) -> str:
    name = next(name for name in names if name in fields)
    value = fields[name]
    if not isinstance(value, str):
        raise NoRowError(f"field {name!r} is {type(value).__name__}, not text")
    if not empty and not value.strip():
        raise NoRowError(f"field {name!r} is empty")
    return _unicode(value, name)


def _unicode(value: str, name: str) -> str:
    """The text itself, unless it holds half of a character, which JSON can spell and no tokenizer takes."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise NoRowError(f"field {name!r} holds half of a character at {problem.start}") from problem
    return value


def _chat(fields: Mapping[str, object]) -> Row:
    return Row(messages=_turns(fields["messages"], "messages"), ignored=_ignored(fields["messages"]))


def _prompt_completion(fields: Mapping[str, object]) -> Row:
    if isinstance(fields["prompt"], list):
        # What the prompt's assistant said is given, not learned.
        prompt = tuple(_given(turn) for turn in _turns(fields["prompt"], "prompt", answered=False))
        completion = _turns(fields["completion"], "completion")
        return Row(
            messages=prompt + completion, ignored=_ignored(fields["prompt"]) + _ignored(fields["completion"])
        )
    return Row(_text(fields, "prompt", empty=True), _text(fields, "completion"))


def _question(fields: Mapping[str, object]) -> Row:
    return Row(
        f"Question: {_text(fields, 'question')}\nAnswer:", " " + _text(fields, "solution", "answer").lstrip()
    )


def _instruction(fields: Mapping[str, object]) -> Row:
    given = _text(fields, "input", empty=True) if "input" in fields else ""
    context = f"Input: {given}\n" if given.strip() else ""
    prompt = f"Instruction: {_text(fields, 'instruction')}\n{context}Response:"
    return Row(prompt, " " + _text(fields, "output").lstrip())


def _plain(fields: Mapping[str, object]) -> Row:
    return Row(completion=_text(fields, "text"))


def _given(turn: Message) -> Message:
    return {**turn, "learned": False} if turn["role"] == "assistant" else turn


def _ignored(messages: object) -> tuple[str, ...]:
    turns = messages if isinstance(messages, list) else []
    return tuple(dict.fromkeys(key for turn in turns for key in ignored(turn)))


def _turns(value: object, name: str, answered: bool = True) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise NoRowError(f"field {name!r} must be a list of messages")
    turns = tuple(_turn(message, name) for message in value)
    if answered and not any(
        turn["role"] == "assistant" and is_learned(turn) and spoken(turn["content"]).strip() for turn in turns
    ):
        raise NoRowError(f"field {name!r} has no assistant turn to learn from")
    return turns


def _turn(message: object, name: str) -> Message:
    if not isinstance(message, Mapping):
        raise NoRowError(f"field {name!r}: a message must have role and content")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise NoRowError(
            f"field {name!r}: a message's role must be text, its content text or a list of parts"
        )
    if unread := rendered(message):
        raise NoRowError(
            f"field {name!r}: a message holds {unread}, which templates render and which is not read "
            "here; write it into the content"
        )
    turn: Message = {"role": _unicode(role, name), "content": _spoken_content(content, role, name)}
    return turn if _is_learned(message, role, name) else {**turn, "learned": False}


# Which parts of a message, or which of several, are learned: marks of other trainers, not read here.
_MARKED = ("train_detail", "training", "trainable", "loss", "loss_weight", "loss_mask", "mask", "masked")


def _is_learned(message: Mapping[object, object], role: str, name: str) -> bool:
    """Whether a turn is learned: not one of `weight: 0` (OpenAI) or `train: false` (Axolotl)."""
    if role != "assistant":
        return True
    if unread := [key for key in _MARKED if message.get(key) is not None]:
        raise NoRowError(
            f"field {name!r}: a message holds {unread[0]}, which says what is learned of it and is not read "
            "here; write weight 0 or train false at turns that are not learned"
        )
    weight, train = message.get("weight"), message.get("train")
    if weight not in (None, 0, 1) or train not in (None, False, True):
        key, value = ("weight", weight) if weight not in (None, 0, 1) else ("train", train)
        raise NoRowError(
            f"field {name!r}: a message has the {key} {value!r}; a weight is 0 or 1, train is true or false"
        )
    return weight != 0 and train is not False


def _spoken_content(content: str | list[object], role: str, name: str) -> Content:
    if isinstance(content, str):
        return _unicode(content, name)
    try:
        return tuple(_unicode(text, name) for text in texts(content))
    except NoRowError:
        raise
    except ValueError as problem:
        raise NoRowError(
            f"field {name!r}: the message of role {role!r} has {problem}; text alone is read here"
        ) from problem


# The first shape whose fields are all there wins: the most specific stand first.
_PLAIN = (("text",),)
_SHAPES = (
    ((("messages",),), _chat),
    ((("prompt",), ("completion",)), _prompt_completion),
    ((("question",), ("solution", "answer")), _question),
    ((("instruction",), ("output",)), _instruction),
    (_PLAIN, _plain),
)
