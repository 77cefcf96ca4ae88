//! What capability rules add to a decision: one of the library, and all of it, beside the same decision without.
//!
//! The rules are those of `docs/capability-rules.md`; all of them ask for `deploy`, so that each decision stays an
//! admission.

use std::time::Duration;

use anyhow::Context;
use writgate_core::Outcome;

use super::{decided, postures};

const PAGE: &str = include_str!("../../docs/capability-rules.md");

/// Prints what each review costs without rules, and how often that with them.
pub(super) fn print(reviews: [(&str, &str); 2]) -> anyhow::Result<()> {
    let library: String = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let (_, after) = library.split_once("- name: ").context("the page has rules")?;
    let one = format!("- name: {}", after.split("- name: ").next().unwrap_or_default());
    let postures = [postures("")?, postures(&field(&one))?, postures(&field(&library))?];
    println!("\n{:<24} {:>12} {:>24} {:>24}", "capability rules", "none", "one", "the library");
    for (name, review) in reviews {
        let [none, one, all] = postures.each_ref().map(|postures| decided(review, postures, Outcome::Admitted));
        let none = none?;
        let ratio = |with: Duration| {
            let added = with.saturating_sub(none).as_secs_f64() * 1e6;
            format!("+{added:.1} µs  {:.2}", with.div_duration_f64(none))
        };
        println!("{name:<24} {:>9.1} µs {:>24} {:>24}", none.as_secs_f64() * 1e6, ratio(one?), ratio(all?));
    }
    Ok(())
}

/// As a field of a posture, each requiring what a deploy needs already.
fn field(rules: &str) -> String {
    let of_deploy = |line: &str| {
        let asks = line.trim_start().starts_with("require:");
        if asks { "  require: [deploy]\n".to_owned() } else { format!("{line}\n") }
    };
    format!("capabilityRules:\n{}", rules.lines().map(of_deploy).collect::<String>())
}
