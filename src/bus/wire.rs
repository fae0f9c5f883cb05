//! Facts as bytes.
//!
//! A frame is a head, a note and data: the byte `G`, the version, two bytes of zero, the sender (8 bytes), the length of
//! the note (4 bytes), all big-endian; then the note, which is the fact as JSON; the rest is the data of what was
//! published, as it is. A node passes over members that it does not know, and skips facts that it does not know, so
//! that nodes of two successive versions get along: what a version adds, the one before ignores.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::{Fact, NodeId};

/// How frames are laid out. Another number is another layout, and such frames are skipped.
const VERSION: u8 = 1;

const HEAD_BYTES: usize = 16;

/// Why a frame says nothing to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It is none of ours, or cut off.
    Foreign,
    /// It is laid out in another way.
    Version(u8),
    /// Its fact is unknown, or breaks a rule.
    Unknown,
}

/// The frame of a fact.
pub fn encode(sender: NodeId, fact: &Fact) -> Bytes {
    // A fact consists of text, numbers and lists, which have a JSON form.
    let note = serde_json::to_vec(fact).unwrap_or_default();
    let data = data(fact);
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + note.len() + data.len());
    frame.put_slice(&[b'G', VERSION, 0, 0]);
    frame.put_u64(sender.0);
    frame.put_u32(note.len() as u32);
    frame.put_slice(&note);
    frame.put_slice(data.as_bytes());
    frame.freeze()
}

/// The sender of a frame and its fact.
///
/// # Errors
/// Why it is skipped.
pub fn decode(frame: &[u8]) -> Result<(NodeId, Fact), WireError> {
    let (head, rest) = frame.split_first_chunk::<HEAD_BYTES>().ok_or(WireError::Foreign)?;
    let [b'G', version, _, _, sender @ .., l0, l1, l2, l3] = *head else { return Err(WireError::Foreign) };
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let (note, data) = rest.split_at_checked(length).ok_or(WireError::Foreign)?;
    let mut fact = serde_json::from_slice(note).map_err(|_| WireError::Unknown)?;
    if let Some(place) = data_of(&mut fact) {
        *place = std::str::from_utf8(data).map_err(|_| WireError::Unknown)?.into();
    }
    Ok((NodeId(u64::from_be_bytes(sender)), fact))
}

fn data(fact: &Fact) -> &str {
    match fact {
        Fact::Relay(relay) => &relay.data,
        Fact::Kept(kept) => &kept.data,
        _ => "",
    }
}

fn data_of(fact: &mut Fact) -> Option<&mut Arc<str>> {
    match fact {
        Fact::Relay(relay) => Some(&mut relay.data),
        Fact::Kept(kept) => Some(&mut kept.data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        AppHoldings, AppKey, ChannelName, Holding, Item, Recipients, Relay, Share, SocketId, UserId,
    };

    const ME: NodeId = NodeId(0x0123_4567_89ab_cdef);

    fn relay(data: &str) -> Fact {
        Fact::Relay(Relay {
            app: AppKey::stored("a"),
            to: Recipients::Channel(ChannelName::parse("presence-x").unwrap()),
            event: "e".into(),
            is_value: false,
            user: UserId::parse("u").ok(),
            except: Some(SocketId { high: 1, low: 2 }),
            kept_ms: Some(3),
            number: 4,
            data: data.into(),
        })
    }

    fn changed(holdings: Vec<Holding>) -> Fact {
        let apps = vec![AppHoldings { app: AppKey::stored("a"), holdings }];
        Fact::Changed { number: 7, apps, told: Vec::new() }
    }

    /// A frame with this note.
    fn frame(note: &str) -> Vec<u8> {
        let head = [&[b'G', VERSION, 0, 0][..], &ME.0.to_be_bytes(), &(note.len() as u32).to_be_bytes()];
        [&head.concat(), note.as_bytes()].concat()
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(data in any::<String>(), count in any::<u32>()) {
            let user = UserId::parse("u").unwrap();
            let member = Item::Member(ChannelName::parse("presence-x").unwrap(), user);
            let share = Share { count, info: Some(data.as_str().into()) };
            for fact in [relay(&data), changed(vec![Holding::new(member, share)]), Fact::Hello] {
                prop_assert_eq!(decode(&encode(ME, &fact)), Ok((ME, fact)));
            }
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let _ = decode(&bytes);
            let frame = encode(ME, &relay("data"));
            let _ = decode(&frame[..cut.min(frame.len())]);
        }
    }

    #[test]
    fn a_newer_node_is_understood_as_far_as_possible() {
        let beat = frame(r#"{"beat":{"number":1,"is_ready":true,"peers":[2],"mood":"good"}}"#);
        let known = Fact::Beat {
            number: 1,
            is_ready: true,
            peers: vec![NodeId(2)],
            epoch: 0,
            members: None,
            is_settled: false,
        };
        assert_eq!(decode(&beat), Ok((ME, known)));
        assert_eq!(decode(&frame(r#"{"mood":"good"}"#)), Err(WireError::Unknown));
        let holdings = r#"{"changed":{"number":7,"apps":[{"app":"a","holdings":
            [{"item":{"mood":"good"},"n":1},{"item":"others","n":2}]}]}}"#;
        let known = changed(vec![Holding::new(Item::Others, Share::of(2))]);
        assert_eq!(decode(&frame(holdings)), Ok((ME, known)));
    }

    #[test]
    fn what_is_laid_out_otherwise_is_skipped() {
        let mut bytes = encode(ME, &Fact::Hello).to_vec();
        bytes[1] = 2;
        assert_eq!(decode(&bytes), Err(WireError::Version(2)));
        bytes[0] = b'H';
        assert_eq!(decode(&bytes), Err(WireError::Foreign));
        assert_eq!(decode(b"G"), Err(WireError::Foreign));
    }
}
