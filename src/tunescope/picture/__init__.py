"""Values to figures: grids, profiles, animation, colour. Nothing here knows a question."""
