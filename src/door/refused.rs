//! What is refused at the door, shown to those who look at the app in question.

use axum::response::Response;

use super::Door;
use super::answer::{Reason, segment};
use crate::feed::{Happening, excerpt};
use crate::hub::LiveApp;

/// What the path of a request is about.
pub struct Subject {
    /// The segment that stands where the route has the app's key, as it came; empty when there is none.
    pub app: String,
    /// The app's number in signed calls, likewise.
    id: String,
    is_socket: bool,
    is_console: bool,
}

impl Subject {
    pub fn of(route: &str, path: &str) -> Self {
        let named = |name: &str| {
            let place = route.split('/').position(|segment| segment == name);
            place.and_then(|place| path.split('/').nth(place)).unwrap_or_default().to_owned()
        };
        Self {
            app: named("{app_key}"),
            id: named("{app_id}"),
            is_socket: route.starts_with("/ws/") || route.starts_with("/app/") || route.ends_with("/ws"),
            is_console: route.starts_with("/console/"),
        }
    }
}

impl Door {
    /// Shows a request that was refused, but for those of the console itself.
    pub(super) fn show_refused(&self, subject: &Subject, response: &Response) {
        if subject.is_console {
            return;
        }
        // As in a path, each of them may be encoded.
        let decoded = |raw: &str| segment(raw, 0).unwrap_or_default();
        let live = match (&*subject.app, &*subject.id) {
            ("", "") => return,
            ("", id) => self.hub.app_by_id(&decoded(id)),
            (key, _) => self.hub.app_by_any_key(&decoded(key)),
        };
        let Ok(live) = live else { return };
        live.feed.show(|| {
            let reason = response.extensions().get::<Reason>().map_or("", |reason| &reason.0);
            let code = Some(response.status().as_u16());
            Happening::Refused { is_socket: subject.is_socket, code, reason: excerpt(reason) }
        });
    }
}

/// Shows a socket that was turned away with this code.
pub fn show_turned_away(live: &LiveApp, code: u16, reason: &str) {
    live.feed.show(|| Happening::Refused { is_socket: true, code: Some(code), reason: excerpt(reason) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_app_where_its_route_does() {
        let subject = Subject::of("/apps/{app_id}/events", "/apps/7/events");
        assert_eq!((&*subject.app, &*subject.id, subject.is_socket), ("", "7", false));
        let subject = Subject::of("/ws/{app_key}/{user_tag}", "/ws/a%20b/u");
        assert_eq!((&*subject.app, &*subject.id, subject.is_socket), ("a%20b", "", true));
        let subject = Subject::of("", "/nothing/here");
        assert_eq!((&*subject.app, &*subject.id), ("", ""));
    }
}
