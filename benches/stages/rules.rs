//! The cost of capability rules in a decision: one rule of the library, and all of them, compared with no rules.
//!
//! The rules are those of `docs/capability-rules.md`. All of them require `deploy`, so that each decision stays an admission. The
//! three decisions are measured in turns and compared within a turn, so that other load on the machine affects all of them.

use std::time::Duration;

use anyhow::Context;
use writgate_core::record::Outcome;
use writgate_testing::figures::{Column, Figure, Row, Table, Unit};

use super::{batch, check, decision, postures};

const PAGE: &str = include_str!("../../docs/capability-rules.md");
const TURNS: usize = 51;

/// Measures each decision without rules, and the ratios that rules add.
pub(super) fn measure(reviews: [(&str, &str); 2]) -> anyhow::Result<Table> {
    let library: String = PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let (_, after) = library.split_once("- name: ").context("the page has rules")?;
    let one = format!("- name: {}", after.split("- name: ").next().unwrap_or_default());
    let postures = [postures("")?, postures(&field(&one))?, postures(&field(&library))?];
    let mut rows = Vec::new();
    for (name, review) in reviews {
        for postures in &postures {
            check(review, postures, Outcome::Admitted)?;
        }
        let turn = |_| postures.each_ref().map(|postures| batch(20, || decision(review, postures)));
        let turns: Vec<[Duration; 3]> = (0..TURNS).map(turn).collect();
        let median = |of: fn(&[Duration; 3]) -> f64| {
            // Single turns are too short for their range to say anything.
            Figure::of(turns.iter().map(of)).and_then(|figure| Figure::of([figure.median]))
        };
        rows.push(Row::new(
            name,
            vec![
                median(|[none, ..]| none.as_secs_f64() * 1e6),
                median(|[none, one, _]| one.div_duration_f64(*none)),
                median(|[none, _, library]| library.div_duration_f64(*none)),
            ],
        ));
    }
    let columns = vec![
        Column::new("no rule, µs", Unit::Us),
        Column::new("one rule / no rule", Unit::Ratio),
        Column::new("the library / no rule", Unit::Ratio),
    ];
    Ok(Table { id: "rules".to_owned(), of: "read and decide".to_owned(), columns, rows })
}

/// The rules as a field of a posture. Each requires the capability that a deploy requires already.
fn field(rules: &str) -> String {
    let of_deploy = |line: &str| {
        let asks = line.trim_start().starts_with("require:");
        if asks { "  require: [deploy]\n".to_owned() } else { format!("{line}\n") }
    };
    format!("capabilityRules:\n{}", rules.lines().map(of_deploy).collect::<String>())
}
