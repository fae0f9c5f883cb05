//! What an app may bound within a second.

/// What is counted against an app's own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Calls of its backends.
    Calls,
    /// What its backends publish: each publication once for each of its channels.
    Publications,
    /// Sockets that ask to be let in.
    Connects,
    /// Frames that one socket sends.
    Frames,
}

impl Rate {
    /// All of them.
    pub const ALL: [Rate; 4] = [Rate::Calls, Rate::Publications, Rate::Connects, Rate::Frames];

    /// As one word, for figures.
    pub fn name(self) -> &'static str {
        match self {
            Rate::Calls => "calls",
            Rate::Publications => "publications",
            Rate::Connects => "connects",
            Rate::Frames => "frames",
        }
    }

    /// The setting of an app that bounds it.
    pub fn setting(self) -> &'static str {
        match self {
            Rate::Calls => "max_calls_per_second",
            Rate::Publications => "max_publications_per_second",
            Rate::Connects => "max_connects_per_second",
            Rate::Frames => "max_frames_per_second",
        }
    }

    /// The same as the reason of a refusal.
    pub fn excess(self) -> &'static str {
        match self {
            Rate::Calls => "too_many_calls",
            Rate::Publications => "too_many_publications",
            Rate::Connects => "too_many_connects",
            Rate::Frames => "too_many_frames",
        }
    }
}
