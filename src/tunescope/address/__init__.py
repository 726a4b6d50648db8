"""Where a weight sits in a model: names of every spelling become addresses and short component names."""

from tunescope.address.address import distinct_addresses, parse, parse_all
from tunescope.address.components import component_names
from tunescope.address.experts import as_loaded
from tunescope.address.families import FAMILIES
from tunescope.address.order import kinds_in_order, rank_of_kind
from tunescope.address.place import Address
from tunescope.address.spelling import dotted
from tunescope.address.unet import steps, unrolled

__all__ = [
    "FAMILIES", "Address", "as_loaded", "component_names", "distinct_addresses", "dotted", "kinds_in_order",
    "parse", "parse_all", "rank_of_kind", "steps", "unrolled",
]  # fmt: skip
