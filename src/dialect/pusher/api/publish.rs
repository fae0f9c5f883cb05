//! The calls that publish (pusher-channels 14.1, 14.2), one event or several.

use indexmap::IndexSet;
use serde_json::value::RawValue;

use super::signed::Parameters;
use super::{Fault, Info};
use crate::dialect::pusher::data::data_of;
use crate::dialect::pusher::socket::channel_name;
use crate::model::json::{self, Members};
use crate::model::{AppSettings, ChannelFault, ChannelName, Publication, SocketId, Target};

/// What a backend wants published, and what it wants to know about the channels in return.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its target are channels.
    pub publication: Publication,
    /// What to tell.
    pub info: Info,
}

/// `POST /apps/{id}/events`: an event for one or more channels.
///
/// # Errors
/// 400 for what breaks a rule, 413 for data that is too long.
pub fn event(body: &[u8], settings: &AppSettings) -> Result<Wanted, Fault> {
    let fields = Fields::of(text(body)?, "the body")?;
    let channels = fields.channels(settings)?;
    fields.wanted(channels, settings)
}

/// `POST /apps/{id}/batch_events`: events with one channel each, all of them valid.
///
/// # Errors
/// 400 for what breaks a rule, 413 for data that is too long.
pub fn batch(body: &[u8], settings: &AppSettings) -> Result<Vec<Wanted>, Fault> {
    let body = Fields::of(text(body)?, "the body")?;
    let list = body.get("batch").ok_or_else(|| missing("batch"))?;
    let events: Vec<&RawValue> =
        serde_json::from_str(list).map_err(|_| Fault::invalid("batch is no list"))?;
    let (count, count_max) = (events.len(), settings.max_batch_events as usize);
    if count > count_max {
        return Err(Fault::invalid(format!("Batch too large ({count} > {count_max})")));
    }
    let wanted = |event: &&RawValue| {
        let fields = Fields::of(event.get(), "an event of the batch")?;
        fields.wanted(vec![fields.channel(settings)?], settings)
    };
    events.iter().map(wanted).collect()
}

/// `POST /apps/{id}/channels/{channel}/events`, as backends published before 2013: the name of the event and a socket to
/// spare are in the query, and the body is the data.
///
/// # Errors
/// 400 for what breaks a rule, 413 for data that is too long.
pub fn channel_event(
    query: &str,
    channel: &str,
    body: &[u8],
    settings: &AppSettings,
) -> Result<Publication, Fault> {
    let parameters = Parameters::read(query);
    if body.is_empty() {
        return Err(missing("data"));
    }
    Ok(Publication {
        target: Target::Channels(vec![self::channel(settings, channel)?]),
        event: event_name(parameters.get("name"), settings)?.into(),
        data: checked_data(text(body)?.to_owned(), settings)?.into(),
        // The Perl library writes it without a value where there is none.
        except: parameters.get("socket_id").filter(|id| !id.is_empty()).map(socket).transpose()?,
    })
}

fn text(body: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(body).map_err(|_| Fault::invalid("the body is not UTF-8"))
}

fn missing(parameter: &str) -> Fault {
    Fault::invalid(format!("Missing required parameter: {parameter}"))
}

/// The members of an event. What is `null` is not there: some libraries write out what they were not given.
struct Fields<'a>(Members<'a>);

impl<'a> Fields<'a> {
    fn of(json: &'a str, what: &str) -> Result<Self, Fault> {
        json::members(json).map(Self).ok_or_else(|| {
            Fault::invalid(match serde_json::from_str::<&RawValue>(json) {
                Ok(_) => format!("{what} is no JSON object"),
                Err(error) => format!("{what} is no JSON: {error}"),
            })
        })
    }

    /// The text of a value.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get()).filter(|value| *value != "null")
    }

    fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let text = |value| json::text(value).ok_or_else(|| Fault::invalid(format!("{name} is no string")));
        self.get(name).map(text).transpose()
    }

    fn wanted(&self, channels: Vec<ChannelName>, settings: &AppSettings) -> Result<Wanted, Fault> {
        let data = self.get("data").ok_or_else(|| missing("data"));
        let publication = Publication {
            target: Target::Channels(channels),
            event: event_name(self.text("name")?.as_deref(), settings)?.into(),
            data: checked_data(data_of(data?), settings)?.into(),
            except: self.text("socket_id")?.as_deref().map(socket).transpose()?,
        };
        let info = self.text("info")?.unwrap_or_default();
        Ok(Wanted { publication, info: Info::parse(&info)?.without_cache()? })
    }

    fn channel(&self, settings: &AppSettings) -> Result<ChannelName, Fault> {
        channel(settings, &self.text("channel")?.ok_or_else(|| missing("channel"))?)
    }

    /// `channels`, each name once, or else the one of `channel`.
    fn channels(&self, settings: &AppSettings) -> Result<Vec<ChannelName>, Fault> {
        let Some(list) = self.get("channels") else { return Ok(vec![self.channel(settings)?]) };
        let count_max = settings.max_channels_per_event as usize;
        let names: Option<Vec<&RawValue>> = serde_json::from_str(list).ok();
        let Some(names) = names.filter(|names| (1..=count_max).contains(&names.len())) else {
            return Err(Fault::invalid(format!("channels is no list of 1 to {count_max} names")));
        };
        let parse = |name: &&RawValue| {
            let name = json::text(name.get());
            let name = name.ok_or_else(|| Fault::invalid("channels holds something that is no string"));
            channel(settings, &name?)
        };
        let distinct: IndexSet<_> = names.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(distinct.into_iter().collect())
    }
}

fn event_name<'n>(name: Option<&'n str>, settings: &AppSettings) -> Result<&'n str, Fault> {
    let (name, chars_max) = (name.unwrap_or_default(), settings.max_event_name_length as usize);
    let is_reserved = ["pusher:", "pusher_internal:"].iter().any(|prefix| name.starts_with(prefix));
    match name {
        "" => Err(missing("name")),
        _ if is_reserved => Err(Fault::invalid("name begins with pusher: or pusher_internal:")),
        _ if name.chars().count() > chars_max => {
            Err(Fault::invalid(format!("name is longer than {chars_max} characters")))
        }
        _ => Ok(name),
    }
}

fn checked_data(data: String, settings: &AppSettings) -> Result<String, Fault> {
    let bytes_max = settings.max_event_bytes as usize;
    if data.len() > bytes_max {
        return Err(Fault::too_large(format!(
            "The data content of this event exceeds the allowed maximum ({bytes_max} bytes)."
        )));
    }
    Ok(data)
}

fn socket(id: &str) -> Result<SocketId, Fault> {
    SocketId::parse(id).ok_or_else(|| Fault::invalid(format!("Invalid socket id: {id:.200}")))
}

fn channel(settings: &AppSettings, name: &str) -> Result<ChannelName, Fault> {
    channel_name(settings, name).map_err(|fault| match fault {
        ChannelFault::Invalid => Fault::invalid(format!("Invalid channel name: {name:.200}")),
        ChannelFault::TooLong => Fault::invalid(format!("Channel name too long: {name:.200}...")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An event that is valid, with other members in place of its own.
    fn body(changes: Value) -> Value {
        let mut event = json!({ "name": "foo", "channel": "project-3", "data": "{\"some\":\"data\"}" });
        let members = event.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        event
    }

    fn read(changes: Value) -> Result<Wanted, Fault> {
        event(body(changes).to_string().as_bytes(), &AppSettings::default())
    }

    fn read_batch(events: Vec<Value>) -> Result<Vec<Wanted>, Fault> {
        batch(json!({ "batch": events }).to_string().as_bytes(), &AppSettings::default())
    }

    #[track_caller]
    fn refused(changes: Value, text: &str) {
        let fault = read(changes).unwrap_err();
        assert_eq!((fault.status.as_u16(), fault.text.as_str()), (400, text));
    }

    fn channels(wanted: &Wanted) -> Vec<&str> {
        match &wanted.publication.target {
            Target::Channels(names) => names.iter().map(ChannelName::as_str).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_event_is_for_one_channel_or_for_a_list() {
        let one = read(json!({})).unwrap();
        assert_eq!((channels(&one), &*one.publication.event), (vec!["project-3"], "foo"));
        assert_eq!(&*one.publication.data, r#"{"some":"data"}"#);
        assert_eq!((one.publication.except, one.info), (None, Info::default()));
        let list = read(json!({ "channels": ["b", "a", "b"] })).unwrap();
        assert_eq!(channels(&list), ["b", "a"]);
    }

    #[test]
    fn pc_146_an_event_has_one_to_a_hundred_channels() {
        let names = |count: usize| (0..count).map(|number| format!("c{number}")).collect::<Vec<_>>();
        assert_eq!(channels(&read(json!({ "channels": names(100) })).unwrap()).len(), 100);
        for channels in [json!(names(101)), json!([]), json!("a"), json!({})] {
            refused(json!({ "channels": channels }), "channels is no list of 1 to 100 names");
        }
    }

    #[test]
    fn pc_147_name_data_and_channel_are_required() {
        for name in ["name", "data", "channel"] {
            refused(json!({ name: null }), &format!("Missing required parameter: {name}"));
        }
        refused(json!({ "name": 7 }), "name is no string");
    }

    #[test]
    fn pc_148_names_are_short_and_not_the_protocol_s_own() {
        assert!(read(json!({ "name": "é".repeat(200) })).is_ok());
        refused(json!({ "name": "e".repeat(201) }), "name is longer than 200 characters");
        for name in ["pusher:x", "pusher_internal:x"] {
            refused(json!({ "name": name }), "name begins with pusher: or pusher_internal:");
        }
    }

    #[test]
    fn pc_149_data_is_bounded() {
        assert!(read(json!({ "data": "d".repeat(10_240) })).is_ok());
        let fault = read(json!({ "data": "d".repeat(10_241) })).unwrap_err();
        assert_eq!(fault.status, 413);
        assert_eq!(fault.text, "The data content of this event exceeds the allowed maximum (10240 bytes).");
    }

    #[test]
    fn data_that_is_no_string_becomes_compact_json() {
        let wanted = event(
            br#"{"name":"e","channel":"c","data":{"b": [1, "x"], "a": null}}"#,
            &AppSettings::default(),
        );
        assert_eq!(&*wanted.unwrap().publication.data, r#"{"b":[1,"x"],"a":null}"#);
    }

    #[test]
    fn data_that_is_no_string_keeps_its_spelling() {
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        for data in ["1.10", "12345678901234567890123", "1E400", r#"{"a":"\ud83d"}"#, &deep] {
            let body = format!(r#"{{"name":"e","channel":"c","data":{data}}}"#);
            let wanted = event(body.as_bytes(), &AppSettings::default());
            assert_eq!(&*wanted.unwrap().publication.data, data);
        }
    }

    #[test]
    fn a_string_that_is_cut_within_a_character_fails_no_batch() {
        let body = br#"{"batch":[{"name":"\ud83d","channel":"a","data":"x\ud83d"}],"\ud83d":1}"#;
        let wanted = batch(body, &AppSettings::default()).unwrap();
        assert_eq!(&*wanted[0].publication.event, "\u{fffd}");
        assert_eq!(&*wanted[0].publication.data, "x\u{fffd}");
    }

    #[test]
    fn the_old_call_has_its_parameters_in_the_query() {
        let settings = AppSettings::default();
        let read = |query, body| channel_event(query, "news", body, &settings);
        let one = read("name=a+b&socket_id=12.34", b"\"x\"").unwrap();
        assert_eq!((&*one.event, &*one.data), ("a b", "\"x\""));
        assert_eq!(one.except, Some(SocketId { high: 12, low: 34 }));
        assert_eq!(read("name=e&socket_id", b"1").unwrap().except, None);
        for (query, body, text) in [
            ("", &b"1"[..], "Missing required parameter: name"),
            ("name=e", b"", "Missing required parameter: data"),
            ("name=e", b"\xff", "the body is not UTF-8"),
            ("name=e&socket_id=x", b"1", "Invalid socket id: x"),
        ] {
            assert_eq!(read(query, body).unwrap_err().text, text);
        }
        assert_eq!(channel_event("name=e", "b a d", b"1", &settings).unwrap_err().status, 400);
        assert_eq!(read("name=e", &[b'1'; 10_241]).unwrap_err().status, 413);
    }

    #[test]
    fn one_bad_channel_name_fails_the_event() {
        refused(json!({ "channels": ["good", "b a d"] }), "Invalid channel name: b a d");
        refused(json!({ "channels": ["good", 7] }), "channels holds something that is no string");
        refused(json!({ "channel": "#foo" }), "Invalid channel name: #foo");
        let long = "c".repeat(201);
        refused(json!({ "channel": long }), &format!("Channel name too long: {}...", &long[1..]));
    }

    #[test]
    fn pc_157_an_event_may_be_for_a_user() {
        let one = read(json!({ "channels": ["#server-to-user-12345", "a"] })).unwrap();
        assert_eq!(channels(&one), ["#server-to-user-12345", "a"]);
        refused(json!({ "channel": "#foo" }), "Invalid channel name: #foo");
    }

    #[test]
    fn a_socket_that_is_left_out_has_a_well_formed_id() {
        let except = |id| read(json!({ "socket_id": id })).map(|wanted| wanted.publication.except);
        assert_eq!(except(json!("12.34")).unwrap(), Some(SocketId { high: 12, low: 34 }));
        assert_eq!(except(json!(null)).unwrap(), None);
        for id in ["", "12", "12.34\n", "a.b"] {
            refused(json!({ "socket_id": id }), &format!("Invalid socket id: {id}"));
        }
    }

    #[test]
    fn info_is_for_the_counts() {
        let info = read(json!({ "info": "user_count,subscription_count" })).unwrap().info;
        assert_eq!(info, Info { user_count: true, subscription_count: true, cache: false });
        refused(json!({ "info": "cache" }), "cache can only be asked for with a single channel");
        refused(json!({ "info": "nonsense" }), "info should be a comma separated list of attributes");
    }

    #[test]
    fn pc_156_a_body_is_a_json_object() {
        for body in [&b""[..], b"name=foo", b"[]", b"\"x\"", b"{} {}", b"{\"name\":\"\xff\"}"] {
            assert_eq!(event(body, &AppSettings::default()).unwrap_err().status, 400);
            assert_eq!(batch(body, &AppSettings::default()).unwrap_err().status, 400);
        }
    }

    #[test]
    fn pc_158_a_batch_has_at_most_ten_events() {
        assert_eq!(read_batch(vec![body(json!({})); 10]).unwrap().len(), 10);
        let fault = read_batch(vec![body(json!({})); 11]).unwrap_err();
        assert_eq!((fault.status.as_u16(), &*fault.text), (400, "Batch too large (11 > 10)"));
    }

    #[test]
    fn a_batch_keeps_its_order() {
        let events = ["b", "a"].map(|channel| body(json!({ "channel": channel })));
        let wanted = read_batch(events.to_vec()).unwrap();
        assert_eq!(wanted.iter().flat_map(channels).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn one_invalid_event_fails_the_batch() {
        let status = |bad| read_batch(vec![body(json!({})), bad]).unwrap_err().status.as_u16();
        assert_eq!(status(json!(7)), 400);
        assert_eq!(status(body(json!({ "channel": null, "channels": ["a"] }))), 400);
        assert_eq!(status(body(json!({ "data": "d".repeat(10_241) }))), 413);
    }
}
