"""Python's garbage collector, which rests while a command's modules load: they make no garbage yet.

Loading makes some hundred thousand objects, and the collector would go through all of them again and again:
13 % of the time of `tunescope norms` on a small adapter (benchmarks/RESULTS.md).
"""

import gc

# New objects after which garbage is looked for: adapters and pictures are many objects and hardly garbage. At
# the usual 700 a tenth of `trajectory` of 400 checkpoints was spent on looking.
_YOUNG = 50_000


def collect_later() -> None:
    """Let the collector rest until `collect`."""
    gc.disable()


def collect() -> None:
    """Wake the collector where it rests; what is loaded stays, and is not looked through again."""
    if not gc.isenabled():
        gc.freeze()
        _, *older = gc.get_threshold()
        gc.set_threshold(_YOUNG, *older)
        gc.enable()


def load_drawing() -> None:
    """Load what draws, without what only `help` in an interpreter would show."""
    # Deferred: matplotlib takes longer to load than all else, and --help needs none of it.
    from tunescope.picture.loading import load_without_help

    collect_later()
    load_without_help()
    collect()
