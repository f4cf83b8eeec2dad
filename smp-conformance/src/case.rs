//! What a case is.

use std::fmt;
use std::pin::Pin;

use crate::failure::Outcome;
use crate::trial::Trial;

/// The versions that the suite knows.
pub const VERSIONS: std::ops::RangeInclusive<u16> = 15..=18;

type Run = fn(Trial) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, which stays: area, slash, behaviour.
    pub name: &'static str,
    /// Where the specification has it.
    pub section: &'static str,
    /// The versions at which it is tried.
    pub versions: (u16, u16),
    /// Whether it is the same at all versions, so that the highest stands for all.
    pub is_once: bool,
    /// Whether it is tried after the others, by itself: one that measures times.
    pub is_alone: bool,
    run: Run,
}

impl Case {
    /// A case at all versions.
    #[must_use]
    pub const fn new(name: &'static str, section: &'static str, run: Run) -> Self {
        Self {
            name,
            section,
            versions: (*VERSIONS.start(), *VERSIONS.end()),
            is_once: false,
            is_alone: false,
            run,
        }
    }

    /// The same from this version on.
    #[must_use]
    pub const fn since(self, version: u16) -> Self {
        Self { versions: (version, self.versions.1), ..self }
    }

    /// The same at the highest version alone.
    #[must_use]
    pub const fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    /// The same with nothing else at the same time.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    /// The part of the name before the slash.
    #[must_use]
    pub fn area(&self) -> &'static str {
        self.name.split('/').next().unwrap_or(self.name)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When the server is not conformant, or the case cannot be tried.
    pub async fn run(&self, trial: Trial) -> Outcome {
        (self.run)(trial).await
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A case out of its name, its section and its function.
macro_rules! case {
    ($name:literal, $section:literal, $function:path) => {
        $crate::case::Case::new($name, $section, |trial| Box::pin($function(trial)))
    };
}
pub(crate) use case;
