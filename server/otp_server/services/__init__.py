"""Use cases and their ports. Batch-first: a single request is a batch of one.

ports      what a store must do: one page of sentences
issue      draw and store device codes
live_codes how many are alive, by length: never too few
confirm    check device codes, exactly once, under guess limits
devices    register, authenticate and revoke devices; organisations
tokens     the JWTs a confirmation hands out
presence   which devices are connected now, and who must be told of a revocation
upkeep     the periodic work: expiry, live counts, retention
"""
