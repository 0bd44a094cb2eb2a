//! WebSocket frames as a client needs them: RFC 6455 section 5, without I/O.

/// The longest server frame that is taken; beyond it the peer is no server of ours.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;

/// Opcodes of RFC 6455 section 5.2.
pub mod opcode {
    /// A text message.
    pub const TEXT: u8 = 1;
    /// A binary message.
    pub const BINARY: u8 = 2;
    /// The close handshake.
    pub const CLOSE: u8 = 8;
    /// A ping.
    pub const PING: u8 = 9;
    /// A pong.
    pub const PONG: u8 = 10;
}

/// One whole frame of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame<'data> {
    /// A text or binary message in one frame.
    Message(&'data [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'data [u8]),
    /// Nothing to do.
    Pong,
    /// The server closes, with this code (1005 when it gave none).
    Close(u16),
}

/// A masked client frame: FIN set, any opcode, payloads up to 65 535 bytes.
///
/// # Errors
/// A sentence for a longer payload.
pub fn client_frame(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Result<Vec<u8>, String> {
    let mut frame = Vec::with_capacity(8 + payload.len());
    frame.push(0x80 | opcode);
    if let Ok(length @ 0..=125) = u8::try_from(payload.len()) {
        frame.push(MASKED | length);
    } else {
        let length = u16::try_from(payload.len())
            .map_err(|_| format!("a request has at most 65535 bytes, not {}", payload.len()))?;
        frame.push(MASKED | LENGTH_16);
        frame.extend_from_slice(&length.to_be_bytes());
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    Ok(frame)
}

/// The first whole frame of `data` and how many bytes it took; `None` while it is not whole.
///
/// # Errors
/// What the server did that RFC 6455 or this tool does not allow.
pub fn server_frame(data: &[u8]) -> Result<Option<(ServerFrame<'_>, usize)>, String> {
    let &[first, second, ..] = data else {
        return Ok(None);
    };
    if first & 0b0111_0000 != 0 {
        return Err("the server set a reserved bit".to_owned());
    }
    if second & 0x80 != 0 {
        return Err("the server masked a frame".to_owned());
    }
    let (length, head) = match second {
        126 => match data.get(2..4) {
            Some(&[a, b]) => (usize::from(u16::from_be_bytes([a, b])), 4),
            _ => return Ok(None),
        },
        127 => return Err("the server sent a frame of 64 KiB or more".to_owned()),
        short => (usize::from(short), 2),
    };
    if length > FRAME_BYTES_MAX {
        return Err("the server sent a frame that is too long".to_owned());
    }
    let Some(payload) = data.get(head..head + length) else {
        return Ok(None);
    };
    let (fin, opcode) = (first & 0x80 != 0, first & 0b0000_1111);
    if !fin || opcode == 0 {
        return Err("the server fragmented an answer".to_owned());
    }
    let frame = match opcode {
        opcode::TEXT | opcode::BINARY => ServerFrame::Message(payload),
        opcode::PING => ServerFrame::Ping(payload),
        opcode::PONG => ServerFrame::Pong,
        opcode::CLOSE => ServerFrame::Close(match payload {
            [a, b, ..] => u16::from_be_bytes([*a, *b]),
            _ => 1005,
        }),
        other => return Err(format!("the server sent opcode {other}")),
    };
    Ok(Some((frame, head + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_frame_is_masked_and_whole() {
        let frame = client_frame(opcode::BINARY, &[1, 2, 3, 4, 5], [9, 8, 7, 6]).expect("short");
        assert_eq!(frame[..6], [0x82, 0x85, 9, 8, 7, 6]);
        assert_eq!(frame[6..], [1 ^ 9, 2 ^ 8, 3 ^ 7, 4 ^ 6, 5 ^ 9]);
        let long = client_frame(opcode::BINARY, &[0; 300], [0; 4]).expect("fits");
        assert_eq!(long[..4], [0x82, 0xfe, 1, 44]);
        assert!(client_frame(opcode::BINARY, &vec![0; 70_000], [0; 4]).is_err());
    }

    #[test]
    fn every_cut_of_a_server_frame_waits_for_the_rest() {
        for length in [0_usize, 1, 40, 125, 126, 300] {
            let mut data = vec![0x82];
            if length < 126 {
                data.push(u8::try_from(length).expect("short"));
            } else {
                data.push(126);
                data.extend_from_slice(&u16::try_from(length).expect("fits").to_be_bytes());
            }
            data.extend(std::iter::repeat_n(7, length));
            for cut in 0..data.len() {
                assert_eq!(
                    server_frame(&data[..cut]),
                    Ok(None),
                    "cut {cut} of {length}"
                );
            }
            let whole = data.len();
            data.extend_from_slice(b"trailing");
            let (frame, used) = server_frame(&data).expect("fine").expect("whole");
            assert_eq!(used, whole);
            assert_eq!(frame, ServerFrame::Message(&vec![7; length]));
        }
    }

    #[test]
    fn control_frames_and_faults_are_told_apart() {
        let close = server_frame(&[0x88, 2, 0x03, 0xe9]).expect("fine");
        assert_eq!(close, Some((ServerFrame::Close(1001), 4)));
        assert_eq!(
            server_frame(&[0x89, 1, 5]).expect("fine"),
            Some((ServerFrame::Ping(&[5]), 3))
        );
        for bad in [
            [0xc2, 0],
            [0x82, 0x80],
            [0x02, 0],
            [0x80, 0],
            [0x82, 127],
            [0x83, 0],
        ] {
            assert!(server_frame(&bad).is_err(), "{bad:?}");
        }
    }
}
