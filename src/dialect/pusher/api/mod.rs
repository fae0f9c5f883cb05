//! The signed calls of Pusher Channels under `/apps/{app_id}` (pusher-channels 13, 14, 16.2): what a backend sends
//! becomes a noun of the model, what the hub answers becomes JSON, and a refusal becomes a status and a text.
//!
//! A request is read to its end before anything of it can be published: what these functions return is whole and
//! valid. Whether the app exists, and what is in its channels, is for others to know.

mod answer;
mod attributes;
mod fault;
mod publish;
mod query;
mod signed;

pub use answer::{batched, channel, channels, published, users};
pub use attributes::Info;
pub use fault::{Fault, fault_body};
pub use publish::{Wanted, batch, channel_event, event};
pub use query::{channel_query, channels_query, users_query};
pub use signed::{Claim, SignedCall, SignedHead, auth_key, authenticate};
