//! Quorums: how many reviewers must sign, and from which groups.

use super::Reviewer;

/// A number of reviewers, from one group or from any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumEntry {
    /// The group that the reviewers must belong to; `None`: any reviewer.
    pub group: Option<String>,
    /// The number of different reviewers, at least 1. All entries of a quorum together require at most 32.
    pub count: usize,
}

/// The requirement of a quorum in words: `2 reviewers and 1 of group sre`.
#[must_use]
pub fn describe_quorum(entries: &[QuorumEntry]) -> String {
    let entry = |entry: &QuorumEntry| match (&entry.group, entry.count) {
        (Some(group), count) => format!("{count} of group {group}"),
        (None, 1) => "1 reviewer".to_owned(),
        (None, count) => format!("{count} reviewers"),
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(" and ")
}

/// Whether the reviewers can be assigned to the entries so that every entry is filled. A reviewer fills one entry only.
///
/// The reviewers must be distinct people.
pub(crate) fn is_met(entries: &[QuorumEntry], reviewers: &[&Reviewer]) -> bool {
    missing(entries, reviewers) == 0
}

/// How many further reviewers the entries require. The reviewers must be distinct people.
///
/// The assignment is found with augmenting paths (Kuhn's algorithm). At most 32 signatures of a request are checked, so
/// there are at most 32 reviewers.
pub(crate) fn missing(entries: &[QuorumEntry], reviewers: &[&Reviewer]) -> usize {
    let required = entries.iter().fold(0_usize, |sum, entry| sum.saturating_add(entry.count));
    // No reviewer could take the seats that are left out.
    let seats = |entry: &QuorumEntry| entry.count.min(reviewers.len());
    let mut seats: Vec<(&QuorumEntry, Option<usize>)> =
        entries.iter().flat_map(|entry| (0..seats(entry)).map(move |_| (entry, None))).collect();
    let seated =
        (0..reviewers.len()).filter(|person| find_seat(*person, reviewers, &mut seats, &mut Vec::new())).count();
    required.saturating_sub(seated)
}

/// Seats a reviewer. If all suitable seats are taken, moves another reviewer to a different seat.
fn find_seat(
    person: usize,
    reviewers: &[&Reviewer],
    seats: &mut [(&QuorumEntry, Option<usize>)],
    tried: &mut Vec<usize>,
) -> bool {
    for seat in 0..seats.len() {
        let Some((entry, sitting)) = seats.get(seat).copied() else { continue };
        let fits = reviewers.get(person).is_some_and(|reviewer| may_fill(entry, reviewer));
        if !fits || tried.contains(&seat) {
            continue;
        }
        tried.push(seat);
        let free = match sitting {
            None => true,
            Some(other) => find_seat(other, reviewers, seats, tried),
        };
        if free && let Some(taken) = seats.get_mut(seat) {
            taken.1 = Some(person);
            return true;
        }
    }
    false
}

fn may_fill(entry: &QuorumEntry, reviewer: &Reviewer) -> bool {
    entry.group.as_ref().is_none_or(|group| reviewer.groups.contains(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviewer(groups: &[&str]) -> Reviewer {
        Reviewer {
            name: groups.join("+"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            projects: None,
            capabilities: Vec::new(),
            identities: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn met(entries: &[(&str, usize)], people: &[&[&str]]) -> bool {
        let entries: Vec<_> = entries
            .iter()
            .map(|(group, count)| QuorumEntry {
                group: (!group.is_empty()).then(|| (*group).to_owned()),
                count: *count,
            })
            .collect();
        let people: Vec<_> = people.iter().map(|groups| reviewer(groups)).collect();
        is_met(&entries, &people.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_reviewer_fills_one_entry_only() {
        assert!(!met(&[("sre", 1), ("security", 1)], &[&["sre", "security"]]));
        assert!(!met(&[("", 2)], &[&["sre"]]));
        assert!(met(&[("", 2)], &[&["sre"], &[]]));
    }

    #[test]
    fn each_seat_that_nobody_can_take_is_missing() {
        let entries =
            |count| vec![QuorumEntry { group: Some("sre".to_owned()), count }, QuorumEntry { group: None, count: 1 }];
        let (sre, other) = (reviewer(&["sre"]), reviewer(&["other"]));
        assert_eq!(missing(&entries(1), &[]), 2);
        assert_eq!(missing(&entries(1), &[&other]), 1);
        assert_eq!(missing(&entries(2), &[&other, &sre]), 1);
        assert_eq!(missing(&entries(2), &[&other, &reviewer(&["other", "x"])]), 2, "a second one has no seat");
        assert_eq!(missing(&entries(1), &[&sre, &other]), 0);
    }

    #[test]
    fn a_quorum_is_met_if_any_assignment_fills_it() {
        // Whoever is seated first, the reviewer in both groups must move for the one who fits only one entry.
        assert!(met(&[("sre", 1), ("security", 1)], &[&["sre", "security"], &["sre"]]));
        assert!(met(&[("sre", 1), ("security", 1)], &[&["sre"], &["sre", "security"]]));
        assert!(met(&[("", 1), ("sre", 1)], &[&["sre"], &["other"]]));
        assert!(!met(&[("sre", 1), ("security", 1)], &[&["sre"], &["sre"]]));
        assert!(!met(&[("sre", usize::MAX), ("security", 1)], &[&["sre"], &["sre"]]));
    }
}
