//! Alert rules with shorter times, so that minutes of production pass in seconds.

use std::time::Duration;

/// A range must hold some scrapes, which come each second.
const SHORTEST_RANGE: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// Keys of a rule whose value is a time.
const KEYS: [&str; 2] = ["for:", "keep_firing_for:"];

/// The rules with `for:`, `keep_firing_for:`, range windows and offsets divided by `factor`.
/// Thresholds stay as they are: none of them may be an amount in seconds of such a time.
pub(super) fn scaled(rules: &str, factor: u32) -> String {
    rules.lines().map(|line| scaled_line(line, factor) + "\n").collect()
}

fn scaled_line(line: &str, factor: u32) -> String {
    let trimmed = line.trim_start();
    let indent = &line[..line.len() - trimmed.len()];
    for key in KEYS {
        if let Some(time) = trimmed.strip_prefix(key).and_then(|value| parse(value.trim())) {
            return format!("{indent}{key} {}", divided(time, factor, SHORTEST_WAIT));
        }
    }
    scaled_offsets(&scaled_ranges(line, factor), factor)
}

/// `[5m]` and `[1h:5m]`; brackets around anything else stay.
fn scaled_ranges(line: &str, factor: u32) -> String {
    let mut pieces = line.split('[');
    let mut scaled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (inner, rest) = piece.split_once(']').unwrap_or((piece, ""));
        let times: Option<Vec<Duration>> = inner.split(':').map(parse).collect();
        scaled.push('[');
        match times {
            Some(times) => {
                let times = times.iter().zip([SHORTEST_RANGE, SHORTEST_WAIT]).map(|(time, least)| divided(*time, factor, least));
                scaled.push_str(&times.collect::<Vec<_>>().join(":"));
            }
            None => scaled.push_str(inner),
        }
        if piece.contains(']') {
            scaled.push(']');
        }
        scaled.push_str(rest);
    }
    scaled
}

fn scaled_offsets(line: &str, factor: u32) -> String {
    let mut pieces = line.split("offset ");
    let mut scaled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(piece.len());
        let (time, rest) = piece.split_at(end);
        let time = parse(time).map_or_else(|| time.to_owned(), |time| divided(time, factor, SHORTEST_WAIT));
        scaled.push_str(&format!("offset {time}{rest}"));
    }
    scaled
}

/// At least `least`, unless it is none at all.
fn divided(time: Duration, factor: u32, least: Duration) -> String {
    let time = if time.is_zero() { time } else { (time / factor).max(least.min(time)) };
    format!("{}ms", time.as_millis())
}

/// A time as Prometheus writes it, like 90s or 1h30m.
fn parse(text: &str) -> Option<Duration> {
    let mut time = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let milliseconds = match &rest[digits..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        time += Duration::from_millis(number.checked_mul(milliseconds)?);
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_divided_and_nothing_else_changes() {
        let rules = "\
    expr: |
      sum by (job) (rate(a_total{reason=~\"[a-z]+\"}[5m])) / 300 > 0.9
      and max_over_time(b[1h:5m] offset 10m) == 0
    for: 10m
    keep_firing_for: 1h30m
    description: for 5 minutes [sic], or [5 m]
";
        let expected = "\
    expr: |
      sum by (job) (rate(a_total{reason=~\"[a-z]+\"}[5000ms])) / 300 > 0.9
      and max_over_time(b[60000ms:5000ms] offset 10000ms) == 0
    for: 10000ms
    keep_firing_for: 90000ms
    description: for 5 minutes [sic], or [5 m]
";
        assert_eq!(scaled(rules, 60), expected);
    }

    #[test]
    fn a_range_keeps_some_scrapes_and_no_time_grows() {
        assert_eq!(scaled("rate(a[1m])", 60), "rate(a[5000ms])\n");
        assert_eq!(scaled("rate(a[2s])", 60), "rate(a[2000ms])\n");
        assert_eq!(scaled("for: 10s", 60), "for: 1000ms\n");
        assert_eq!(scaled("for: 0s", 60), "for: 0ms\n");
        assert_eq!(scaled("for: 10m", 1), "for: 600000ms\n");
    }
}
