"""The faces: each speaks a protocol and calls services, nothing else. Strangers to each other.

device    devices over WebSocket, and the HTTP side of the device face
rest      OTP processes over SMS and e-mail, their configuration, access tokens
docs      the OpenAPI document and the page that shows it
ops       liveness, readiness, metrics: on a listener of their own

What their HTTP sides share:

operation        an HTTP operation: decode, call, render, and what there is to know about it
batches          service calls as operations need them
json_bodies      JSON bodies, read strictly
authentication   whose token a request carries
problem          an error as a problem (RFC 9457)
refusal          a service's refusal as an error
limit_headers    RateLimit and RateLimit-Policy
openapi          the document, made of operations
unshown          a repr for shapes that may hold a secret
web              the application whose every error is answered
resources        what every listener does with a request: which operation, who asks
mount            operations on Quart-Trio
hot              hot operations on the reactor, in batches
lanes            their calls: gathered, bounded, shed by priority
"""
