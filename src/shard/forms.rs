//! One message in the forms in which sockets take it: made once, shared by all who receive it.

use bytes::Bytes;

use super::Shard;
use crate::model::AppNumber;
use crate::net::websocket::frame;

/// A frame, and the same message deflated where somebody reads that and it is shorter.
#[derive(Clone, Debug)]
pub struct Forms {
    plain: Bytes,
    deflated: Option<Bytes>,
}

impl Forms {
    /// What a socket takes that agreed on deflated messages, or did not.
    pub fn frame(&self, deflates: bool) -> &Bytes {
        match &self.deflated {
            Some(deflated) if deflates => deflated,
            _ => &self.plain,
        }
    }

    /// What both hold, in bytes.
    pub fn bytes(&self) -> usize {
        self.plain.len() + self.deflated.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
impl From<Bytes> for Forms {
    fn from(plain: Bytes) -> Self {
        Self { plain, deflated: None }
    }
}

impl Shard {
    /// The forms of a text for the sockets of an app.
    pub(super) fn forms(&mut self, app: AppNumber, text: &str) -> Forms {
        let is_wanted = self.apps.get(&app).is_some_and(|members| members.deflating > 0);
        let deflated =
            is_wanted.then(|| self.deflater.get_or_insert_default().text(text.as_bytes())).flatten();
        self.metrics.deflated.add(deflated.is_some().into());
        Forms { plain: frame::text(text.as_bytes()), deflated }
    }
}
