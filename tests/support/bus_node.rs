//! One node's place on a bus, and what it hears there.

use std::sync::Arc;

use bytes::Bytes;
use gusher::bus::{self, Bus, BusError, BusEvent};
use gusher::config::read::{self, Overlay};
use tokio::sync::mpsc::Receiver;

use super::soon;

/// A node on a bus.
pub struct BusNode {
    /// The name of its own subject.
    pub name: String,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    events: Receiver<BusEvent>,
}

/// Connects with these settings.
pub async fn connect(
    settings: &[(&str, impl AsRef<str>)],
) -> Result<(Arc<dyn Bus>, Receiver<BusEvent>), BusError> {
    let mut flags = Overlay::default();
    settings.iter().for_each(|(key, value)| flags.set(key, value.as_ref()));
    let config = read::dev([], &flags).expect("the settings are valid").bus;
    bus::connect(&config.expect("there is a bus")).await
}

impl BusNode {
    /// A node of this name that waits until its bus is up.
    pub async fn new(name: &str, (bus, events): (Arc<dyn Bus>, Receiver<BusEvent>)) -> Self {
        let mut node = Self { name: name.to_owned(), bus, events };
        assert_eq!(node.next().await, BusEvent::Up);
        node
    }

    /// Connects with these settings, and waits until its bus is up.
    pub async fn join(name: &str, settings: &[(&str, impl AsRef<str>)]) -> Self {
        Self::new(name, connect(settings).await.expect("nothing is wrong with it")).await
    }

    /// The next event.
    pub async fn next(&mut self) -> BusEvent {
        soon("an event of the bus", self.events.recv()).await.expect("the bus is there")
    }

    /// The next event must be this frame.
    pub async fn hears(&mut self, text: &'static str) {
        assert_eq!(self.next().await, BusEvent::Frame(Bytes::from_static(text.as_bytes())), "{}", self.name);
    }

    /// Sends a frame.
    pub fn says(&self, subject: &str, text: &'static str) {
        self.bus.send(subject, Bytes::from_static(text.as_bytes())).expect("the bus takes it");
    }

    /// Returns when all that was followed is followed, and nothing else was heard.
    pub async fn settle(&mut self) {
        let own = format!("own.{}", self.name);
        self.bus.follow(&own);
        self.says(&own, "settled");
        self.hears("settled").await;
    }

    /// The next events must be that the bus went down and is up again.
    pub async fn is_cut_off_and_back(&mut self) {
        assert_eq!(self.next().await, BusEvent::Down);
        assert_eq!(self.next().await, BusEvent::Up);
    }
}
