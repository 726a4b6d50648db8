"""Sound inputs of every kind, damaged in every way: each ends in an answer, none in a bug of ours."""
