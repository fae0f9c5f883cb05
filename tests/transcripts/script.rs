//! The text of a transcript, taken apart. What was heard is left out: playing the transcript says it anew.

/// A line of prose, or all that one party says before it listens.
pub enum Part<'a> {
    /// For people.
    Prose(&'a str),
    /// For the node.
    Said(Speech<'a>),
}

/// What one party says.
pub struct Speech<'a> {
    /// The name of a client; empty for a backend.
    pub who: &'a str,
    /// The lines as they were written.
    pub lines: Vec<&'a str>,
}

impl<'a> Speech<'a> {
    /// The lines without the name and the mark.
    pub fn words(&self) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter_map(|line| mark(line)).map(|(_, _, words)| words)
    }
}

/// The parts of a transcript, in order.
pub fn read(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut has_been_answered = true;
    for line in text.lines() {
        match (mark(line), parts.last_mut()) {
            (Some((who, '>', _)), Some(Part::Said(speech))) if who == speech.who && !has_been_answered => {
                speech.lines.push(line);
            }
            (Some((who, '>', _)), _) => {
                has_been_answered = false;
                parts.push(Part::Said(Speech { who, lines: vec![line] }));
            }
            (Some(_), _) => has_been_answered = true,
            (None, _) => parts.push(Part::Prose(line)),
        }
    }
    parts
}

/// Who, `>` or `<`, and the words, if the line is no prose.
fn mark(line: &str) -> Option<(&str, char, &str)> {
    let at = line.find(|letter: char| !letter.is_alphanumeric())?;
    let (who, rest) = line.split_at(at);
    let (mark, words) = rest.split_at_checked(1)?;
    let mark = mark.chars().next().filter(|mark| matches!(mark, '>' | '<'))?;
    Some((who, mark, words.strip_prefix(' ').unwrap_or(words)))
}
