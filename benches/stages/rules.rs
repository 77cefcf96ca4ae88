//! The cost of capability rules in a decision: one rule of the library, and all of them, compared with no rules.
//!
//! The rules are those of `docs/capability-rules.md`. All of them require `deploy`, so that each decision stays an admission. The
//! three decisions are measured in turns and compared within a turn, so that other load on the machine affects all of them.

use std::time::Duration;

use anyhow::Context;
use writgate_core::record::Outcome;

use super::{batch, check, decision, postures};

const PAGE: &str = include_str!("../../docs/capability-rules.md");
const TURNS: usize = 51;

/// Prints the cost of each decision without rules, the cost that rules add, and the ratio.
pub(super) fn print(reviews: [(&str, &str); 2]) -> anyhow::Result<()> {
    let library: String = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let (_, after) = library.split_once("- name: ").context("the page has rules")?;
    let one = format!("- name: {}", after.split("- name: ").next().unwrap_or_default());
    let postures = [postures("")?, postures(&field(&one))?, postures(&field(&library))?];
    println!("\n{:<24} {:>12} {:>20} {:>20}", "capability rules", "none", "one", "the library");
    for (name, review) in reviews {
        for postures in &postures {
            check(review, postures, Outcome::Admitted)?;
        }
        let turn = |_| postures.each_ref().map(|postures| batch(20, || decision(review, postures)));
        let turns: Vec<[Duration; 3]> = (0..TURNS).map(turn).collect();
        let microseconds = middle(turns.iter().map(|[none, ..]| none.as_secs_f64() * 1e6));
        let [one, all] = [1, 2].map(|with| middle(turns.iter().map(|turn| turn[with].div_duration_f64(turn[0]))));
        let formatted = |ratio: f64| format!("{:+.1} µs  {ratio:.2}", microseconds * (ratio - 1.0));
        println!("{name:<24} {microseconds:>9.1} µs {:>20} {:>20}", formatted(one), formatted(all));
    }
    Ok(())
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rules as a field of a posture. Each requires the capability that a deploy requires already.
fn field(rules: &str) -> String {
    let of_deploy = |line: &str| {
        let asks = line.trim_start().starts_with("require:");
        if asks { "  require: [deploy]\n".to_owned() } else { format!("{line}\n") }
    };
    format!("capabilityRules:\n{}", rules.lines().map(of_deploy).collect::<String>())
}
