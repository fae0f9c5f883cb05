//! How important something is, for a log that leaves out what is less.

/// How important a log line must be to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Debug,
    /// No debug lines.
    Info,
    /// Warnings and errors only.
    Warn,
}

impl Level {
    /// All of them, the most talkative first.
    pub const ALL: [Self; 3] = [Self::Debug, Self::Info, Self::Warn];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }

    /// The level that is called so, in small letters.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.word() == word)
    }
}
