//! What an app may bound within a second.

/// What is counted against an app's own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppRate {
    /// Calls of its backends.
    Calls,
    /// What its backends publish: each publication once for each of its channels.
    Publications,
    /// Sockets that ask to be let in.
    Connects,
    /// Frames that one socket sends.
    Frames,
    /// How often one socket comes back into one presence channel.
    Rejoins,
}

impl AppRate {
    /// All of them.
    pub const ALL: [AppRate; 5] =
        [AppRate::Calls, AppRate::Publications, AppRate::Connects, AppRate::Frames, AppRate::Rejoins];

    /// As one word, for figures.
    pub fn name(self) -> &'static str {
        match self {
            AppRate::Calls => "calls",
            AppRate::Publications => "publications",
            AppRate::Connects => "connects",
            AppRate::Frames => "frames",
            AppRate::Rejoins => "rejoins",
        }
    }

    /// The setting of an app that bounds it.
    pub fn setting(self) -> &'static str {
        match self {
            AppRate::Calls => "max_calls_per_second",
            AppRate::Publications => "max_publications_per_second",
            AppRate::Connects => "max_connects_per_second",
            AppRate::Frames => "max_frames_per_second",
            AppRate::Rejoins => "max_presence_rejoins_per_second",
        }
    }

    /// The same as the reason of a refusal.
    pub fn excess(self) -> &'static str {
        match self {
            AppRate::Calls => "too_many_calls",
            AppRate::Publications => "too_many_publications",
            AppRate::Connects => "too_many_connects",
            AppRate::Frames => "too_many_frames",
            AppRate::Rejoins => "too_many_rejoins",
        }
    }
}
