from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class FrameType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[FrameType]
    SUBSCRIPTION: _ClassVar[FrameType]
    PUBLICATION: _ClassVar[FrameType]
    SIGNAL: _ClassVar[FrameType]
    OTP_REQUEST: _ClassVar[FrameType]
    OTP_RESPONSE: _ClassVar[FrameType]
UNKNOWN: FrameType
SUBSCRIPTION: FrameType
PUBLICATION: FrameType
SIGNAL: FrameType
OTP_REQUEST: FrameType
OTP_RESPONSE: FrameType

class OTPRequest(_message.Message):
    __slots__ = ("reserved",)
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    reserved: bool
    def __init__(self, reserved: _Optional[bool] = ...) -> None: ...

class OTPResponse(_message.Message):
    __slots__ = ("otp", "expires_at_ms", "error")
    OTP_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    otp: str
    expires_at_ms: int
    error: str
    def __init__(self, otp: _Optional[str] = ..., expires_at_ms: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class Auth(_message.Message):
    __slots__ = ("jwt_token",)
    JWT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jwt_token: str
    def __init__(self, jwt_token: _Optional[str] = ...) -> None: ...
