"""Simulated devices and the demonstration: clients that speak only the wire.

They use the protobuf runtime and trio-websocket, never the Rust core, so that they are a second
opinion on it.

    device    one simulated device
    load      many of them at a rate, latency percentiles
    demo      the demonstration: demo_device, then demo_processes, over demo_steps
"""
