//! Canonical JSON in one pass over text: sorted members, no white space, no tree.
//!
//! It is simpler than core's: `serde_json` has accepted the text already, numbers keep their spelling, and members are sorted by
//! the bytes of their names.

use std::ops::Range;

/// The canonical form of `text`, which must be JSON that was already parsed once.
pub(crate) fn canonical(text: &str) -> Vec<u8> {
    let mut writer = Writer { rest: text.as_bytes(), out: Vec::with_capacity(text.len()), members: Vec::new() };
    writer.value();
    writer.out
}

/// Members are copied in the order of the text. An object in another order is sorted when it ends.
struct Writer<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    /// Members of the objects that are open, innermost last, as ranges of `out`.
    members: Vec<Member>,
}

struct Member {
    name: Range<usize>,
    whole: Range<usize>,
}

impl Writer<'_> {
    fn value(&mut self) {
        match self.peek() {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => {
                self.string();
            }
            _ => {
                let end = self.rest.iter().position(|byte| b",]} \n\r\t".contains(byte)).unwrap_or(self.rest.len());
                self.copy(end);
            }
        }
    }

    fn object(&mut self) {
        self.copy(1);
        let (first_member, start) = (self.members.len(), self.out.len());
        let mut sorted = true;
        while self.peek() != b'}' {
            if self.peek() == b',' {
                self.copy(1);
                self.peek();
            }
            let from = self.out.len();
            let name = self.string();
            self.peek();
            self.copy(1);
            self.value();
            if let [.., last] = &self.members[first_member..] {
                sorted &= self.out[last.name.clone()] < self.out[name.clone()];
            }
            self.members.push(Member { name, whole: from..self.out.len() });
        }
        if !sorted {
            let out = &self.out;
            self.members[first_member..].sort_unstable_by(|a, b| out[a.name.clone()].cmp(&out[b.name.clone()]));
            let mut ordered = Vec::with_capacity(out.len() - start);
            for member in &self.members[first_member..] {
                if !ordered.is_empty() {
                    ordered.push(b',');
                }
                ordered.extend_from_slice(&out[member.whole.clone()]);
            }
            self.out[start..].copy_from_slice(&ordered);
        }
        self.members.truncate(first_member);
        self.copy(1);
    }

    fn array(&mut self) {
        self.copy(1);
        while self.peek() != b']' {
            if self.peek() == b',' {
                self.copy(1);
            }
            self.value();
        }
        self.copy(1);
    }

    /// Copies a string; the range is what stands between its quotes.
    fn string(&mut self) -> Range<usize> {
        let mut end = 1;
        let mut escaped = false;
        while let Some(next) = memchr::memchr2(b'"', b'\\', &self.rest[end..]) {
            end += next + 1;
            if self.rest[end - 1] == b'"' {
                break;
            }
            escaped = true;
            end += 1;
        }
        let start = self.out.len() + 1;
        if escaped {
            // One spelling for each string: `\u003c` becomes `<`.
            let text: String = serde_json::from_slice(&self.rest[..end]).expect("the text was parsed before");
            serde_json::to_writer(&mut self.out, &text).expect("a string is always JSON");
            self.rest = &self.rest[end..];
        } else {
            self.copy(end);
        }
        start..self.out.len() - 1
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> u8 {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied().expect("the text was parsed before")
    }

    fn copy(&mut self, count: usize) {
        let (head, tail) = self.rest.split_at(count);
        self.out.extend_from_slice(head);
        self.rest = tail;
    }
}
