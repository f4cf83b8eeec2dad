//! Values that must not be seen in logs.

/// Shows as `[scrubbed]` in `Debug` output; the value is reached only by name.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Sensitive<T>(pub T);

impl<T> std::fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[scrubbed]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Sensitive("secret")), "[scrubbed]");
    }
}
