"""Will it load: what an adapter file is, and how many of its modules meet a weight of the base."""
