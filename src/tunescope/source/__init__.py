"""Sources: adapters of every format, opened as updates with a ledger of every tensor."""

from tunescope.source.open import open_source, open_sources
from tunescope.source.opened import Source
from tunescope.source.spec import parse_spec
from tunescope.source.tensors import Entry

__all__ = ["Entry", "Source", "open_source", "open_sources", "parse_spec"]
