//! The figures for readers.

use std::fmt::Write;

use crate::Figures;

/// A Markdown table, a policy a row.
pub fn table(all: &[Figures]) -> String {
    let mut text = String::from(
        "| policy | reached | direct | usable after p50 / p90 / p99 | direct after p50 / p90 / p99 | on a relay, of 30 min | plans a peer |\n|---|---|---|---|---|---|---|\n",
    );
    for figures in all {
        let Figures { policy, usable, direct, time_to_usable: first, time_to_direct: later, relay_seconds, plans, .. } = figures;
        let seconds = |value: f32| if value.is_nan() { "-".to_owned() } else { format!("{value:.2}") };
        let _ = writeln!(
            text,
            "| {policy} | {:.2} % | {:.1} % | {} / {} / {} s | {} / {} / {} s | {:.1} min | {plans:.3} |",
            usable * 100.0,
            direct * 100.0,
            seconds(first.p50),
            seconds(first.p90),
            seconds(first.p99),
            seconds(later.p50),
            seconds(later.p90),
            seconds(later.p99),
            relay_seconds / 60.0,
        );
    }
    text
}

const WIDTH: f32 = 720.0;
const HEIGHT: f32 = 360.0;
const LEFT: f32 = 60.0;
const BOTTOM: f32 = 40.0;
/// Seconds at the right edge.
const LONGEST: f32 = 12.0;
/// Told apart by those who see few colours as well (Okabe and Ito's palette).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];
const DASHES: [&str; 4] = ["", "8 4", "2 3", "10 3 2 3"];

/// An SVG: how many peers are usable so long after the dial, a line a policy.
pub fn plot(all: &[Figures]) -> String {
    let x = |seconds: f32| LEFT + seconds / LONGEST * (WIDTH - LEFT - 20.0);
    let y = |share: f32| HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for step in 0..=5u8 {
        let share = f32::from(step) / 5.0;
        let (left, right, height) = (LEFT, WIDTH - 20.0, y(share));
        let _ = writeln!(svg, "<line x1=\"{left}\" y1=\"{height}\" x2=\"{right}\" y2=\"{height}\" stroke=\"#ddd\"/>");
        let _ =
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0} %</text>", left - 6.0, height + 4.0, share * 100.0);
    }
    for seconds in 0..=6u8 {
        let seconds = f32::from(seconds) * 2.0;
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{seconds} s</text>", x(seconds), HEIGHT - 18.0);
    }
    let _ = writeln!(svg, "<text x=\"{}\" y=\"14\">peers usable, by the time since the dial</text>", LEFT);
    for (n, figures) in all.iter().enumerate() {
        let (colour, dash) = (COLOURS[n % COLOURS.len()], DASHES[n % DASHES.len()]);
        let steps = figures.usable_curve.len().saturating_sub(1).max(1) as f32;
        let points: Vec<String> = figures
            .usable_curve
            .iter()
            .enumerate()
            .filter(|(_, seconds)| **seconds <= LONGEST)
            .map(|(step, seconds)| format!("{:.1},{:.1}", x(*seconds), y(step as f32 / steps * figures.usable as f32)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\" points=\"{}\"/>",
            points.join(" ")
        );
        let height = HEIGHT - BOTTOM - 20.0 * (all.len() - n) as f32;
        let left = WIDTH - 190.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/><text x=\"{2}\" y=\"{3}\">{4}</text>",
            height,
            left + 34.0,
            left + 42.0,
            height + 4.0,
            figures.policy
        );
    }
    svg.push_str("</svg>\n");
    svg
}
