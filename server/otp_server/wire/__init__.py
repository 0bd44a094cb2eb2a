"""The messages of ``proto/device.proto`` for Python: :mod:`device_pb2`, written by a generator.

The server's own hot path decodes in Rust (:mod:`otp_server.core`); these classes are for the
simulator, for tests and for whoever speaks to the server. ``proto/generate.py`` writes them.
"""
