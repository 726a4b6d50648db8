"""Bytes on disk to named tensors: containers, pickles, shards."""
