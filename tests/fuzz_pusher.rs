//! Random messages for the reader of what Pusher clients say.

use gusher::dialect::Terms;
use gusher::dialect::pusher::socket::{ClientKind, Session, understand};
use gusher::model::{Admin, App, AppKey, AppSecret, AppSettings, Hash, Registered, SocketId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Messages that are right, or nearly.
const MESSAGES: [&str; 6] = [
    r#"{"event":"pusher:subscribe","data":{"channel":"presence-x","auth":"k:0","channel_data":"{\"user_id\":1}"}}"#,
    r#"{"event":"pusher:subscribe","data":"{\"channel\":\"private-encrypted-x\",\"auth\":\"k:0\"}"}"#,
    r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#,
    r#"{"event":"client-x","channel":"private-x","data":{"a":[1.5e3,"\u00e9\\",null]}}"#,
    r#"{"event":"pusher:signin","data":{"auth":"k:0","user_data":"{}"}}"#,
    r#"{"event":"pusher:ping","data":{}}"#,
];

/// Pieces that steer a mutation into the depths of the reader.
const PIECES: [&str; 14] =
    ["", "\"", "\\", "\\ud800", "{", "}", "[", ":", ",", "null", "-1", "é", "\"data\":\"{}\",", "\u{0}"];

fn read(text: &str) -> Result<(), TestCaseError> {
    for client in [ClientKind::Other, ClientKind::Dotnet, ClientKind::Java] {
        let session = Session { socket_id: SocketId { high: 1, low: 2 }, protocol: 7, client };
        let app = App {
            key: AppKey::stored("k"),
            id: "1".into(),
            secret: AppSecret("s".into()),
            admin: Admin { account: "admin".into(), hash: Hash(String::new()) },
            connect_hook: String::new(),
            request_ip: String::new(),
            registered: Registered { timestamp_ms: 0, date: String::new() },
        };
        let settings = AppSettings::default();
        let terms = Terms { app: &app, settings: &settings, signed_in: None, is_subscribed: &|_| true };
        if let Err(answers) = understand(&session, &terms, text) {
            prop_assert!(!answers.is_empty());
            for answer in answers {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "{answer}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_answered_with_json(text: String) {
        read(&text)?;
    }

    #[test]
    fn mutated_messages_are_answered_with_json(
        message in select(&MESSAGES[..]),
        mutations in vec((any::<Index>(), 0_usize..3, select(&PIECES[..])), 1..5),
    ) {
        let mut letters: Vec<char> = message.chars().collect();
        for (place, removed, piece) in mutations {
            let from = place.index(letters.len() + 1);
            let to = letters.len().min(from + removed);
            letters.splice(from..to, piece.chars());
        }
        read(&letters.iter().collect::<String>())?;
    }
}
