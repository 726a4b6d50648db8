"""Tables into what a picture or a sentence needs: order, labels, limits, words. No pixels."""
