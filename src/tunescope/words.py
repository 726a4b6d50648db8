"""Words typed or passed (`a,b` in a shell, a list from Python), and counts in sentences."""

from collections.abc import Collection, Iterable, Sequence

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


def counted(n: int, one: str, many: str | None = None) -> str:
    """A number of things in a sentence; `many` is the word for several, that for one and an `s` by default.

    >>> counted(1, "weight"), counted(1200, "weight"), counted(2, "tensor is", "tensors are")
    ('1 weight', '1,200 weights', '2 tensors are')
    """
    return f"{n:,} {one if n == 1 else f'{one}s' if many is None else many}"


def tower_name(stack: str) -> str:
    """A stack as words that stand alone.

    >>> tower_name("single_blocks"), tower_name("model"), tower_name("t5")
    ('single blocks', 'main stack', 'T5 encoder')
    """
    return {"model": "main stack", "t5": "T5 encoder"}.get(stack, stack.replace("_", " "))


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that is spelled most like another, if any is.

    >>> nearest("taylr", ["taylor", "curvature"])
    'taylor'
    """
    # Deferred: most words are spelled as they should be.
    import difflib

    found = difflib.get_close_matches(word, known, n=1)
    return found[0] if found else None


def first(names: Sequence[str], most: int) -> str:
    """The first few names of a list, with an ellipsis where there are more.

    >>> first(["a", "b", "c"], 2), first(["a"], 2)
    ('a, b …', 'a')
    """
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def named(names: Iterable[str], most: int = 4) -> str:
    """A few names in a sentence: `a, b, c and 7 more`.

    >>> named(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    listed = list(names)
    rest = len(listed) - most
    if rest > 0:
        return f"{', '.join(listed[:most])} and {rest} more"
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)
