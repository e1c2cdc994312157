//! One alert: it does not fire, then it fires from its cause, then it clears.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::prometheus::Prometheus;

/// Time for an alert to fire, and to clear. What a program reports once a minute takes so long.
const WITHIN: Duration = Duration::from_secs(120);

/// What came of one.
pub(super) struct Row {
    pub(super) alert: &'static str,
    cause: &'static str,
    fired: Duration,
    cleared: Duration,
}

impl Row {
    pub(super) fn json(&self) -> Value {
        let [fired, cleared] = [self.fired, self.cleared].map(|time| time.as_secs_f64());
        json!({ "alert": self.alert, "cause": self.cause, "fired-after-seconds": fired, "cleared-after-seconds": cleared })
    }
}

/// The rows as a table for people.
pub(super) fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str, least: usize| rows.iter().map(|row| of(row).len()).chain([least]).max().unwrap_or(least);
    let (alert, cause) = (width(|row| row.alert, 5), width(|row| row.cause, 5));
    let mut text = format!("{:alert$} | {:cause$} | fired after | cleared after\n", "alert", "cause");
    for row in rows {
        let (fired, cleared) = (row.fired.as_secs_f64(), row.cleared.as_secs_f64());
        text.push_str(&format!("{:alert$} | {:cause$} | {fired:9.1} s | {cleared:11.1} s\n", row.alert, row.cause));
    }
    text
}

pub(super) struct Trial<'a> {
    prometheus: &'a Prometheus,
    alert: &'static str,
    instance: &'static str,
    cause: &'static str,
    begin: Instant,
}

impl<'a> Trial<'a> {
    /// Begins just before the cause. The alert must not fire yet.
    pub(super) async fn begin(
        prometheus: &'a Prometheus,
        alert: &'static str,
        instance: &'static str,
        cause: &'static str,
    ) -> Result<Self> {
        if prometheus.fires(alert, instance).await? {
            bail!("{alert} of {instance} fires before its cause ({cause})");
        }
        Ok(Self { prometheus, alert, instance, cause, begin: Instant::now() })
    }

    /// Waits until the alert fires.
    pub(super) async fn fired(self) -> Result<Fired<'a>> {
        self.prometheus.wait(self.alert, self.instance, true, WITHIN).await?;
        let (alert, time) = (self.alert, self.begin.elapsed());
        println!("{alert} of {} fires {:.1} s after its cause: {}", self.instance, time.as_secs_f64(), self.cause);
        Ok(Fired { trial: self, time })
    }
}

/// An alert that fires. The cause is removed now.
pub(super) struct Fired<'a> {
    trial: Trial<'a>,
    time: Duration,
}

impl Fired<'_> {
    /// Waits until the alert does not fire any more; `end` is when its cause ended.
    pub(super) async fn cleared(self, end: Instant) -> Result<Row> {
        let Trial { prometheus, alert, instance, cause, .. } = self.trial;
        prometheus.wait(alert, instance, false, WITHIN).await?;
        let cleared = end.elapsed();
        println!("{alert} of {instance} has cleared {:.1} s after its cause ended", cleared.as_secs_f64());
        Ok(Row { alert, cause, fired: self.time, cleared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_alert() {
        let row =
            Row { alert: "KaspathDown", cause: "killed", fired: Duration::from_millis(3210), cleared: Duration::from_secs(4) };
        let expected = "alert       | cause  | fired after | cleared after\nKaspathDown | killed |       3.2 s |         4.0 s\n";
        assert_eq!(table(&[row]), expected);
    }
}
