//! What a connection does with the bytes of its peer.

use super::ending::{self, Ending, Kind};
use super::options::{SessionKind, SessionOptions};
use super::{Begun, BegunFrame, Echo, Event, Opening, Phase, Session};
use crate::haptic::codec::FrameDecoder;
use crate::ws::connection::Piece;
use crate::ws::frame::{self, Opcode};
use crate::ws::handshake::{self, BadRequest, HEAD_BYTES_MAX};

impl Session {
    /// Takes the peer's next bytes, unmasking them in place. Never fails for what a peer sent:
    /// that comes out as events and as bytes to send.
    pub fn receive_data(
        &mut self,
        data: &mut [u8],
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        match self.phase {
            Phase::Linger | Phase::Over => return,
            Phase::Closing(_) => {
                self.receive_messages(data, now, options, events);
                return;
            }
            _ => {}
        }
        let bytes = (data.len() as u64).saturating_add(options.item_bytes);
        if !self.budget.charge(bytes, now, options) {
            match self.phase {
                Phase::Open => self.fail(Kind::Flooded, now, options, events),
                _ => self.receive_eof(events),
            }
            return;
        }
        match self.phase {
            Phase::Head => self.receive_head(data, now, options, events),
            Phase::Deciding => self.keep(data, events),
            _ => self.receive_messages(data, now, options, events),
        }
    }

    fn receive_head(
        &mut self,
        data: &mut [u8],
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        let mut opening = self.take_opening();
        let head = &mut opening.head;
        let seen = head.len();
        head.extend_from_slice(data);
        let request = match handshake::head_bytes(head, seen) {
            Some(size) if size <= HEAD_BYTES_MAX => handshake::parse_request(&head[..size])
                .map(|request| (request, head.split_off(size))),
            None if head.len() <= HEAD_BYTES_MAX => {
                self.begun = Begun::Opening(Box::new(opening));
                return;
            }
            _ => Err(handshake::HEAD_TOO_LARGE),
        };
        match request {
            Ok((request, after)) => {
                self.begun = Begun::Opening(Box::new(Opening {
                    head: after,
                    accept: request.accept.clone(),
                    close: None,
                }));
                self.phase = Phase::Deciding;
                events.push(Event::Upgrade(Box::new(request)));
            }
            Err(why) => self.bad_request(&why, now, options, events),
        }
    }

    fn bad_request(
        &mut self,
        why: &BadRequest,
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        let response = handshake::bad_response(why);
        self.end_http(response.as_bytes(), now, options);
        events.push(Event::Unopened);
    }

    /// Keeps what a hasty peer sends before it is let in.
    fn keep(&mut self, data: &[u8], events: &mut Vec<Event>) {
        let mut opening = self.take_opening();
        if opening.head.len() + data.len() > HEAD_BYTES_MAX {
            self.receive_eof(events);
        } else {
            opening.head.extend_from_slice(data);
            self.begun = Begun::Opening(Box::new(opening));
        }
    }

    /// Reads messages in `open`, and in `closing` looks for the close frame among them.
    pub(super) fn receive_messages(
        &mut self,
        mut data: &mut [u8],
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        #[cfg(test)]
        assert!(options.kind != SessionKind::Panicking, "planted");
        while matches!(self.phase, Phase::Open | Phase::Closing(_)) {
            let piece = match self.ws.next_piece(&mut data, &options.message) {
                Ok(Some(piece)) => piece,
                Ok(None) => return,
                Err(fault) => {
                    self.fault(ending::of_fault(fault), now, options, events);
                    return;
                }
            };
            let is_frame = !matches!(piece, Piece::Data { over: false, .. } | Piece::Close(_));
            if self.phase == Phase::Open && is_frame && !self.budget.charge_items(1, now, options) {
                self.fail(Kind::Flooded, now, options, events);
                return;
            }
            match (piece, self.phase) {
                (Piece::Close(payload), Phase::Closing(ending)) => {
                    let _ = payload;
                    self.linger(now, options);
                    events.push(Event::Closed(ending));
                }
                (_, Phase::Closing(_)) => {}
                (
                    Piece::Data {
                        text, payload, end, ..
                    },
                    _,
                ) => {
                    self.data(text, payload, end, now, options, events);
                }
                (Piece::Ping(payload), _) => {
                    if self.has_room(payload.as_bytes().len(), now, options, events) {
                        frame::write_frame(self.outbox.end(), Opcode::Pong, payload.as_bytes());
                    }
                }
                (Piece::Pong(_), _) => {
                    self.ping_unanswered = false;
                    self.misses = 0;
                }
                (Piece::Close(payload), _) => {
                    frame::write_frame(self.outbox.end(), Opcode::Close, payload.as_bytes());
                    self.linger(now, options);
                    events.push(Event::Closed(Ending::Peer));
                }
            }
        }
    }

    /// A stream without meaning: our close frame, unless it was sent before.
    fn fault(
        &mut self,
        (code, kind): (u16, Kind),
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        if let Phase::Closing(ending) = self.phase {
            self.linger(now, options);
            events.push(Event::Closed(ending));
        } else {
            frame::write_close(self.outbox.end(), code, kind.token());
            self.linger(now, options);
            events.push(Event::Closed(Ending::Core(kind)));
        }
    }

    fn data(
        &mut self,
        text: bool,
        payload: &[u8],
        end: bool,
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        match options.kind {
            SessionKind::Echo => self.echo(text, payload, end, now, options, events),
            SessionKind::Device => self.haptic(payload, now, options, events),
            #[cfg(test)]
            SessionKind::Panicking => {}
        }
    }

    /// One stream of frames; the end of a message means nothing.
    fn haptic(
        &mut self,
        payload: &[u8],
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        if payload.is_empty() {
            return;
        }
        let (mut decoder, deadline) = match std::mem::replace(&mut self.begun, Begun::Nothing) {
            Begun::Frame(frame) => (frame.decoder, frame.deadline),
            _ => match FrameDecoder::new(options.frame_bytes_max) {
                Ok(decoder) => (decoder, u64::MAX),
                Err(_) => return self.fail(Kind::Internal, now, options, events),
            },
        };
        let frames = decoder.receive_data(payload);
        if !self.budget.charge_items(frames.len(), now, options) {
            self.fail(Kind::Flooded, now, options, events);
            return;
        }
        let any = !frames.is_empty();
        events.extend(frames.into_iter().map(Event::Frame));
        if let Some(fault) = decoder.fault() {
            self.close_with(fault.into(), now, options);
        } else if decoder.pending_bytes() > 0 {
            let deadline = if any || deadline == u64::MAX {
                now.saturating_add(options.frame_ms)
            } else {
                deadline
            };
            self.begun = Begun::Frame(Box::new(BegunFrame { decoder, deadline }));
        }
    }

    fn echo(
        &mut self,
        text: bool,
        payload: &[u8],
        end: bool,
        now: u64,
        options: &SessionOptions,
        events: &mut Vec<Event>,
    ) {
        let mut echo = match std::mem::replace(&mut self.begun, Begun::Nothing) {
            Begun::Echo(echo) => echo,
            _ => Box::default(),
        };
        echo.0.extend_from_slice(payload);
        if !end {
            self.begun = Begun::Echo(echo);
            return;
        }
        let Echo(message) = *echo;
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        if self.has_room(message.len(), now, options, events) {
            frame::write_frame(self.outbox.end(), opcode, &message);
        }
    }
}
