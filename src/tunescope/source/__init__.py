"""Sources: adapters of every format, opened as updates with a ledger of every tensor."""

from tunescope.source.files.tensors import Entry
from tunescope.source.open import open_source, open_sources
from tunescope.source.opened import Source
from tunescope.source.spec import parse_spec

__all__ = ["Entry", "Source", "open_source", "open_sources", "parse_spec"]
