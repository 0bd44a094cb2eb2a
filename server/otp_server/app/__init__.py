"""The composition root: builds everything once, serves it, drains it.

Everything gets its collaborators by constructor; nothing is reached through a global. The order of
starting and stopping is in ``server`` and nowhere else:

    start   store -> guess journal -> listeners -> face -> transports -> "ready"
    drain   readiness says no -> no new connections -> answers owed -> sockets closed 1001
            -> HTTP requests in flight -> the face's tasks -> store

    server      one running server
    services    the use cases over one store
    base        what every part is built over
    engine      codes, contacts, deliveries and their upkeep: what rest and svc share
    rest        the rest face: services, operations
    svc         the svc face: accounts, sessions, codes, web sockets, the page
    operations  every HTTP operation on one application
    http        those on the listener of the apps: hot ones on the reactor
    collecting  how the collector behaves meanwhile
    face        the device face and its HTTP side
    listeners   the bound sockets, TLS, and how many connections they may carry
"""

from otp_server.app.server import Server

__all__ = ["Server"]
