//! The description of all calls, and whether an answer is one that it knows.

use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// The description, as it is compiled in.
pub static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../src/door/openapi.json")).expect("the description is JSON")
});

/// One call: its method in small letters, its path with names in braces, and what is said of it.
pub type Operation = (&'static str, &'static str, &'static Value);

/// All calls that are described, in order.
pub static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let paths = DESCRIPTION["paths"].as_object().expect("an object");
    let methods = ["get", "put", "post", "delete", "options", "patch"];
    let of_path = |(path, item): (&'static String, &'static Value)| {
        let members = item.as_object().expect("an object").iter();
        members
            .filter(|(name, _)| methods.contains(&name.as_str()))
            .map(|(method, operation)| (method.as_str(), path.as_str(), operation))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
});

/// What a listener says of a path that it does not have.
const ELSEWHERE: &str = "404 page not found\n";

/// What the private listener says, whatever is asked, to whom it is not for.
const NOT_ALLOWED: &str = "address not allowed\n";

/// The beginning of what it says to pages of other sites.
const PAGE_NOT_ALLOWED: &str = "page not allowed";

/// Fails when a call was answered with a status that is not described. What is no call of ours is passed over, so is
/// what was asked of the listener where it is not, and what is said of all calls at once: that a head is too long, a
/// body encoded, or an address or a page not allowed.
pub fn check(method: &Method, path: &str, status: StatusCode, text: &str) {
    if (status == StatusCode::NOT_FOUND && text == ELSEWHERE)
        || (status == StatusCode::FORBIDDEN && text == NOT_ALLOWED)
        || (status == StatusCode::FORBIDDEN && text.starts_with(PAGE_NOT_ALLOWED))
        || status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        || status == StatusCode::UNSUPPORTED_MEDIA_TYPE
    {
        return;
    }
    let method = method.as_str().to_lowercase();
    let named = |template: &str| {
        let (wanted, given) = (template.split('/'), path.split('/'));
        wanted.clone().count() == given.clone().count()
            && wanted
                .zip(given)
                .all(|(wanted, given)| wanted == given || (wanted.starts_with('{') && !given.is_empty()))
    };
    // A wrong method is said to be one for all paths at once.
    let Some((_, template, operation)) =
        OPERATIONS.iter().find(|(known, template, _)| *known == method && named(template))
    else {
        return;
    };
    let statuses = operation["responses"].as_object().expect("an object");
    assert!(
        statuses.contains_key(status.as_str()),
        "{method} {template} was answered with {status}, which src/door/openapi.json does not say"
    );
}
