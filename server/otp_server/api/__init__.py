"""The faces: each speaks a protocol and calls services, nothing else. Strangers to each other.

web       what their HTTP sides share: errors, JSON bodies, the client's address
device    devices over WebSocket, and the HTTP side of the device face
ops       liveness, readiness, metrics: on a listener of their own
"""
