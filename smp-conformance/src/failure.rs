//! Why a case is not conformant.

use std::borrow::Cow;
use std::fmt;

/// How a case ends.
pub type Outcome<T = ()> = Result<T, Failure>;

/// What happened instead of what the specification says, and at which step of the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    steps: Vec<String>,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Differs { expected: String, got: String },
    Unavailable(String),
}

impl Failure {
    /// One thing was expected, and another came.
    #[must_use]
    pub fn differs(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { steps: Vec::new(), what: What::Differs { expected: expected.into(), got: got.into() } }
    }

    /// The case cannot be tried here: it needs what is named.
    #[must_use]
    pub fn unavailable(needs: impl Into<String>) -> Self {
        Self { steps: Vec::new(), what: What::Unavailable(needs.into()) }
    }

    /// What the case needs, if that is why it was not tried.
    #[must_use]
    pub fn needs(&self) -> Option<&str> {
        match &self.what {
            What::Unavailable(needs) => Some(needs),
            What::Differs { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps.iter().rev() {
            write!(f, "{step}: ")?;
        }
        match &self.what {
            What::Differs { expected, got } => write!(f, "expected {expected}, got {got}"),
            What::Unavailable(needs) => write!(f, "needs {needs}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Names the step at which something failed.
pub trait At {
    /// The same, with the name of the step if it failed.
    #[must_use]
    fn at(self, step: impl Into<Cow<'static, str>>) -> Self;
}

impl<T> At for Outcome<T> {
    fn at(self, step: impl Into<Cow<'static, str>>) -> Self {
        self.map_err(|mut failure| {
            failure.steps.push(step.into().into_owned());
            failure
        })
    }
}

/// Fails unless `got` is `expected`.
///
/// # Errors
/// With both.
pub fn equal<T: PartialEq + fmt::Debug>(got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(Failure::differs(format!("{expected:?}"), format!("{got:?}"))) }
}

/// Bytes as people can read them: a tag and words as they are, anything else as its length and beginning.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const BYTES_MAX: usize = 100;
    let is_text = |bytes: &[u8]| bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    if is_text(bytes) && bytes.len() <= BYTES_MAX {
        return format!("`{}`", String::from_utf8_lossy(bytes));
    }
    let tag: Vec<u8> = bytes.iter().copied().take_while(|byte| byte.is_ascii_uppercase()).collect();
    let rest = bytes.get(tag.len()..).unwrap_or_default();
    let start: String = rest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("`{}` and {} bytes ({start}…)", String::from_utf8_lossy(&tag), rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_where_and_what() {
        let failure = Err::<(), _>(Failure::differs("`OK`", shown(b"ERR AUTH"))).at("SEND").at("after OFF");
        assert_eq!(failure.unwrap_err().to_string(), "after OFF: SEND: expected `OK`, got `ERR AUTH`");
        assert_eq!(equal(1, 2).unwrap_err().to_string(), "expected 2, got 1");
        assert_eq!(Failure::unavailable("--spawn").needs(), Some("--spawn"));
    }

    #[test]
    fn long_and_odd_bytes_are_shortened() {
        assert_eq!(shown(b""), "nothing");
        assert_eq!(
            shown(&[b"MSG \x18".as_slice(), &[7; 40]].concat()),
            format!("`MSG` and 42 bytes (2018{}…)", "07".repeat(14))
        );
        assert!(shown(&[b'a'; 2000]).len() < 100);
    }
}
