"""What the server costs, beside others, in one run: see ``bench/README.md``.

run          the command: full, quick, gate, baseline
suite/       the orchestrator: servers, rounds, scenarios, budgets, report
echo_face    our device transports without the OTP service: a fixed answer to each frame
harness      our whole server with a timer beside it
devices      registers many devices in one go
rest_installation   an API client and processes with their codes, for the REST scenarios
device_codes        a code for each of many devices
web_client          a session with an open web socket, and codes sent to accounts
rest_harness        the server under those, with a planted regression on demand
peers/       other servers that answer the same bytes
loadgen/     the load generator (Rust)
floor/       the floor: two system calls a message (Rust)
instructions/  each operation of the Rust core, for callgrind (Rust)
"""
