//! The figures of the node as a whole: the door's, the hub's, the hooks' and those of the bus.

use std::borrow::Cow;

use prometheus_client::metrics::MetricType;

use super::family::{Family, Value};
use crate::hook::{WebhookFigures, Webhooks};
use crate::hub::Hub;
use crate::metrics::NodeMetrics;
use crate::model::Dialect;

/// All of them.
pub fn families(hub: &Hub, webhooks: &WebhookFigures) -> Vec<Family> {
    let mut families =
        vec![build(), Family::gauge("gusher_draining", "Whether the node stops", hub.is_draining().into())];
    families.extend(memory(hub));
    families.extend(sockets(hub));
    families.extend(publishing(&hub.metrics));
    families.extend(requests(&hub.metrics));
    families.extend(hooks(hub, webhooks));
    families.extend(bus(hub));
    families.extend(console(&hub.metrics));
    families
}

/// How often each store failed.
pub fn store_failures(hub: &Hub, webhooks: &Webhooks) -> Family {
    let failures = [("apps", hub.store_failures()), ("outbox", webhooks.database_failures())];
    Family::counters("gusher_store_failures", "Times that the database failed", "store", failures)
}

fn build() -> Family {
    let version = Cow::Borrowed(env!("CARGO_PKG_VERSION"));
    let figure = (vec![("version", version)], Value::Gauge(1));
    Family::new("gusher_build_info", "Always 1; the label says what runs", MetricType::Gauge, vec![figure])
}

fn memory(hub: &Hub) -> [Family; 2] {
    let (bytes_max, is_short) = (hub.metrics.memory_bytes_max.get(), hub.is_short_of_memory());
    [
        Family::gauge(
            "gusher_memory_bytes_max",
            "Resident memory from which on no socket is let in, 0 for no bound",
            bytes_max,
        ),
        Family::gauge(
            "gusher_memory_short",
            "Whether no socket is let in for want of memory",
            is_short.into(),
        ),
    ]
}

fn sockets(hub: &Hub) -> Vec<Family> {
    let metrics = &hub.metrics;
    let admissions = Dialect::ALL.map(|dialect| (dialect.name(), metrics.admissions.of(dialect).get()));
    vec![
        Family::gauge("gusher_connections_max", "Sockets that this node may have", hub.sockets_max() as u64),
        Family::counters("gusher_connections_admitted", "Sockets admitted", "dialect", admissions),
        Family::counters(
            "gusher_connections_refused",
            "Sockets refused",
            "reason",
            metrics.sockets_refused.all(),
        ),
        Family::counter(
            "gusher_apps_refused",
            "Times that an app which nobody registered found no room among the others",
            metrics.apps_refused.get(),
        ),
        Family::gauge(
            "gusher_subscriptions",
            "Subscriptions of this node's sockets",
            metrics.subscriptions.get(),
        ),
        Family::counters(
            "gusher_subscriptions_refused",
            "Subscriptions refused by the state of the node or of the channel",
            "reason",
            metrics.subscriptions_refused.all(),
        ),
        Family::gauge("gusher_channels", "Channels that sockets of this node are in", metrics.channels.get()),
    ]
}

fn publishing(metrics: &NodeMetrics) -> Vec<Family> {
    let (classes, sum_us) = metrics.publish_times.get();
    vec![
        Family::counter("gusher_publications", "Publications accepted", metrics.publications.get()),
        Family::counters(
            "gusher_publications_refused",
            "Publications refused after they were understood",
            "reason",
            metrics.publications_refused.all(),
        ),
        Family::counter(
            "gusher_client_events",
            "Events that clients published to their channels",
            metrics.client_events.get(),
        ),
        Family::times(
            "gusher_publish_seconds",
            "From the head of a request that publishes to its answer",
            [(Vec::new(), classes, sum_us)],
        ),
        Family::counter(
            "gusher_kept_events_given_up",
            "Events kept by cache channels that made room for others before their time",
            metrics.kept_events_given_up.get(),
        ),
    ]
}

fn requests(metrics: &NodeMetrics) -> Vec<Family> {
    let refusals = metrics.refusals.all().into_iter().map(|(status, count)| (status.to_string(), count));
    vec![
        Family::counters("gusher_requests_refused", "Requests answered with 4xx or 5xx", "status", refusals),
        Family::counters(
            "gusher_address_refusals",
            "Requests and connections refused for the address that they came from",
            "reason",
            metrics.address_refusals.all(),
        ),
        Family::counter(
            "gusher_slow_heads",
            "Connections whose first request did not come in time",
            metrics.slow_heads.get(),
        ),
        Family::gauge(
            "gusher_pending_connections",
            "Connections that are not sockets, or not yet, and calls over HTTP/2",
            metrics.pending_connections.get(),
        ),
        Family::counters(
            "gusher_places_given_up",
            "Idle and slow connections and calls that made room for others, as all places were taken",
            "reason",
            metrics.seats_given_up.all(),
        ),
        Family::counter(
            "gusher_unread_answers",
            "Connections reset because nothing of an answer was taken in time",
            metrics.unread_answers.get(),
        ),
        Family::counter(
            "gusher_tls_failures",
            "TLS handshakes that failed or did not come in time",
            metrics.tls_failures.get(),
        ),
        Family::gauge(
            "gusher_certificate_end_timestamp_seconds",
            "When the certificate of the listeners ends, in seconds since 1970; 0 without one",
            metrics.certificate_end_s.get(),
        ),
        Family::counter(
            "gusher_certificate_order_failures",
            "Orders of a certificate that came to nothing, and are repeated",
            metrics.certificate_failures.get(),
        ),
        Family::counter(
            "gusher_accept_failures",
            "Times that a connection could not be accepted for want of descriptors",
            metrics.accept_failures.get(),
        ),
    ]
}

fn hooks(hub: &Hub, webhooks: &WebhookFigures) -> Vec<Family> {
    let results =
        [("delivered", webhooks.delivered), ("dropped", webhooks.dropped), ("given_up", webhooks.given_up)];
    vec![
        Family::counters(
            "gusher_connect_hooks",
            "What asking connect hooks came to",
            "result",
            hub.metrics.connect_hooks.all(),
        ),
        Family::gauge(
            "gusher_webhook_events_waiting",
            "Events still to be told to webhooks",
            webhooks.waiting,
        ),
        Family::counters("gusher_webhook_events", "What became of events for webhooks", "result", results),
        Family::counter(
            "gusher_webhook_failed_attempts",
            "Requests to webhooks that failed, and are repeated",
            webhooks.failed_attempts,
        ),
        Family::counter(
            "gusher_notices_dropped",
            "Events for webhooks lost on the way to the disk",
            hub.notices_dropped(),
        ),
    ]
}

/// What is only to be said of a node that may have others beside it has no figure where there is no bus.
fn bus(hub: &Hub) -> Vec<Family> {
    let (state, metrics) = (hub.bus_state(), &hub.metrics);
    let gauge = |name, help, amount: Option<u64>| {
        let figures = amount.map(|amount| (Vec::new(), Value::Gauge(amount)));
        Family::new(name, help, MetricType::Gauge, figures.into_iter().collect())
    };
    vec![
        gauge("gusher_bus_up", "Whether the bus is there", state.map(|state| state.is_up.into())),
        gauge(
            "gusher_bus_ready",
            "Whether this node knows what the others hold",
            state.map(|state| state.is_ready.into()),
        ),
        gauge(
            "gusher_nodes",
            "Nodes of the cluster that live, this one included",
            state.map(|state| state.nodes as u64),
        ),
        Family::counter(
            "gusher_bus_frames_lost",
            "Messages of other nodes dropped because this one was too slow",
            metrics.facts_lost.get(),
        ),
        Family::counter(
            "gusher_bus_frames_skipped",
            "Messages of other nodes that this one does not understand",
            metrics.facts_skipped.get(),
        ),
        Family::counter(
            "gusher_bus_publications_late",
            "Publications of other nodes dropped because later ones came before them",
            metrics.facts_late.get(),
        ),
        Family::counter(
            "gusher_bus_publications_unsent",
            "Publications delivered on this node alone because the bus was down",
            metrics.facts_unsent.get(),
        ),
        Family::counter(
            "gusher_bus_publications_shed",
            "Publications of other nodes dropped because too much waited for the shards of this one, or for patterns",
            metrics.relays_shed.get(),
        ),
        Family::counter(
            "gusher_bus_changes_shed",
            "Times that clients were not told who came or went on another node because too much waited for the shards",
            metrics.changes_shed.get(),
        ),
        Family::counter(
            "gusher_bus_patterns_unmatched",
            "Publications of other nodes dropped because this one could not match their pattern within its bounds",
            metrics.relays_unmatched.get(),
        ),
        Family::counters(
            "gusher_bus_messages_unsent",
            "Messages for other nodes that the bus did not take; what they said is said again later, and publications are refused",
            "reason",
            metrics.messages_unsent.all(),
        ),
        Family::counter(
            "gusher_bus_follows_late",
            "Times that clients were told they are there before the bus confirmed that it follows what is for them",
            metrics.follows_late.get(),
        ),
    ]
}

fn console(metrics: &NodeMetrics) -> Vec<Family> {
    vec![
        Family::counters(
            "gusher_console_sign_ins",
            "What signing in to the console came to",
            "result",
            metrics.console_sign_ins.all(),
        ),
        Family::gauge(
            "gusher_feed_watchers",
            "Those who watch the feed of an app",
            metrics.feed_watchers.get(),
        ),
        Family::counter(
            "gusher_feed_items_skipped",
            "What happened in an app and was not shown to one who watches, as it was too much",
            metrics.feed_skipped.get(),
        ),
    ]
}
