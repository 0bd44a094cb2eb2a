//! The device's wire: `HapticFrame`s (`codec`), protobuf's encoding (`wire`) and the three
//! messages we speak (`messages`). The layout is described in `proto/device-frames.md`.

pub mod codec;
pub mod messages;
pub mod wire;
