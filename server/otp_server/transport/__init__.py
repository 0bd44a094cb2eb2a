"""Moves bytes and knows no services.

seam         what a device transport and the device face are to each other
options      how device connections are kept
native       device connections over the core's reactor, one task for all (Linux)
websocket    device connections over trio-websocket, a task group each
entrance     connections that are not let in yet: bounded, shared out by address
guard        bounds on what a WebSocket peer may send, before trio-websocket sees it
sockets      listening sockets, TLS contexts, descriptor limits
link         an open WebSocket's outbox, close and pings
http         HTTP connections: Hypercorn on Trio
hot          HTTP connections over the core's reactor, until they ask for more (Linux)
hot_seam     what the hot listener and its operations are to each other
client_socket  WebSockets of web clients, on connections that began as HTTP
client_handshake  how they begin
client_seam  what they and their face are to each other
http_framing  strict framing of requests, kept before h11 sees them
"""
