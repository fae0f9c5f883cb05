//! The questions about channels (pusher-channels 14.3 to 14.5), read from their query strings.

use super::signed::Parameters;
use super::{Fault, Info};
use crate::model::{ChannelKind, ChannelName};

/// With this value a parameter that switches something on does so.
const ON: &str = "1";

/// `GET /apps/{id}/channels`: the prefix that names must have, and what to tell of each channel.
///
/// # Errors
/// `info` is not understood, or asks for users without a prefix that only presence channels have.
pub fn channels_query(query: &str) -> Result<(Option<String>, Info), Fault> {
    let parameters = Parameters::read(query);
    let prefix = parameters.get("filter_by_prefix");
    let info = info(&parameters)?.without_cache()?;
    if info.user_count && !prefix.is_some_and(|prefix| prefix.starts_with("presence-")) {
        // The spelling is Pusher's; suites of libraries compare it.
        return Err(Fault::invalid(
            "user_count may only be requested for presence channels - please supply filter_by_prefix begining with presence-",
        ));
    }
    Ok((prefix.map(str::to_owned), info))
}

/// `GET /apps/{id}/channels/{channel}`: what to tell of the channel.
///
/// # Errors
/// `info` is not understood or does not fit the channel.
pub fn channel_query(query: &str, channel: &ChannelName) -> Result<Info, Fault> {
    info(&Parameters::read(query))?.fitting(channel)
}

/// `GET /apps/{id}/channels/{channel}/users`: whether to tell what the app says of each user (`with_user_info=1`).
///
/// # Errors
/// It is no presence channel, or there are parameters that this call does not have.
pub fn users_query(query: &str, channel: &ChannelName) -> Result<bool, Fault> {
    if channel.kind() != ChannelKind::Presence {
        return Err(Fault::invalid("Users can only be retrieved for presence channels"));
    }
    let parameters = Parameters::read(query);
    let known = |name: &str| name.starts_with("auth_") || matches!(name, "body_md5" | "with_user_info");
    let extraneous: Vec<_> = parameters.names().filter(|name| !known(name)).collect();
    if !extraneous.is_empty() {
        let names = extraneous.join(", ");
        return Err(Fault::invalid(format!("The following query string parameters are extraneous: {names}")));
    }
    Ok(parameters.get("with_user_info") == Some(ON))
}

fn info(parameters: &Parameters) -> Result<Info, Fault> {
    Info::parse(parameters.get("info").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn channels_can_be_filtered_by_a_prefix() {
        assert_eq!(channels_query("").unwrap(), (None, Info::default()));
        let (prefix, info) =
            channels_query("filter_by_prefix=private-a%40b&info=subscription_count").unwrap();
        assert_eq!(prefix.as_deref(), Some("private-a@b"));
        assert_eq!(info, Info { subscription_count: true, ..Info::default() });
    }

    #[test]
    fn users_are_counted_only_behind_a_presence_prefix() {
        assert!(channels_query("info=user_count&filter_by_prefix=presence-x").unwrap().1.user_count);
        for query in
            ["info=user_count", "info=user_count&filter_by_prefix=private-", "info=cache", "info=nonsense"]
        {
            assert_eq!(channels_query(query).unwrap_err().status, 400, "{query}");
        }
    }

    #[test]
    fn pc_166_info_about_one_channel_must_fit_it() {
        assert!(channel_query("info=user_count", &named("presence-x")).unwrap().user_count);
        assert!(channel_query("info=subscription_count", &named("x")).unwrap().subscription_count);
        for name in ["cache-x", "private-cache-x", "private-encrypted-cache-x", "presence-cache-x"] {
            assert!(channel_query("info=cache", &named(name)).unwrap().cache, "{name}");
        }
        for (query, name) in
            [("info=user_count", "x"), ("info=cache", "a-cache-x"), ("info=users", "presence-x")]
        {
            assert_eq!(channel_query(query, &named(name)).unwrap_err().status, 400, "{query}");
        }
    }

    #[test]
    fn info_may_be_an_array() {
        let info = channel_query("info[0]=user_count&info%5B1%5D=subscription_count", &named("presence-x"));
        assert_eq!(info.unwrap(), Info { user_count: true, subscription_count: true, cache: false });
    }

    #[test]
    fn pc_169_users_take_no_parameters_of_other_calls() {
        let presence = named("presence-x");
        let signed = "auth_key=k&auth_timestamp=1&auth_version=1.0&auth_signature=s&body_md5=m";
        assert!(!users_query(signed, &presence).unwrap());
        assert!(users_query(&format!("{signed}&with_user_info=1"), &presence).unwrap());
        let fault = users_query(&format!("{signed}&info=user_count"), &presence).unwrap_err();
        assert_eq!(fault.text, "The following query string parameters are extraneous: info");
        assert_eq!(fault.status, 400);
    }

    #[test]
    fn a_channel_without_members_has_no_users() {
        assert_eq!(users_query("", &named("private-x")).unwrap_err().status, 400);
    }
}
