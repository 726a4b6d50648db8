"""Labels as parts of file names: harmless, and never equal for two different labels."""

import hashlib
import re
from collections.abc import Sequence


def file_stem(label: str) -> str:
    """A label as part of a file name: kept where harmless, else made so with a short hash behind it.

    >>> file_stem("run-a_2"), file_stem("a/b")
    ('run-a_2', 'a_b-c14cddc0')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", label)[:80].lstrip(".")
    return safe if safe == label else f"{safe}-{_hash(label)}"


def file_stems(labels: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """A file stem for every label, each its own also where case does not count, and none that is `taken`.

    >>> file_stems(["a", "A"])["a"] != "a"
    True
    """
    stems = {label: file_stem(label) for label in labels}
    lowered = [stem.lower() for stem in (*stems.values(), *taken)]
    used: set[str] = set()
    for label, stem in stems.items():
        stem = stem if lowered.count(stem.lower()) == 1 else f"{stem}-{_hash(label)}"
        while stem.lower() in used:
            stem = f"{stem}-{_hash(label)}"
        used.add(stem.lower())
        stems[label] = stem
    return stems


def _hash(label: str) -> str:
    return hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
