//! Whether enough of the right people signed.

use crate::posture::{QuorumEntry, Reviewer};

/// Whether some assignment of reviewers to entries, each reviewer to one entry only, fills them all.
///
/// `reviewers` are distinct people. Found by augmenting paths (Kuhn's algorithm): at most 32 signatures are checked
/// in a request, so there are never more people than that.
pub(crate) fn is_met(entries: &[QuorumEntry], reviewers: &[&Reviewer]) -> bool {
    let wanted: usize = entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.count));
    if wanted > reviewers.len() {
        return false;
    }
    let mut seats: Vec<(&QuorumEntry, Option<usize>)> =
        entries.iter().flat_map(|entry| (0..entry.count).map(move |_| (entry, None))).collect();
    (0..reviewers.len()).filter(|person| find_seat(*person, reviewers, &mut seats, &mut Vec::new())).count() >= wanted
}

/// Seats a person, moving others to where they fit as well.
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

/// `the posture asks for 2 reviewers and 1 of group sre`
#[must_use]
pub fn in_words(entries: &[QuorumEntry]) -> String {
    let entry = |entry: &QuorumEntry| match (&entry.group, entry.count) {
        (Some(group), count) => format!("{count} of group {group}"),
        (None, 1) => "1 reviewer".to_owned(),
        (None, count) => format!("{count} reviewers"),
    };
    format!("the posture asks for {}", entries.iter().map(entry).collect::<Vec<_>>().join(" and "))
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
    fn a_person_fills_one_entry_only() {
        assert!(!met(&[("sre", 1), ("security", 1)], &[&["sre", "security"]]));
        assert!(!met(&[("", 2)], &[&["sre"]]));
        assert!(met(&[("", 2)], &[&["sre"], &[]]));
    }

    #[test]
    fn any_assignment_will_do() {
        // Whoever is seated first, the one in both groups must move for the one who fits only here.
        assert!(met(&[("sre", 1), ("security", 1)], &[&["sre", "security"], &["sre"]]));
        assert!(met(&[("sre", 1), ("security", 1)], &[&["sre"], &["sre", "security"]]));
        assert!(met(&[("", 1), ("sre", 1)], &[&["sre"], &["other"]]));
        assert!(!met(&[("sre", 1), ("security", 1)], &[&["sre"], &["sre"]]));
        assert!(!met(&[("sre", usize::MAX), ("security", 1)], &[&["sre"], &["sre"]]));
    }
}
