"""A model, its tokens, its loss, its devices: the only place that scores text. Needs torch."""
