//! The apps: listing, registering and unregistering them, and what the super admin changes in one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::{Answer, DETAIL_PLACE, Door, json, no_content, ok};
use crate::dialect::console::Fault;
use crate::dialect::console::apps::{self as words, Row};
use crate::dialect::gusher::settings;
use crate::door::answer;
use crate::hub::new_identity;
use crate::model::{AppSecret, AppSettings, KeyPair, Refusal};

/// `GET /console/api/apps`, in the order of their registration; of an app's admin its own alone.
pub async fn list(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let visitor = door.enter(&head)?;
    let mut apps = door.hub.live_apps();
    apps.retain(|live| visitor.reaches(live));
    apps.sort_by(|one, other| {
        let order = |app: &crate::model::App| (app.registered.timestamp_ms, app.key.clone());
        order(&one.app).cmp(&order(&other.app))
    });
    let rows = apps.iter().map(|live| {
        let (census, is_enabled) = (live.census(), live.settings().enabled);
        let (sockets, users, channels) = (census.sockets, census.users, census.channels);
        Row { app: &live.app, is_enabled, sockets, users, channels }
    });
    ok(words::listed(rows))
}

/// `POST /console/api/apps`.
pub async fn register(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    door.enter_as_super(&head)?;
    let wanted = door.parsed(body, words::register).await??;
    let live = door.register(&head, wanted).await?;
    Ok(json(StatusCode::CREATED, words::told(&live.app, Some(&live.settings()))))
}

/// `GET /console/api/apps/{app_key}`.
pub async fn show(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let (visitor, live) = door.enter_app(&head)?;
    let settings = visitor.is_super().then(|| live.settings());
    ok(words::told(&live.app, settings.as_deref()))
}

/// `DELETE /console/api/apps/{app_key}`.
pub async fn unregister(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app(&head)?.1;
    door.hub.unregister(&live.app.key).await?;
    no_content()
}

/// `PATCH /console/api/apps/{app_key}/settings`.
pub async fn change_settings(State(door): State<Arc<Door>>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let live = door.enter_app_as_super(&head)?;
    let change = door.parsed(body, settings::change).await??;
    let changed = door.hub.configure(live.app.key.as_str(), |now| settings::apply(now, change)).await?;
    ok(words::settings(&changed))
}

/// `POST /console/api/apps/{app_key}/rotate`: one more pair of key and secret. The others stay good, the app's own too,
/// which is part of its registration.
pub async fn rotate(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app_as_super(&head)?;
    let pair = new_pair()?;
    let (app, added) = (live.app.key.as_str(), pair.clone());
    door.hub
        .configure(app, |now| {
            let mut settings = now.clone();
            settings.additional_keys.push(added);
            Ok(settings)
        })
        .await?;
    ok(words::rotated(&pair))
}

/// `DELETE /console/api/apps/{app_key}/keys/{pair_key}`: from now on the pair signs nothing.
pub async fn remove_key(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let live = door.enter_app_as_super(&head)?;
    let key = answer::segment(head.uri.path(), DETAIL_PLACE)?;
    let without = |now: &AppSettings| {
        let mut settings = now.clone();
        settings.additional_keys.retain(|pair| pair.key != key);
        Ok(settings)
    };
    if !live.settings().additional_keys.iter().any(|pair| pair.key == key) {
        return Err(Fault::key_unknown().into());
    }
    door.hub.configure(live.app.key.as_str(), without).await?;
    no_content()
}

/// A pair as long as those of Pusher Channels: 20 hex digits, and 32.
fn new_pair() -> Result<KeyPair, Refusal> {
    let mut key = [0; 10];
    getrandom::fill(&mut key).map_err(|_| Refusal::Internal)?;
    let (_, secret) = new_identity().map_err(|_| Refusal::Internal)?;
    Ok(KeyPair { key: hex::encode(key), secret: AppSecret(secret) })
}
