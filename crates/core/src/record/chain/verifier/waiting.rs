//! Records without a signature of their own that wait for a seal, in bounded memory.
//!
//! A writer seals its records at least every 100 ms, so few lines wait in a log in the order in which it was written. A
//! stranger's lines may wait for ever. So the lines that came first are dropped if there are too many.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{RecordDigest, UnsignedLine};

/// The maximum number of lines that wait.
const MAX_LINES: usize = 8192;
/// The maximum size of all lines that wait, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// A line that waits.
#[derive(Debug)]
pub(super) struct WaitingLine {
    /// Counts the lines that have waited.
    pub(super) number: u64,
    /// The number of further lines that are the same.
    pub(super) copies: u64,
    pub(super) line: UnsignedLine,
}

/// Where a line waits. Lines that strangers write may claim one position, so the digest belongs to it.
type Place = (Uuid, u64, RecordDigest);

/// The lines that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_place: BTreeMap<Place, WaitingLine>,
    /// The place of each line, by its number.
    places: BTreeMap<u64, Place>,
    bytes: usize,
    next: u64,
}

impl Waiting {
    /// Adds a line. Returns its number, or that of its copy, and the lines that are dropped for it.
    pub(super) fn add(&mut self, line: UnsignedLine) -> (u64, Vec<WaitingLine>) {
        let place = (line.link.writer, line.link.sequence, line.digest);
        if let Some(copy) = self.by_place.get_mut(&place) {
            copy.copies = copy.copies.saturating_add(1);
            return (copy.number, Vec::new());
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.bytes = self.bytes.saturating_add(line.size);
        self.places.insert(number, place);
        self.by_place.insert(place, WaitingLine { number, copies: 0, line });
        let mut dropped = Vec::new();
        while self.places.len() > MAX_LINES || (self.bytes > MAX_BYTES && self.places.len() > 1) {
            let Some((_, oldest)) = self.places.first_key_value() else { break };
            dropped.extend(self.remove(*oldest));
        }
        (number, dropped)
    }

    /// Removes the lines that claim a position.
    pub(super) fn take(&mut self, writer: Uuid, sequence: u64) -> Vec<WaitingLine> {
        let (first, last) = (RecordDigest([0; 32]), RecordDigest([u8::MAX; 32]));
        let range = self.by_place.range((writer, sequence, first)..=(writer, sequence, last));
        let places: Vec<Place> = range.map(|(place, _)| *place).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    fn remove(&mut self, place: Place) -> Option<WaitingLine> {
        let line = self.by_place.remove(&place)?;
        self.places.remove(&line.number);
        self.bytes = self.bytes.saturating_sub(line.line.size);
        Some(line)
    }

    /// Removes all lines, in the order in which they came, by writer.
    pub(super) fn take_all(&mut self) -> BTreeMap<Uuid, Vec<WaitingLine>> {
        let mut by_writer: BTreeMap<Uuid, Vec<WaitingLine>> = BTreeMap::new();
        for ((writer, ..), line) in std::mem::take(&mut self.by_place) {
            by_writer.entry(writer).or_default().push(line);
        }
        for lines in by_writer.values_mut() {
            lines.sort_by_key(|line| line.number);
        }
        (self.places, self.bytes) = (BTreeMap::new(), 0);
        by_writer
    }
}
