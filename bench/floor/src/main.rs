//! The floor: epoll, one `recv` and one fixed `send` a message, nothing parsed.
//!
//! `floor REQUEST_BYTES ANSWER_BYTES` listens on a free loopback port and prints
//! `listening port=N`. The first read of a connection is taken for the upgrade of RFC 6455
//! section 1.3 and gets the canned answer of its key; whatever comes later is counted in requests
//! of the agreed size (so that requests read together get their answers together), not looked at.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
const BACKLOG: i32 = 4096;
const SCRATCH_BYTES: usize = 65_536;
/// Answers sent at once at most, all from one prepared block.
const BLOCK_ANSWERS: usize = 4096;
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    /// Bytes of a request that is not whole.
    begun: usize,
    /// Bytes of answers the socket did not take.
    owed: usize,
}

/// `HapticFrame` 20 of counted bytes in a WebSocket frame, as every peer answers.
fn answer(length: usize) -> Option<Vec<u8>> {
    let short = u8::try_from(length).ok().filter(|n| (3..126).contains(n))?;
    let mut frame = vec![0x82, short, 20, short, 0];
    frame.extend((3..short).map(|n| n % 251));
    Some(frame)
}

fn main() -> ExitCode {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let (&[request, size], Some(answer)) =
        (sizes.as_slice(), sizes.get(1).copied().and_then(answer))
    else {
        eprintln!("floor REQUEST_BYTES ANSWER_BYTES, both below 126");
        return ExitCode::FAILURE;
    };
    debug_assert_eq!(answer.len(), size + 2);
    match serve(request + 6, &answer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(request_bytes: usize, answer: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    let mut listener = TcpListener::from_std(socket.into());
    println!("listening port={}", listener.local_addr()?.port());
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let block = answer.repeat(BLOCK_ANSWERS);
    let mut events = Events::with_capacity(EVENTS);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut peers, &mut free);
                continue;
            }
            let index = event.token().0;
            let Some(peer) = peers.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            if (event.is_writable() && pay(peer, &block, answer.len()).is_err())
                || hear(peer, &mut scratch, request_bytes, &block, answer.len()).is_err()
            {
                peers[index] = None;
                free.push(index);
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    peers: &mut Vec<Option<Peer>>,
    free: &mut Vec<usize>,
) {
    while let Ok((mut stream, _)) = listener.accept() {
        let index = free.pop().unwrap_or_else(|| {
            peers.push(None);
            peers.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        let ready = stream.set_nodelay(true).and_then(|()| {
            poll.registry()
                .register(&mut stream, Token(index), interest)
        });
        if ready.is_ok() {
            peers[index] = Some(Peer {
                stream,
                upgraded: false,
                begun: 0,
                owed: 0,
            });
        } else {
            free.push(index);
        }
    }
}

fn hear(
    peer: &mut Peer,
    scratch: &mut [u8],
    request_bytes: usize,
    block: &[u8],
    answer_bytes: usize,
) -> io::Result<()> {
    loop {
        let count = match peer.stream.read(scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if peer.upgraded {
            let heard = peer.begun + count;
            peer.begun = heard % request_bytes;
            peer.owed += heard / request_bytes * answer_bytes;
            pay(peer, block, answer_bytes)?;
        } else {
            peer.upgraded = true;
            peer.stream.write_all(UPGRADED)?;
        }
        if count < scratch.len() {
            return Ok(());
        }
    }
}

/// Sends what is owed, as far as the socket takes it.
fn pay(peer: &mut Peer, block: &[u8], answer_bytes: usize) -> io::Result<()> {
    while peer.owed > 0 {
        // Begin where the last partial write stopped: all answers are alike.
        let skip = (answer_bytes - peer.owed % answer_bytes) % answer_bytes;
        let until = block.len().min(skip + peer.owed);
        match peer.stream.write(&block[skip..until]) {
            Ok(sent) => peer.owed -= sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
