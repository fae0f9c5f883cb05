//! The figures of single apps: of those with the most sockets, and of all others together.
//!
//! Always: each series only goes up that has to. An app that is named shows all that was counted of it; what is shown of
//! the others is the sum of what each added while it was not named, so an app that changes sides, or goes, takes nothing
//! away from them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::MetricType;

use super::family::{Family, Value};
use crate::hub::LiveApp;
use crate::model::{AppNumber, AppRate};

/// What stands for all others. No app can be registered by this name, as it has a slash.
const OTHERS: &str = "/others";

/// What is counted of an app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    publications: u64,
    deliveries: u64,
    /// What was refused, by rates.
    exceeded: [u64; AppRate::ALL.len()],
}

impl Traffic {
    fn of(app: &LiveApp) -> Self {
        Self {
            publications: app.metrics.publications.get(),
            deliveries: app.metrics.deliveries.get(),
            exceeded: AppRate::ALL.map(|rate| app.metrics.exceeded.of(rate).get()),
        }
    }

    fn add_growth(&mut self, before: Self, now: Self) {
        self.publications += now.publications - before.publications;
        self.deliveries += now.deliveries - before.deliveries;
        for (rate, sum) in self.exceeded.iter_mut().enumerate() {
            *sum += now.exceeded[rate] - before.exceeded[rate];
        }
    }
}

/// What is remembered of the apps that are not named.
#[derive(Debug, Default)]
pub struct Rest(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    sum: Traffic,
    /// What was counted of each app when it was last looked at.
    seen: HashMap<AppNumber, Traffic>,
}

impl Rest {
    /// The figures of all apps, of which at most `named_max` are named.
    pub fn families(&self, apps: &[Arc<LiveApp>], named_max: usize) -> Vec<Family> {
        let mut sized: Vec<_> =
            apps.iter().map(|app| (app.sockets_here() as u64, Traffic::of(app), app)).collect();
        // By number, where sockets and publications leave it open: so that it does not change from time to time.
        sized.sort_by_key(|(sockets, traffic, app)| (Reverse((*sockets, traffic.publications)), app.number));
        let (named, others) = sized.split_at(named_max.min(sized.len()));
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = std::mem::take(&mut memory.seen);
        for (_, traffic, app) in others {
            memory.sum.add_growth(seen.get(&app.number).copied().unwrap_or_default(), *traffic);
        }
        memory.seen = sized.iter().map(|(_, traffic, app)| (app.number, *traffic)).collect();
        let mut rows: Vec<_> = named
            .iter()
            .map(|(sockets, traffic, app)| (app.app.key.as_str().to_owned(), *sockets, *traffic))
            .collect();
        rows.push((OTHERS.to_owned(), others.iter().map(|(sockets, ..)| sockets).sum(), memory.sum));
        families(&rows)
    }
}

fn families(rows: &[(String, u64, Traffic)]) -> Vec<Family> {
    let figures = |of: fn(&(String, u64, Traffic)) -> u64| {
        rows.iter().map(move |row| (Cow::<'static, str>::Owned(row.0.clone()), of(row)))
    };
    vec![
        Family::gauges(
            "gusher_app_connections",
            "Sockets of an app on this node",
            "app",
            figures(|(_, sockets, _)| *sockets),
        ),
        Family::counters(
            "gusher_app_publications",
            "Publications of an app accepted on this node",
            "app",
            figures(|(.., traffic)| traffic.publications),
        ),
        Family::counters(
            "gusher_app_deliveries",
            "Pushes handed to sockets of an app on this node",
            "app",
            figures(|(.., traffic)| traffic.deliveries),
        ),
        exceeded(rows),
    ]
}

fn exceeded(rows: &[(String, u64, Traffic)]) -> Family {
    let figures = rows.iter().flat_map(|(app, _, traffic)| {
        AppRate::ALL.into_iter().zip(traffic.exceeded).map(|(rate, count)| {
            let labels = vec![("app", Cow::Owned(app.clone())), ("rate", Cow::Borrowed(rate.name()))];
            (labels, Value::Counter(count))
        })
    });
    let help = "What a bound of an app's own within a second refused on this node";
    Family::new("gusher_app_rate_exceeded", help, MetricType::Counter, figures.collect())
}
