//! What `check` and `doctor` find: one line each, or all of it as JSON.
//!
//! Always true: a finding holds no secret, and one that is not well says what to do.

use serde::Serialize;
use serde_json::json;

use super::{Failure, one_line, print_line};

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, though not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at.
    pub(super) subject: &'static str,
    /// How it is, and why that matters.
    pub(super) text: String,
    /// A command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, text: text.into(), mend: None }
    }

    /// `text` says what to do, unless [`Finding::mended_by`] follows.
    pub(super) fn warn(subject: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::ok(subject, text) }
    }

    /// As [`Finding::warn`].
    pub(super) fn fail(subject: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fail, ..Self::ok(subject, text) }
    }

    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        Self { mend: Some(command.into()), ..self }
    }

    fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let mend = self.mend.as_ref().map(|command| format!("; mend it with: {command}")).unwrap_or_default();
        format!("{level}  {}: {}{mend}", self.subject, one_line(&self.text))
    }
}

/// How many things do not work.
pub(super) fn failures(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.level == Level::Fail).count()
}

/// Prints one line for each, or one object of JSON.
///
/// # Errors
/// Stdout cannot be written to.
pub(super) fn print(findings: &[Finding], as_json: bool) -> Result<(), Failure> {
    if as_json {
        let told = json!({ "is_fine": failures(findings) == 0, "findings": findings });
        return print_line(&told.to_string());
    }
    findings.iter().try_for_each(|finding| print_line(&finding.line()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_what_to_do() {
        let finding = Finding::warn("memory", "little\nof it").mended_by("buy some");
        assert_eq!(finding.line(), "warn  memory: little of it; mend it with: buy some");
        assert_eq!(Finding::ok("memory", "plenty").line(), "ok    memory: plenty");
    }

    #[test]
    fn only_what_does_not_work_is_a_failure() {
        let findings = [Finding::ok("a", ""), Finding::warn("b", ""), Finding::fail("c", "")];
        assert_eq!(failures(&findings), 1);
    }
}
