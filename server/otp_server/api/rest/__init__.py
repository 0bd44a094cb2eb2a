"""The rest face: OTP processes over SMS and e-mail, for back ends (contracts part C).

operations      the whole face, as a list
processes       handshake, init, attempt
searching       search, by GET and by POST
configuration   challenge types, their routes, templates
oauth           access tokens
admission       every authenticated call counts once

shapes, configuration_shapes    what is sent and answered
reading         parameters of targets, searches in either form
envelope        the frame of every answer
times           instants, as written
"""
