//! How bytes become values and values become bytes: JSON, YAML, hex and times, with the position of each fault.

pub(crate) mod borrowed;
pub(crate) mod canonical;
pub(crate) mod dsse;
pub mod hex;
pub(crate) mod number;
pub(crate) mod outline;
pub(crate) mod signed;
pub(crate) mod spelling;
pub(crate) mod strict;
pub(crate) mod time;
pub(crate) mod yaml;

pub use borrowed::BorrowedText;
pub use canonical::CanonicalError;
pub use outline::{Outline, OutlineNode};
pub use spelling::unescaped;
pub use time::{DurationError, TimeError, parse_duration, parse_time};
pub use yaml::{YamlError, read_yaml};
