//! The WebSocket reader against a naive model that sees the whole stream at once, and against the encoder.

use std::ops::ControlFlow::{Break, Continue};

use gusher::net::websocket::{self, Close, Inbound, Opcode, Reader, Rules};
use proptest::prelude::*;
use proptest::sample::Index;

/// What a reader holds besides a message: an incomplete header or control frame.
const OVERHEAD_BYTES_MAX: usize = 512;

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Inbound<'_>> for Seen {
    fn from(inbound: Inbound<'_>) -> Seen {
        match inbound {
            Inbound::Text(text) => Seen::Text(text.into()),
            Inbound::Binary(bytes) => Seen::Binary(bytes.into()),
            Inbound::Ping(payload) => Seen::Ping(payload.into()),
            Inbound::Pong(payload) => Seen::Pong(payload.into()),
            Inbound::Close(close) => Seen::Close(close.map(|Close { code, reason }| (code, reason.into()))),
        }
    }
}

/// How a stream ends: it may go on, it was closed, or it was refused with this close code.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Open,
    Closed,
    Refused(u16),
}

/// A client's frame: `first` is its first byte.
fn client_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = websocket::encode(Opcode::Binary, payload).to_vec();
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    frame.truncate(frame.len() - payload.len());
    frame[0] = first;
    frame[1] |= 0x80;
    frame.extend(mask);
    frame.extend(masked);
    frame
}

/// Where to cut `len` bytes, in order.
fn places(cuts: &[Index], len: usize) -> Vec<usize> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    places.sort_unstable();
    places
}

/// `stream` in pieces, each in a buffer of its own, as far as the reader wants it.
fn read_in_pieces(stream: &[u8], places: &[usize], message_bytes_max: usize) -> (Vec<Seen>, End) {
    read_with(Rules::plain(message_bytes_max), stream, places)
}

fn read_with(rules: Rules, stream: &[u8], places: &[usize]) -> (Vec<Seen>, End) {
    let cuts = [&[0], places, &[stream.len()]].concat();
    let (mut reader, mut seen) = (Reader::default(), Vec::new());
    for piece in cuts.windows(2) {
        let mut bytes = stream[piece[0]..piece[1]].to_vec();
        let outcome = reader.read(&mut bytes, rules, &mut |inbound| {
            seen.push(inbound.into());
            Continue(())
        });
        assert!(reader.held_bytes() <= rules.message_bytes_max + OVERHEAD_BYTES_MAX);
        match outcome {
            Ok(Continue(())) => continue,
            Ok(Break(())) => return (seen, End::Closed),
            Err(violation) => return (seen, End::Refused(violation.close_code())),
        }
    }
    (seen, End::Open)
}

/// What a reader must make of `stream`, told plainly: whole frames from the start, and the last, incomplete one
/// only for what is already wrong with it.
fn model(mut stream: &[u8], message_bytes_max: usize) -> (Vec<Seen>, End) {
    let (mut seen, mut message): (_, Option<(u8, Vec<u8>)>) = (Vec::new(), None);
    let end = loop {
        if stream.len() < 2 {
            break End::Open;
        }
        let (fin, opcode, short) = (stream[0] >= 0x80, stream[0] & 0x0f, stream[1] & 0x7f);
        let control = opcode >= 8;
        if stream[0] & 0x70 != 0 || ![0, 1, 2, 8, 9, 10].contains(&opcode) || stream[1] < 0x80 {
            break End::Refused(1002);
        }
        if control && (!fin || short > 125) {
            break End::Refused(1002);
        }
        let wide = [0, 2, 8][usize::from(short.saturating_sub(125))];
        if stream.len() < 2 + wide {
            break End::Open;
        }
        let length = stream[2..2 + wide].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let length = if wide == 0 { u64::from(short) } else { length };
        if (wide == 2 && length < 126) || (wide == 8 && !(65536..1 << 63).contains(&length)) {
            break End::Refused(1002);
        }
        let Some(mask) = stream.get(2 + wide..6 + wide) else { break End::Open };
        if !control && message.is_some() != (opcode == 0) {
            break End::Refused(1002);
        }
        let held = message.as_ref().map_or(0, |(_, bytes)| bytes.len());
        if !control && u128::from(length) + held as u128 > message_bytes_max as u128 {
            break End::Refused(1009);
        }
        let rest = &stream[6 + wide..];
        let here = rest.len().min(length as usize);
        let payload: Vec<u8> =
            rest[..here].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let whole = here as u64 == length;
        stream = &rest[here..];
        if control {
            if !whole {
                break End::Open;
            }
            match opcode {
                9 => seen.push(Seen::Ping(payload)),
                10 => seen.push(Seen::Pong(payload)),
                _ => break model_close(&payload, &mut seen),
            }
            continue;
        }
        let (kind, mut bytes) = message.take().unwrap_or((opcode, Vec::new()));
        bytes.extend(payload);
        if kind == 1 && !may_be_text(&bytes, whole && fin) {
            break End::Refused(1007);
        }
        match (whole && fin, kind) {
            (false, _) => message = Some((kind, bytes)),
            (true, 1) => seen.push(Seen::Text(String::from_utf8(bytes).unwrap())),
            (true, _) => seen.push(Seen::Binary(bytes)),
        }
        if !whole {
            break End::Open;
        }
    };
    (seen, end)
}

fn model_close(payload: &[u8], seen: &mut Vec<Seen>) -> End {
    let close = match payload {
        [] => None,
        [_] => return End::Refused(1002),
        [high, low, reason @ ..] => {
            let code = u16::from(*high) << 8 | u16::from(*low);
            let reserved = [1004, 1005, 1006].contains(&code) || (1015..3000).contains(&code);
            if reserved || !(1000..5000).contains(&code) {
                return End::Refused(1002);
            }
            let Ok(reason) = std::str::from_utf8(reason) else { return End::Refused(1007) };
            Some((code, reason.to_owned()))
        }
    };
    seen.push(Seen::Close(close));
    End::Closed
}

fn may_be_text(bytes: &[u8], ended: bool) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| !ended && error.error_len().is_none(), |_| true)
}

/// Frames that are mostly legal, so that a stream of them gets far.
fn nearly_legal_stream() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x01u8, 0x02, 0x00, 0x80, 0x81, 0x82, 0x89, 0x8a]),
        1 => prop::sample::select(vec![0x88u8, 0x08, 0xc1, 0x83]),
    ];
    let payload = prop_oneof![
        8 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..140),
        1 => (990u16..1020, "\\PC{0,9}").prop_map(|(code, text)| [&code.to_be_bytes(), text.as_bytes()].concat()),
    ];
    let frame = (first, any::<[u8; 4]>(), payload)
        .prop_map(|(first, mask, payload)| client_frame(first, mask, &payload));
    let header = prop::collection::vec(any::<u8>(), 1..14).prop_map(|mut bytes| {
        bytes[0] &= 0x8f;
        bytes
    });
    let frames = prop::collection::vec(prop_oneof![20 => frame, 1 => header], 0..12);
    (frames, any::<Index>(), any::<bool>()).prop_map(|(frames, end, cut)| {
        let mut stream = frames.concat();
        stream.truncate(if cut { end.index(stream.len() + 1) } else { stream.len() });
        stream
    })
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..40)
}

/// A legal message in fragments, a ping after each but the last, with what they must be read as.
fn legal_message() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let content = prop_oneof![
        "\\PC{0,300}".prop_map(Seen::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Seen::Binary),
        prop::collection::vec(any::<u8>(), 65_500..65_600).prop_map(Seen::Binary),
    ];
    (content, prop::collection::vec(any::<Index>(), 0..4), any::<[u8; 4]>()).prop_map(
        |(content, cuts, mask)| {
            let (mut first, payload) = match &content {
                Seen::Text(text) => (0x01, text.clone().into_bytes()),
                Seen::Binary(bytes) => (0x02, bytes.clone()),
                other => unreachable!("not a message: {other:?}"),
            };
            let (mut stream, mut seen, mut start) = (Vec::new(), Vec::new(), 0);
            for cut in places(&cuts, payload.len()) {
                stream.extend(client_frame(first, mask, &payload[start..cut]));
                stream.extend(client_frame(0x89, mask, b"between"));
                seen.push(Seen::Ping(b"between".to_vec()));
                (first, start) = (0x00, cut);
            }
            stream.extend(client_frame(first | 0x80, mask, &payload[start..]));
            seen.push(content);
            (stream, seen)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_stream_in_any_pieces_reads_as_the_model_says(stream in nearly_legal_stream(), cuts in cuts()) {
        prop_assert_eq!(read_in_pieces(&stream, &places(&cuts, stream.len()), 200), model(&stream, 200));
    }

    #[test]
    fn random_bytes_never_panic(stream in prop::collection::vec(any::<u8>(), 0..200), cuts in cuts()) {
        prop_assert_eq!(read_in_pieces(&stream, &places(&cuts, stream.len()), 100), model(&stream, 100));
    }

    #[test]
    fn random_bytes_said_to_be_deflated_never_panic_nor_grow(
        payload in prop::collection::vec(any::<u8>(), 0..160),
        cuts in cuts(),
    ) {
        let stream = client_frame(0xc2, [1, 2, 3, 4], &payload);
        let rules = Rules { message_bytes_max: 100, may_deflate: true };
        let (seen, _) = read_with(rules, &stream, &places(&cuts, stream.len()));
        let is_bounded = |seen: &Seen| matches!(seen, Seen::Binary(bytes) if bytes.len() <= 100);
        prop_assert!(seen.iter().all(is_bounded));
    }

    #[test]
    fn what_is_deflated_reads_back(text in "(\\PC{0,20} and ){9,60}", mask: [u8; 4], cut: Index, cuts in cuts()) {
        let Some(frame) = websocket::Deflater::default().text(text.as_bytes()) else { return Ok(()) };
        let deflated = &frame[2 + 2 * usize::from(frame[1] == 126)..];
        let (head, tail) = deflated.split_at(cut.index(deflated.len() + 1));
        let stream = [client_frame(0x41, mask, head), client_frame(0x80, mask, tail)].concat();
        let expected = |end| vec![Seen::Text(text.clone()); usize::from(end == End::Open)];
        for (message_bytes_max, end) in [(text.len(), End::Open), (text.len() - 1, End::Refused(1009))] {
            let rules = Rules { message_bytes_max, may_deflate: true };
            let read = read_with(rules, &stream, &places(&cuts, stream.len()));
            prop_assert_eq!(read, (expected(end), end));
        }
    }

    #[test]
    fn what_is_encoded_reads_back(text in "\\PC{0,200}", code in 3000u16..5000, mask: [u8; 4], cuts in cuts()) {
        let mut stream = Vec::new();
        for frame in [websocket::text(text.as_bytes()), websocket::pong(b"here"), websocket::close(code, &text)] {
            let header = 2 + 2 * usize::from(frame[1] == 126);
            stream.extend(client_frame(frame[0], mask, &frame[header..]));
        }
        let reason = &text[..text.floor_char_boundary(123)];
        let expected = [
            Seen::Text(text.clone()),
            Seen::Pong(b"here".to_vec()),
            Seen::Close(Some((code, reason.to_owned()))),
        ];
        prop_assert_eq!(read_in_pieces(&stream, &places(&cuts, stream.len()), 1000), (expected.to_vec(), End::Closed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_legal_stream_reads_the_same_in_any_pieces(
        messages in prop::collection::vec(legal_message(), 0..5),
        cuts in cuts(),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Seen> = messages.into_iter().flat_map(|(_, seen)| seen).collect();
        prop_assert_eq!(read_in_pieces(&stream, &places(&cuts, stream.len()), 70_000), (expected, End::Open));
    }
}

#[test]
fn every_single_cut_of_a_stream_reads_the_same() {
    let stream = [
        client_frame(0x01, [1, 2, 3, 4], "gr\u{fc}\u{df}".as_bytes()),
        client_frame(0x89, [5, 6, 7, 8], b"ping"),
        client_frame(0x80, [9, 8, 7, 6], &[b'!'; 130]),
        client_frame(0x88, [0, 0, 0, 1], &4000u16.to_be_bytes()),
    ]
    .concat();
    let expected = model(&stream, 200);
    assert_eq!((expected.0.len(), expected.1), (3, End::Closed));
    for cut in 0..=stream.len() {
        assert_eq!(read_in_pieces(&stream, &[cut], 200), expected, "cut at {cut}");
    }
}
