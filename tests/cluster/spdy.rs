//! A kubelet's exec by SPDY/3.1: what API servers since 1.30 speak to kubelets, whatever a client speaks to them
//! (KEP-4006, `TranslateStreamCloseWebsocketRequests`).
//!
//! Only as much of the protocol as that needs. Frames have a head of eight bytes. The names of streams are in compressed
//! headers and need not be read: `client-go/tools/remotecommand/v4.go` opens error, stdin, stdout and stderr in this order.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const OFFERED: &str = "x-stream-protocol-version";
/// Since this version an exit status is told as JSON.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// Its channels, in the order in which their streams are opened.
const ORDER: [u8; 4] = [3, 0, 1, 2];
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
/// The head of a zlib stream with a preset dictionary: SPDY's, of which only the checksum is here.
const ZLIB: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
/// No headers, as a stored block, and an empty one that ends what belongs together.
const NO_HEADERS: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const LAST: u8 = 1;

/// The answer that switches to SPDY, if that is what was asked for.
pub(crate) fn switched(headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let is_spdy = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"SPDY/3.1"));
    let mut offered = headers.get_all(OFFERED).iter().filter_map(|value| value.to_str().ok());
    if !is_spdy || !offered.any(|value| value.split(',').any(|one| one.trim() == PROTOCOL)) {
        return None;
    }
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "SPDY/3.1")
        .header(CONNECTION, "Upgrade")
        .header(OFFERED, PROTOCOL);
    Some(response.body(Full::default()).expect("a response"))
}

/// A connection whose four streams are open.
pub(crate) struct Spdy<S> {
    stream: S,
    opened: Vec<u32>,
    replied: bool,
}

enum Frame {
    Data(u32, Vec<u8>),
    Control(u16, Vec<u8>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Spdy<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, opened: Vec::new(), replied: false }
    }

    async fn frame(&mut self) -> std::io::Result<Frame> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await?;
        let mut body = vec![0; usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7])];
        self.stream.read_exact(&mut body).await?;
        Ok(if head[0] & 0x80 == 0 {
            Frame::Data(u32::from_be_bytes([head[0], head[1], head[2], head[3]]), body)
        } else {
            Frame::Control(u16::from_be_bytes([head[2], head[3]]), body)
        })
    }

    async fn control(&mut self, kind: u16, body: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(body.len()).expect("a short frame").to_be_bytes();
        let head = [&[0x80, 3][..], &kind.to_be_bytes(), &[0], &length[1..]].concat();
        self.stream.write_all(&[&head, body].concat()).await?;
        self.stream.flush().await
    }

    fn number(&self, channel: u8) -> Option<u32> {
        self.opened.get(ORDER.iter().position(|one| *one == channel)?).copied()
    }

    /// What comes next on standard input; nothing once the connection has ended.
    pub(crate) async fn input(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.frame().await.ok()? {
                Frame::Data(number, data) if self.number(0) == Some(number) => return Some(data),
                Frame::Control(SYN_STREAM, body) => {
                    let number = body.first_chunk::<4>()?;
                    self.opened.push(u32::from_be_bytes(*number));
                    // Both sides' headers are one zlib stream each.
                    let first = if self.replied { &[][..] } else { &ZLIB };
                    self.control(SYN_REPLY, &[number, first, &NO_HEADERS].concat()).await.ok()?;
                    self.replied = true;
                }
                Frame::Control(PING, body) => self.control(PING, &body).await.ok()?,
                Frame::Control(GO_AWAY, _) => return None,
                Frame::Data(..) | Frame::Control(..) => {}
            }
        }
    }

    /// Sends data on a channel; what is `last` ends it.
    pub(crate) async fn send(&mut self, channel: u8, data: &[u8], last: bool) -> std::io::Result<()> {
        let number = self.number(channel).ok_or(std::io::ErrorKind::NotConnected)?;
        for chunk in data.chunks(1 << 16).chain(std::iter::once(&[][..])) {
            let flags = if last && chunk.is_empty() { LAST } else { 0 };
            let length = u32::try_from(chunk.len()).expect("a short frame").to_be_bytes();
            let head = [&number.to_be_bytes()[..], &[flags], &length[1..]].concat();
            self.stream.write_all(&[&head, chunk].concat()).await?;
        }
        self.stream.flush().await
    }
}
