"""The device face: devices over WebSocket, and the HTTP operations that confirm their codes.

face        the WebSocket side: who is connected, what each frame means
sessions    one connection as the face knows it; answers in the order asked
issuing     OTP requests waiting for the store: batches, deadlines
http        the HTTP side: all its operations
confirming  confirm, in three ways
operations  startOtp, server time, status
shapes      the bodies and answers of these
"""
