//! Publishing from the console.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::{Answer, Door, ok};
use crate::dialect::console::event::{self as words, Wanted};
use crate::hub::{Addressee, LiveApp};
use crate::model::{ChannelName, Pattern, Publication, Refusal, Target, UserId, ValueEvent};

/// `POST /console/api/apps/{app_key}/events`.
pub async fn publish(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let live = door.enter_app(&head)?.1;
    let (settings, compiling) = (live.settings(), Arc::clone(&door));
    let read = move |body: &[u8]| words::read(body, &settings, |source| compiling.pattern(source));
    let wanted = door.parsed(body, read).await??;
    ok(match wanted {
        Wanted::Channel(event) => {
            let channel = event.channel.clone();
            door.hub.publish_values(&live, &[event])?;
            words::published(None, door.hub.counts(&live, &channel).subscriptions)
        }
        Wanted::User { user, event, value } => words::published(None, door.tell(&live, &user, event, value)?),
        Wanted::Tags(publication) => {
            let reach = door.hub.publish_soon(&live, publication).await?;
            words::published(Some(reach.users), reach.sockets)
        }
    })
}

impl Door {
    /// Publishes to the sockets of a user, in each dialect in which it has any; says how many they are.
    fn tell(
        &self,
        live: &Arc<LiveApp>,
        user: &UserId,
        event: Arc<str>,
        value: Arc<str>,
    ) -> Result<usize, Refusal> {
        let sockets = live.sockets_of(user);
        if sockets.tagged > 0 {
            let pattern =
                Pattern::parse(&format!("^{}$", regex::escape(user.as_str())), self.settings.pattern);
            let pattern = pattern.map_err(|error| Refusal::PatternInvalid(error.to_string()))?;
            let (target, data) = (Target::UsersMatching(pattern), crate::model::text_of_json(&value).into());
            self.hub.publish(live, &Publication { target, event: "".into(), data, except: None })?;
        }
        if sockets.signed_in > 0
            && let Ok(channel) = ChannelName::parse(&format!("#server-to-user-{}", user.as_str()))
        {
            self.hub.publish_values(live, &[ValueEvent { channel, event, value: Arc::clone(&value) }])?;
        }
        if sockets.bearing > 0 {
            self.hub.push_value(live, Addressee::User(user.clone()), value)?;
        }
        Ok(sockets.tagged + sockets.signed_in + sockets.bearing)
    }
}
