//! What an approval is for, what it states, and what the posture decides about it.

pub(crate) mod candidates;
pub(crate) mod case;
pub(crate) mod judge;
pub(crate) mod matter;
pub(crate) mod request_file;
pub(crate) mod standing;
pub(crate) mod statement;
