"""Text data for training and for scores: files or hub data sets -> rows -> token ids with labels.

Nothing here imports torch; a tokenizer is anything that can be called like one of `transformers`.
"""

from tunescope.corpus.encoding import Example, encode
from tunescope.corpus.reading import read_rows
from tunescope.corpus.rows import Rejected, Row, Rows, data_hash

__all__ = ["Example", "Rejected", "Row", "Rows", "data_hash", "encode", "read_rows"]
