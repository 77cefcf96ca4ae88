//! What an approval is about, what it says, and what the posture makes of it.

pub(crate) mod candidates;
pub(crate) mod case;
pub(crate) mod judge;
pub(crate) mod matter;
pub(crate) mod request_file;
pub(crate) mod standing;
pub(crate) mod statement;
