"""The svc face: accounts, sessions and codes of web clients (contracts part B).

operations      the whole face, as a list
resets          otp.send, otp.verify, otp.set_password
reset_answers   what each of their outcomes is called
sessions        bootstrap.authn, session.sign_in, session.sign_out
calling         what every service call has: who asks, from where, and how it is answered

shapes          what is sent and answered
parameters      parameters of a call, from headers, target and body
envelope        the frame of every answer
hubs            whose client a request is, by its host
origins         which pages may call and open sockets
cookies         the session cookie

socket_face     clients' web sockets: who may open one, and whose session it is bound to
socket_messages  what is said on them
"""
