//! Who is there of an app: channels, members and users.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;

use super::{Answer, DETAIL_PLACE, Door, ok};
use crate::dialect::console::here::{self as words, Page};
use crate::door::answer;
use crate::model::{ChannelName, Refusal};

/// `GET /console/api/apps/{app_key}/channels`, by their names.
pub async fn channels(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app(&head)?.1;
    let page = Page::read(head.uri.query())?;
    let Page { prefix, limit } = page;
    ok(door.hub.occupied(&live, &prefix, move |found| words::channels(&found, limit)).await?)
}

/// `GET /console/api/apps/{app_key}/channels/{channel}/members`, in the order they joined.
pub async fn members(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app(&head)?.1;
    let name = answer::name(head.uri.path(), DETAIL_PLACE)?;
    // In a channel that cannot be there is nobody.
    let channel = ChannelName::try_from(name).map_err(|_| Refusal::PathUnknown)?;
    ok(words::members(&door.hub.roster(&live, &channel)))
}

/// `GET /console/api/apps/{app_key}/users`, by their names.
pub async fn users(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app(&head)?.1;
    let page = Page::read(head.uri.query())?;
    let Page { prefix, limit } = page;
    ok(door.hub.users(&live, &prefix, move |found| words::users(&found, limit)).await?)
}
