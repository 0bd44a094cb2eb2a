"""otp-server: issues and checks one-time passwords.

The map, top to bottom; each layer imports only those below it (import-linter keeps it):

    __main__     `python -m otp_server`
    cli          the commands; the only module that exits
    simulator    simulated devices and the demonstration: a client, it speaks only the wire
    app          the composition root: builds everything once, runs it, drains it
    registry     an installation without a server, for the commands
    config       the configuration file, the environment, the keys
    api          the faces: ``api.device`` (WebSocket and HTTP), ``api.rest``, ``api.ops``; their
                 operations are one registry (``api.operation``)
    transport    moves bytes: device WebSockets, HTTP listeners   | stores: memory, sqlite
                 | delivery: SMTP, SMS providers, the outbox file
    services     use cases and their ports: issue and confirm; starts, attempts, deliver
    domain       pure rules: codes, policy, contacts, templates, outcomes
    core         the door to the Rust core
    clock, telemetry, errors, wire
"""
