"""The orchestrator of the benches.

machine       processors, memory, descriptors
processes     start a server pinned, see where it listens, end it
servers       which servers there are: the floor, ours, the peers
loadgen       drives the load generator
figures       medians, best rounds, ratios: pure
rounds        interleaved rounds; disturbed ones repeated
scenarios     what is measured
rest          the scenarios of rest, confirm and svc; rest_requests: what they ask
beside        devices beside HTTP, and the reverse
overload      more than the server can do, and the time after it
hot           the core's HTTP alone
http_servers  our whole server over HTTP, and the peers that repeat its answers
http_load     drives the load generator over HTTP
budgets       budgets.toml against what was measured: pure
report        one self-contained HTML page: pure
instructions  the Rust core's operations, counted by callgrind
"""
