"""The pure core: what may happen next, and what then is true.

No Ray, no asyncio, no clock, no randomness, no environment. `decide` chooses, `apply` changes, `Shard` puts the
journal between what is decided and what the world may see of it.
"""
