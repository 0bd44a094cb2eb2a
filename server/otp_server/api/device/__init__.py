"""The device face: devices over WebSocket, and the HTTP routes that confirm their codes.

face       the WebSocket side: who is connected, what each frame means
sessions   one connection as the face knows it; answers in the order asked
issuing    OTP requests waiting for the store: batches, deadlines
http       confirm (three routes), startOtp, server time, status
"""
