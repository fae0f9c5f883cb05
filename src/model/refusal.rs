//! Every reason to say no to a client or a backend. Each dialect gives a reason its own number and words.

use super::AppRate;

/// Why something was refused. Only dialects know close codes and HTTP statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No or wrong credentials, or credentials that do not reach this far.
    NotAuthorized,
    /// No app has this key.
    AppUnknown,
    /// Another app has this key.
    AppExists,
    /// Another app has this id.
    AppIdTaken,
    /// An additional key is a key already, of this app or of another.
    KeyTaken,
    /// A required field is absent or empty.
    FieldMissing(&'static str),
    /// A field breaks a rule.
    FieldInvalid {
        /// The field.
        field: &'static str,
        /// What is wrong, as the end of a sentence that begins with the field's name.
        fault: &'static str,
    },
    /// The parameters could not be read at all.
    ParametersInvalid(String),
    /// The user pattern could not be compiled; with the parser's short reason.
    PatternInvalid(String),
    /// Matching the user pattern takes longer than it may.
    PatternTooSlow,
    /// Nothing is at this path.
    PathUnknown,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The request body is longer than the limit.
    BodyTooLarge,
    /// The request did not arrive in time.
    TooSlow,
    /// The request is no WebSocket upgrade.
    NotAnUpgrade,
    /// The connect hook said no.
    HookRefused,
    /// The connect hook could not be asked, or did not answer as agreed.
    HookFailed,
    /// The connect hook did not answer in time.
    HookTimeout,
    /// Too many others are waiting for their connect hook.
    HookBusy,
    /// The node has as many sockets, or as much waiting mail, as it may have.
    Overloaded,
    /// The node is short of memory.
    MemoryShort,
    /// The app's own bound within a second is reached.
    RateExceeded(AppRate),
    /// The other nodes cannot be reached.
    BusDown,
    /// The node is about to stop.
    Draining,
    /// An address that may not come to this listener.
    AddressNotAllowed,
    /// A page of another site that may not call this listener with the browser of somebody who may.
    PageNotAllowed,
    /// A body that is encoded, such as compressed.
    BodyEncoded,
    /// An address has as many sockets as it may have.
    AddressFull,
    /// An address opens sockets faster than it may.
    ConnectsExceeded {
        /// How long to wait, in seconds.
        wait_s: u32,
    },
    /// An address calls faster than it may.
    CallsExceeded {
        /// How long to wait, in seconds.
        wait_s: u32,
    },
    /// Somebody failed to sign in too often.
    SignInsExceeded {
        /// How long to wait, in seconds.
        wait_s: u32,
    },
    /// Our own fault; the cause is in the log.
    Internal,
    /// The app is switched off.
    AppDisabled,
    /// The app takes sockets over TLS only.
    TlsOnly,
    /// The app has as many sockets as it may have.
    AppFull,
    /// The socket is in the channel already.
    SubscribedAlready,
    /// The socket is not in the channel.
    NotSubscribed,
    /// The presence channel has as many members as it may have.
    RosterFull,
    /// The socket is in as many channels as it may be.
    TooManyChannels,
    /// The client sends events faster than it may.
    TooManyEvents,
    /// The socket is signed in as somebody else.
    SignedInAlready,
}

impl Refusal {
    /// Whether a call is refused for the address that it came from, whatever was asked.
    pub fn is_about_address(&self) -> bool {
        matches!(self, Self::AddressNotAllowed | Self::CallsExceeded { .. } | Self::SignInsExceeded { .. })
    }

    /// How long to wait before it is worth while to try again, in seconds, where that is known.
    pub fn wait_s(&self) -> Option<u32> {
        match self {
            Self::SignInsExceeded { wait_s }
            | Self::ConnectsExceeded { wait_s }
            | Self::CallsExceeded { wait_s } => Some(*wait_s),
            _ => None,
        }
    }

    /// The reason as one word for figures: without what a client or a backend sent.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAuthorized => "not_authorized",
            Self::AppUnknown => "app_unknown",
            Self::AppExists => "app_exists",
            Self::AppIdTaken => "app_id_taken",
            Self::KeyTaken => "key_taken",
            Self::FieldMissing(_) => "field_missing",
            Self::FieldInvalid { .. } => "field_invalid",
            Self::ParametersInvalid(_) => "parameters_invalid",
            Self::PatternInvalid(_) => "pattern_invalid",
            Self::PatternTooSlow => "pattern_too_slow",
            Self::PathUnknown => "path_unknown",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::TooSlow => "too_slow",
            Self::NotAnUpgrade => "not_an_upgrade",
            Self::HookRefused => "hook_refused",
            Self::HookFailed => "hook_failed",
            Self::HookTimeout => "hook_timeout",
            Self::HookBusy => "hook_busy",
            Self::Overloaded => "overloaded",
            Self::MemoryShort => "memory_short",
            Self::RateExceeded(rate) => rate.excess(),
            Self::BusDown => "bus_down",
            Self::Draining => "draining",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::PageNotAllowed => "page_not_allowed",
            Self::BodyEncoded => "body_encoded",
            Self::AddressFull => "address_full",
            Self::ConnectsExceeded { .. } => "connects_exceeded",
            Self::CallsExceeded { .. } => "calls_exceeded",
            Self::SignInsExceeded { .. } => "sign_ins_exceeded",
            Self::Internal => "internal",
            Self::AppDisabled => "app_disabled",
            Self::TlsOnly => "tls_only",
            Self::AppFull => "app_full",
            Self::SubscribedAlready => "subscribed_already",
            Self::NotSubscribed => "not_subscribed",
            Self::RosterFull => "roster_full",
            Self::TooManyChannels => "too_many_channels",
            Self::TooManyEvents => "too_many_events",
            Self::SignedInAlready => "signed_in_already",
        }
    }
}
