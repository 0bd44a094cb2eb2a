"""The door to the Rust core (``otp_core_rs/``): frames, passcodes, windows, sockets.

Everything here is deterministic and has no clock: time is an argument, in integer milliseconds.
Only the drawing of passcodes reads the operating system's random source. Nothing above this
package imports ``_native`` by name.
"""

import sys

from otp_server.core._limits import Charges, Limit, LimitRow, Quota, Quotas, SlidingWindows
from otp_server.core._native import (
    ContactCipher,
    ContactIndex,
    Frame,
    FrameDecoder,
    FrameFault,
    Keyring,
    Passcode,
    PresenceTable,
    __version__,
    decode_auth,
    decode_otp_request,
    decode_otp_response,
    encode_frame,
    encode_otp_code,
    encode_otp_error,
    hash_chain,
    is_plain_json,
    panic_on_purpose,
    verify_digest,
)

if sys.platform == "linux":
    from otp_server.core._native import (
        HttpBatch,
        HttpReactor,
        HttpReactorOptions,
        HttpRequest,
        Reactor,
        ReactorBatch,
        ReactorListener,
        ReactorOptions,
    )

__all__ = [
    "Charges",
    "ContactCipher",
    "ContactIndex",
    "Frame",
    "FrameDecoder",
    "FrameFault",
    "HttpBatch",
    "HttpReactor",
    "HttpReactorOptions",
    "HttpRequest",
    "Keyring",
    "Limit",
    "LimitRow",
    "Passcode",
    "PresenceTable",
    "Quota",
    "Quotas",
    "Reactor",
    "ReactorBatch",
    "ReactorListener",
    "ReactorOptions",
    "SlidingWindows",
    "__version__",
    "decode_auth",
    "decode_otp_request",
    "decode_otp_response",
    "encode_frame",
    "encode_otp_code",
    "encode_otp_error",
    "hash_chain",
    "is_plain_json",
    "panic_on_purpose",
    "verify_digest",
]
