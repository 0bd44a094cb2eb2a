"""The orchestrator of the benches.

machine       processors, memory, descriptors
processes     start a server pinned, see where it listens, end it
servers       which servers there are: the floor, ours, the peers
loadgen       drives the load generator
figures       medians, best rounds, ratios: pure
rounds        interleaved rounds; disturbed ones repeated
scenarios     what is measured
rest          the REST scenarios; rest_requests: what they ask
budgets       budgets.toml against what was measured: pure
report        one self-contained HTML page: pure
instructions  the Rust core's operations, counted by callgrind
"""
