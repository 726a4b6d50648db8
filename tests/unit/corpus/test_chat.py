"""Chats are rendered and tokenised whole, and every assistant turn is learned, in whatever template."""

import importlib.util
from itertools import groupby
from pathlib import Path

import pytest

from tunescope.corpus import Row, encode
from tunescope.corpus.rows import NoRowError, data_hash, record_of, row_of
from tunescope.errors import BadInput

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
PROMPTED = PLAIN + "{% if add_generation_prompt %}<assistant>{% endif %}"
# As Qwen3: a thinking block before the last answer only.
THINK = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<end>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
# As gpt-oss: the last turn ends otherwise than an inner one.
ENDS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if loop.last %}<return>{% else %}<end>{% endif %}{% endfor %}"
)
# As Llama 2: the system text stands inside the first user turn; answers are trimmed.
INSIDE = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] "
    "{% if loop.index0 == 1 and messages[0].role == 'system' %}<<{{ messages[0].content }}>> {% endif %}"
    "{{ m.content }} [/INST]{% elif m.role == 'assistant' %} "
    "{{ m.content | trim }} </s>{% endif %}{% endfor %}"
)
CHAT = (
    ("user", "What is a?"),
    ("assistant", "a is assistant"),
    ("user", "And b? a is assistant"),
    ("assistant", " end "),
    ("user", "more"),
    ("assistant", "<end>"),
)


def chat(*turns):
    return Row(messages=tuple({"role": role, "content": content} for role, content in turns))


def runs(tokenizer, example):
    """The learned runs of an example, each as text."""
    found = [
        [token for token, _ in group]
        for learned, group in groupby(
            zip(example.input_ids, example.labels, strict=True), lambda p: p[1] != -100
        )
        if learned
    ]
    return [tokenizer.decode(run) for run in found]


@pytest.fixture
def learn(tokenizer):
    """The learned runs of a chat under a template; the ids are those of the template."""

    def learned(template, *turns):
        tokenizer.chat_template = template
        (example,) = encode([chat(*turns)], tokenizer, 10_000)
        messages = [{"role": role, "content": content} for role, content in turns]
        assert example.input_ids == tokenizer.apply_chat_template(messages, tokenize=True)["input_ids"]
        return runs(tokenizer, example)

    return learned


@pytest.mark.parametrize("template", [PLAIN, PROMPTED])
def test_every_turn_is_learned_with_what_closes_it(learn, template):
    assert learn(template, *CHAT) == ["a is assistant<end>", " end <end>", "<end><end>"]


def test_a_block_before_the_last_answer_only_hides_no_other(learn):
    last = "<think>\n\n</think>\n\n<end><end>"
    assert learn(THINK, *CHAT) == ["a is assistant<end>", " end <end>", last]


def test_inner_turns_may_end_otherwise_than_the_last(learn):
    assert learn(ENDS, *CHAT) == ["a is assistant<end>", " end <end>", "<end><return>"]


def test_trimmed_answers_and_a_system_text_inside_the_first_turn(learn):
    assert learn(INSIDE, ("system", "Be brief."), *CHAT) == ["a is assistant </s>", "end </s>", "<end> </s>"]


def test_two_answers_in_a_row_and_an_answer_at_the_start(learn):
    turns = ("assistant", "hello"), ("assistant", "hello"), ("user", "hello"), ("assistant", "hello")
    assert "".join(learn(PROMPTED, *turns)) == "hello<end>hello<end>hello<end>"


def test_an_empty_answer_is_not_learned_and_no_error(learn):
    assert learn(PROMPTED, ("assistant", " "), ("user", "x"), ("assistant", "y")) == ["y<end>"]


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        ("m.content[:8]", ["  a is l", "the last"]),
        ("m.content | upper", ["  A IS LONG  ", "THE LAST ONE"]),
        ("m.content | reverse", ["  gnol si a  ", "eno tsal eht"]),
        ("m.content.split() | join(' ')", ["a is long", "the last one"]),
        ("m.content | replace('is', '***')", ["  a *** long  ", "the last one"]),
        ("m.content | trim | first", ["a", "t"]),
    ],
)
def test_what_a_template_makes_of_an_answer_is_learned(learn, said, answers):
    template = PLAIN.replace("m.content", said)
    turns = ("user", "Q?"), ("assistant", "  a is long  "), ("user", "more"), ("assistant", "the last one")
    assert learn(template, *turns) == [f"{answer}<end>" for answer in answers]


def test_what_opens_the_next_turn_is_not_learned_where_nothing_closes_one(learn):
    """Text between turns is stripped, and only the whole chat has an end."""
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}<end>"
    turns = ("user", "Q?"), ("assistant", " one "), ("user", "more"), ("assistant", "two")
    assert learn(template, *turns) == ["one", "two<end>"]


def test_answers_that_repeat_the_system_text_and_the_users_are_told_apart(learn):
    turns = [(role, "a b") for role in ("system", "user", "assistant", "user", "assistant")]
    assert learn(PLAIN, *turns) == ["a b<end>", "a b<end>"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ (messages | map(attribute='content') | join) | length }}" + PLAIN,
        "{% for m in messages if m.role == 'assistant' %}[{{ m.content }}]{% endfor %}" + PLAIN,
    ],
)
def test_what_follows_from_an_answer_elsewhere_in_the_chat_is_never_learned(learn, template):
    with pytest.raises(BadInput, match=r"row 1, turn 2: .*turn-not-learned"):
        learn(template, *CHAT)


@pytest.mark.parametrize(
    "head",
    [
        "{{ m.content | length }}",
        "{{ m.content.split() | length }}",
        "{{ messages[loop.index0 - 1].content | length }}",
    ],
)
def test_a_turns_length_or_number_of_words_before_it_is_never_learned(learn, head):
    template = "{% for m in messages %}<{{ m.role }} " + head + ">{{ m.content }}<end>{% endfor %}"
    turns = ("user", "Q?"), ("assistant", "one of many words"), ("user", "more"), ("assistant", "two words")
    with pytest.raises(BadInput, match=r"row 1, turn \d: .*turn-not-learned"):
        learn(template, *turns)


@pytest.mark.parametrize("head", ["loop.index", "loop.revindex0", "messages | length"])
def test_a_turns_index_before_it_is_no_part_of_the_turn(learn, head):
    template = "{% for m in messages %}<{{ m.role }} {{ " + head + " }}>{{ m.content }}<end>{% endfor %}"
    turns = ("user", "Q?"), ("assistant", "one of many"), ("user", "more"), ("assistant", "two")
    assert learn(template, *turns) == ["one of many<end>", "two<end>"]


def test_marks_of_the_template_decide_where_it_has_them(learn):
    marked = PLAIN.replace("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}")
    marked = marked.replace("{% for", "{% for").replace(
        "{% generation %}{{ m.content }}{% endgeneration %}",
        "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}",
    )
    assert learn(marked, *CHAT) == ["a is assistant", " end ", "<end>"]


def test_a_turn_that_the_template_does_not_mark_is_an_error(learn):
    marked = (
        "{% for m in messages %}{% if loop.last %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    with pytest.raises(BadInput, match=r"row 1, turn 2: .*turn-not-learned"):
        learn(marked, *CHAT)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
        "{% endif %}{% endfor %}<end>{% endfor %}",
        PLAIN + "{{ messages[1].content }}",
    ],
)
def test_a_turn_that_is_left_out_or_rendered_twice_is_an_error(learn, template):
    with pytest.raises(BadInput, match="row 1, turn 2") as caught:
        learn(template, *CHAT)
    assert caught.value.slug == "turn-not-learned"


@pytest.mark.parametrize(
    "refusal",
    [
        "{{ raise_exception('no such role') }}",
        "{{ m.content + 1 }}",
        "{{ m.nothing.at.all }}",
        "{{ 1 // 0 }}",
    ],
)
def test_a_template_that_raises_is_an_error_with_row_and_role(learn, refusal):
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}"
        + refusal
        + "{% endif %}{{ m.content }}{% endfor %}"
    )
    with pytest.raises(BadInput, match="row 1: it stops at a turn of role 'system'") as caught:
        learn(template, ("user", "x"), ("system", "Be brief."), *CHAT)
    assert caught.value.slug == "chat-template"


def test_a_template_that_is_no_template_is_an_error(learn):
    with pytest.raises(BadInput, match="chat-template"):
        learn("{% for m in messages %}", *CHAT)


def test_the_row_s_own_line_is_named(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    row = Row(messages=({"role": "assistant", "content": "x"},), line=41)
    with pytest.raises(BadInput, match="row 41"):
        encode([row], tokenizer, 10)


@pytest.mark.parametrize(
    ("template", "endless"),
    [(PLAIN, False), ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", True)],
)
def test_a_template_that_closes_no_turn_is_known_by_it(tokenizer, template, endless):
    tokenizer.chat_template = template
    (example,) = encode([chat(*CHAT)], tokenizer, 1000)
    assert example.endless is endless


def test_text_ends_with_the_end_of_sequence_and_is_never_endless(tokenizer):
    (example,) = encode([Row(prompt="a", completion="b")], tokenizer, 1000)
    assert not example.endless


SHIPPED = Path((importlib.util.find_spec("trl") or pytest).origin or "").parent / "chat_templates"
TEMPLATES = sorted(path.stem for path in SHIPPED.glob("*.jinja"))
# They take lists of parts, and no plain text.
PARTS_ONLY = ("idefics3", "smolvlm", "llava_next")
NO_SYSTEM = ("gemma", "gemma_training")
TURNS = [
    ("user", "First question, with émoji 🙂?"),
    ("assistant", "First answer: né 🙂."),
    ("user", "Second: <b>assistant</b>?"),
    ("assistant", "  Second answer\n\nof two lines.  "),
    ("user", "Third?"),
    ("assistant", "Third answer: assistant"),
]


def spans_of(pieces, text):
    """Where the pieces stand in the text, each behind the one before."""
    at, found = 0, []
    for piece in pieces:
        at = text.index(piece, at)
        found.append((at, at + len(piece)))
        at += len(piece)
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("system", [False, True])
def test_every_template_that_trl_ships_learns_every_answer_token_by_token(tokenizer, name, system):
    tokenizer.chat_template = (SHIPPED / f"{name}.jinja").read_text()
    turns = [("system", "Be brief."), *TURNS] if system else TURNS
    messages = [{"role": role, "content": content} for role, content in turns]
    if name.startswith(PARTS_ONLY) or (system and name in NO_SYSTEM):
        with pytest.raises(BadInput, match="row 1") as caught:
            encode([chat(*turns)], tokenizer, 10_000)
        assert caught.value.slug in ("turn-not-learned", "chat-template")
        assert name not in NO_SYSTEM or "role 'system'" in str(caught.value)
        return
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    (example,) = encode([chat(*turns)], tokenizer, 10_000)
    assert example.input_ids == tokenizer.apply_chat_template(messages, tokenize=True)["input_ids"]
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    places = spans_of([content.strip() for _, content in TURNS], text[text.find("First question") :])
    shift = text.find("First question")
    for (role, _), (start, stop) in zip(TURNS, places, strict=True):
        for label, (first, last) in zip(example.labels, offsets, strict=True):
            if first < stop + shift and last > start + shift:
                assert (label != -100) == (role == "assistant")
    # Around an answer only what opens and closes it is learned too.
    for run, content in zip(runs(tokenizer, example), [c for r, c in TURNS if r == "assistant"], strict=True):
        assert content.strip() in run
        assert len(run) <= len(content) + 60


@pytest.mark.parametrize("name", [name for name in TEMPLATES if f"{name}_training" in TEMPLATES])
def test_templates_without_marks_learn_what_their_marked_twins_mark(tokenizer, name):
    if name.startswith(PARTS_ONLY):
        return
    found = []
    for variant in (name, f"{name}_training"):
        tokenizer.chat_template = (SHIPPED / f"{variant}.jinja").read_text()
        found.append(runs(tokenizer, encode([chat(*TURNS)], tokenizer, 10_000)[0]))
    for plain, marked in zip(*found, strict=True):
        # Marks may take in more: the words that ask for an answer.
        assert plain.removeprefix("\n</think>\n\n").strip() in marked


MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<end>"
    "{% endgeneration %}{% else %}{{ m.content }}<end>{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("template", [PROMPTED, THINK, ENDS, MARKED])
@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"weight": 0.0, "train": True}])
def test_a_turn_that_the_data_takes_out_is_not_learned(tokenizer, template, mark):
    tokenizer.chat_template = template
    turns = [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "bad words", **mark},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "good words", "weight": 1},
    ]
    (example,) = encode([row_of({"messages": turns})], tokenizer, 4096)
    (found,) = runs(tokenizer, example)
    assert "good words" in found
    assert "bad" not in found
    assert "bad words" in tokenizer.decode(example.input_ids)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"train_detail": [{"begin_offset": 0, "end_offset": 2, "train": False}]}, "train_detail"),
        ({"weight": 0.5}, "weight 0.5"),
        ({"train": "no"}, "train 'no'"),
        ({"loss_mask": 0}, "loss_mask"),
    ],
)
def test_other_marks_of_what_is_learned_are_refused_by_name(mark, said):
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "words", **mark}]
    with pytest.raises(NoRowError, match=said):
        row_of({"messages": turns})


def test_a_chat_whose_every_answer_is_taken_out_is_no_row_and_a_mark_stays_when_it_is_written():
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "words", "weight": 0}]
    with pytest.raises(NoRowError, match="no assistant turn to learn from"):
        row_of({"messages": turns})
    answered = [*turns, {"role": "assistant", "content": "more"}]
    row = row_of({"messages": answered})
    assert record_of(row) == {"messages": answered}
    assert data_hash([row]) != data_hash(
        [row_of({"messages": [*answered[:1], {**answered[1], "weight": 1}, answered[2]]})]
    )


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name in PARTS_ONLY])
def test_templates_that_take_parts_alone_are_refused_with_an_advice_that_works(tokenizer, name):
    tokenizer.chat_template = (SHIPPED / f"{name}.jinja").read_text()
    with pytest.raises(BadInput) as caught:
        encode([chat(*TURNS)], tokenizer, 10_000)
    assert '[{"type": "text", "text": "..."}]' in caught.value.fix
    parts = [{"role": r, "content": [{"type": "text", "text": text}]} for r, text in TURNS]
    (example,) = encode([row_of({"messages": parts})], tokenizer, 10_000)
    learned = tokenizer.decode([label for label in example.labels if label >= 0])
    assert all(text.strip() in learned for role, text in TURNS if role == "assistant")


@pytest.mark.parametrize("name", [name for name in TEMPLATES if not name.startswith(PARTS_ONLY)])
def test_of_the_templates_that_trl_ships_two_learn_no_end_of_a_turn(tokenizer, name):
    tokenizer.chat_template = (SHIPPED / f"{name}.jinja").read_text()
    (example,) = encode([chat(*TURNS)], tokenizer, 10_000)
    # That of diffusion models marks the words alone.
    assert example.endless == (name in ("glm4moe", "diffusion_gemma_training"))
