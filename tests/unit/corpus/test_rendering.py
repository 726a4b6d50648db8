"""A chat template is a program of the model's author: it reaches nothing, and it is stopped."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tunescope.corpus import Row, encode, rendering
from tunescope.errors import BadInput

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ROW = Row(messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), line=7)


@pytest.fixture
def rendered(tokenizer):
    def render(template):
        tokenizer.chat_template = template
        (example,) = encode([ROW], tokenizer, 100)
        return tokenizer.decode(example.input_ids)

    return render


@pytest.mark.parametrize(
    "template",
    [
        ENDLESS + PLAIN,
        # Only where the answer is another one, as the search for its place renders it.
        "{% if messages[1].content != 'b' %}" + ENDLESS + "{% endif %}" + PLAIN,
        # Only where a prompt is asked for, as the search for what opens an answer does.
        "{% if add_generation_prompt %}" + ENDLESS + "{% endif %}" + PLAIN,
        ENDLESS + "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    ],
)
def test_a_template_without_end_is_an_error_with_row(rendered, monkeypatch, template):
    monkeypatch.setattr(rendering, "SECONDS", 0.2)
    with pytest.raises(BadInput, match="comes to no end at row 7") as caught:
        rendered(template)
    assert caught.value.slug == "chat-template"


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ 'a' * 10**11 }}",
        "{{ 'a'.center(10**11) }}",
        "{{ 10**(10**8) }}",
        "{% for i in range(4000) %}{{ 'a' * 10**6 }}{% endfor %}",
        "{% for m in messages %}{{ m.content * 10**7 }}{% endfor %}",
        "{{ 'a' * 10**7 }}"
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    ],
)
def test_a_template_that_takes_all_memory_is_an_error_with_row(rendered, monkeypatch, bomb):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(rendering, "SECONDS", 2.0)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(BadInput, match="row 7") as caught:
        rendered(bomb + PLAIN)
    assert caught.value.slug == "chat-template"
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_number_beyond_all_floats_in_a_template_is_an_error_with_row(rendered):
    with pytest.raises(BadInput, match="cannot render row 7") as caught:
        rendered("{{ 1e999 - messages|length }}" + PLAIN)
    assert caught.value.slug == "chat-template"


def test_a_rendering_leaves_no_timer_and_the_caller_s_handler(rendered):
    before = signal.getsignal(signal.SIGVTALRM)
    assert rendered(PLAIN)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert signal.getsignal(signal.SIGVTALRM) == before


def test_a_chat_is_rendered_outside_the_main_thread_too(rendered):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(rendered, PLAIN).result() == rendered(PLAIN)


@pytest.mark.parametrize(
    "reach",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ cycler.__init__.__globals__.os.getcwd() }}",
        "{{ (messages | attr('__class__')).__subclasses__() }}",
        "{% include '/etc/passwd' %}",
        "{{ messages.clear() }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_reaches_beyond_the_chat_is_an_error(rendered, reach):
    with pytest.raises(BadInput) as caught:
        rendered(reach + PLAIN)
    assert caught.value.slug == "chat-template"


def test_a_format_that_reaches_beyond_its_values_shows_nothing(rendered):
    assert rendered("{{ '{0.__globals__}'.format(raise_exception) }}" + PLAIN) == rendered(PLAIN)
