"""Is this adapter in this checkpoint, once, with its scale?"""
