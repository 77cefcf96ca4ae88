//! Which images a posture's patterns name, whatever the spelling of the image.

use globset::GlobSet;

/// The patterns of one posture, compiled. A `*` stays within one path segment.
#[derive(Clone, Debug, Default)]
pub struct ImagePatterns {
    set: GlobSet,
}

impl ImagePatterns {
    /// Whether `image`, as a Pod spec writes it, is named by one of the patterns.
    #[must_use]
    pub fn matches(&self, image: &str) -> bool {
        self.set.is_match(image)
    }

    /// Whether there are no patterns, so that nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}
