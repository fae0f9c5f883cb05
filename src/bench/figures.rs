//! What was measured: names with their units, as a table for people and as JSON for programs.

use serde_json::{Map, Number, Value};

use super::tally::Delays;

/// Figures in the order in which they are to be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Map<String, Value>);

impl Figures {
    /// Those of a scenario.
    pub fn of(scenario: &str) -> Self {
        let mut figures = Self::default();
        figures.0.insert("scenario".to_owned(), scenario.into());
        figures
    }

    /// Adds a word.
    pub fn word(&mut self, name: &str, word: &str) -> &mut Self {
        self.0.insert(name.to_owned(), word.into());
        self
    }

    /// Adds a count.
    pub fn count(&mut self, name: &str, count: u64) -> &mut Self {
        self.0.insert(name.to_owned(), count.into());
        self
    }

    /// Adds an amount of memory, if it is known.
    pub fn bytes(&mut self, name: &str, bytes: Option<u64>) -> &mut Self {
        self.0.extend(bytes.map(|bytes| (name.to_owned(), bytes.into())));
        self
    }

    /// Adds a measure, with three decimals. What is not known is left out.
    pub fn measure(&mut self, name: &str, value: Option<f64>) -> &mut Self {
        let number = value.and_then(|value| Number::from_f64((value * 1000.0).round() / 1000.0));
        self.0.extend(number.map(|number| (name.to_owned(), number.into())));
        self
    }

    /// Adds what some work cost each time, in microseconds of processor time.
    pub fn cost(&mut self, name: &str, spent_ns: Option<u64>, times: u64) -> &mut Self {
        let each = |spent: u64| spent as f64 / 1000.0 / times as f64;
        self.measure(name, spent_ns.filter(|_| times > 0).map(each))
    }

    /// Adds percentiles, each with this in front of its name.
    pub fn delays(&mut self, prefix: &str, delays: &Delays) -> &mut Self {
        for (name, share) in [("p50_ms", 50.0), ("p99_ms", 99.0), ("p999_ms", 99.9)] {
            self.measure(&format!("{prefix}{name}"), delays.percentile_ms(share));
        }
        self.measure(&format!("{prefix}max_ms"), delays.max_ms())
    }

    /// Adds all of other figures.
    pub fn append(&mut self, figures: Figures) -> &mut Self {
        self.0.extend(figures.0);
        self
    }

    /// Adds other figures under one name.
    pub fn group(&mut self, name: &str, figures: Figures) -> &mut Self {
        self.0.insert(name.to_owned(), figures.0.into());
        self
    }

    /// The figure of that name, if it is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// Of several runs of one scenario: of every number the median, but of the counts of what went wrong the worst.
    pub fn median(runs: &[Figures]) -> Figures {
        let Some(first) = runs.first() else { return Figures::default() };
        let middle = |(name, value): (&String, &Value)| {
            let mut values: Vec<&Value> = runs.iter().filter_map(|run| run.0.get(name)).collect();
            values.sort_by(|one, other| {
                one.as_f64().unwrap_or_default().total_cmp(&other.as_f64().unwrap_or_default())
            });
            let is_wrong = FAULTS.contains(&name.trim_start_matches("timed_"));
            let chosen = if is_wrong { values.last() } else { values.get(values.len() / 2) };
            (name.clone(), chosen.map_or_else(|| value.clone(), |value| (*value).clone()))
        };
        Figures(first.0.iter().map(middle).collect())
    }

    /// By how much these differ from others: the quotient of every measure of cost or delay that both have.
    pub fn ratio(&self, to: &Figures) -> Figures {
        let mut ratio = Figures::default();
        for name in self.0.keys().filter(|name| name.contains("cpu_us_per") || name.ends_with("_ms")) {
            let quotient = self.number(name).zip(to.number(name)).map(|(one, other)| one / other);
            ratio.measure(name, quotient);
        }
        ratio
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// A line per figure; groups of figures side by side.
    pub fn table(&self) -> String {
        let groups: Vec<(&String, &Map<String, Value>)> =
            self.0.iter().filter_map(|(name, value)| Some((name, value.as_object()?))).collect();
        let mut rows: Vec<Vec<String>> = self
            .0
            .iter()
            .filter(|(_, value)| !value.is_object())
            .map(|(name, value)| vec![name.clone(), shown(value)])
            .collect();
        if !groups.is_empty() {
            let titles = groups.iter().map(|(name, _)| (*name).clone());
            rows.push(std::iter::once(String::new()).chain(titles).collect());
        }
        let mut names: Vec<&String> = Vec::new();
        for name in groups.iter().flat_map(|(_, group)| group.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let cells = groups.iter().map(|(_, group)| group.get(name).map(shown).unwrap_or_default());
            rows.push(std::iter::once(name.clone()).chain(cells).collect());
        }
        aligned(&rows)
    }
}

/// Counts of what should be zero.
const FAULTS: [&str; 5] = ["lost", "disordered", "closed", "refused", "refused_calls"];

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A longer word stands out of its column.
const WIDTH_MAX: usize = 20;

/// Columns as wide as what they hold, the first to the left and the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.filter(|width| column == 0 || *width <= WIDTH_MAX).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut table = String::new();
    for row in rows {
        let mut cells = row.iter().zip(&widths);
        let head = cells.next().map(|(cell, width)| format!("{cell:width$}"));
        let line =
            cells.fold(head.unwrap_or_default(), |line, (cell, width)| format!("{line}  {cell:>width$}"));
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu: f64, lost: u64) -> Figures {
        let mut figures = Figures::default();
        figures.count("lost", lost).measure("cpu_us_per_delivery", Some(cpu)).measure("absent", None);
        figures
    }

    #[test]
    fn of_runs_the_median_counts_and_of_faults_the_worst() {
        let median = Figures::median(&[run(7.0, 0), run(5.0, 3), run(6.0, 0)]);
        assert_eq!(median.json(), r#"{"lost":3,"cpu_us_per_delivery":6.0}"#);
        assert_eq!(median.ratio(&run(4.0, 0)).json(), r#"{"cpu_us_per_delivery":1.5}"#);
    }

    #[test]
    fn groups_stand_side_by_side() {
        let mut figures = Figures::of("fanout");
        figures.group("floor", run(4.0, 0)).group("server", run(10.5, 1));
        let table = "\
scenario             fanout
                      floor  server
lost                      0       1
cpu_us_per_delivery     4.0    10.5
";
        assert_eq!(figures.table(), table);
    }
}
