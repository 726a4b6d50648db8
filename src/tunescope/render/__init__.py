"""Views into figures, animations and text. The only place that knows matplotlib."""
