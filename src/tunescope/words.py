"""Words from what was typed or passed: `a,b` on the command line, a list from Python."""

from collections.abc import Collection, Iterable

from tunescope.errors import UsageError, printable


def word_tuple(words: str | Iterable[object], slug: str, what: str) -> tuple[str, ...]:
    """`"a,b"` or words as a tuple of words, each once; at least one, else `UsageError` under `slug`.

    >>> word_tuple("taylor, curvature", "unknown-method", "method")
    ('taylor', 'curvature')
    """
    given = words.split(",") if isinstance(words, str) else [str(word) for word in words]
    found = tuple(dict.fromkeys(word.strip() for word in given if word.strip()))
    if not found:
        shown = printable(words if isinstance(words, str) else repr(given))
        raise UsageError(slug, f"no {what} is named", expected=f"at least one {what}", found=repr(shown))
    return found


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that is spelled most like another, if any is.

    >>> nearest("taylr", ["taylor", "curvature"])
    'taylor'
    """
    # Deferred: most words are spelled as they should be.
    import difflib

    found = difflib.get_close_matches(word, known, n=1)
    return found[0] if found else None
