//! How a section of settings is written once: from it come its flags with their manual, its variables, its keys of the
//! file, its defaults and its part of the commented example.

use super::value::Period;
use crate::error::CommandError;

/// Defines one section: its settings, its layer of options, and how layers become settings.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $section:ident / $layer:ident in $heading:literal {
            $( $(#[doc = $doc:literal])+ $field:ident ($flag:literal, $variable:literal): $type:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $section { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Default for $section {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        $(#[doc = $about])+
        #[derive(Debug, Clone, Default, Deserialize, clap::Args)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $layer {
            $( $(#[doc = $doc])+ #[arg(id = $flag, long = $flag, env = $variable, value_name = "VALUE", help_heading = $heading)]
               pub(super) $field: Option<$type>, )+
        }

        impl $layer {
            /// This layer, and `lower` where it says nothing.
            pub(super) fn over(self, lower: Self) -> Self {
                Self { $( $field: self.$field.or(lower.$field), )+ }
            }

            /// The settings, defaults where no layer said anything.
            pub(super) fn settle(self) -> $section {
                let defaults = $section::default();
                $section { $( $field: self.$field.unwrap_or(defaults.$field), )+ }
            }

            /// Each setting's flag and what holds when nothing is said, for the manual.
            pub(super) fn defaults() -> Vec<(&'static str, String)> {
                let defaults = $section::default();
                vec![ $( ($flag, crate::config::section::Toml::toml(&defaults.$field).trim_matches('"').to_owned()), )+ ]
            }

            /// The section as it stands in the commented example, with `self`'s values set.
            pub(super) fn describe(&self, name: &str, out: &mut String) {
                let defaults = $section::default();
                out.push_str(&format!("\n[{name}]\n"));
                $(
                    $( out.push_str(&format!("#{}\n", $doc)); )+
                    match &self.$field {
                        Some(value) => out.push_str(&format!("{} = {}\n", stringify!($field), crate::config::section::Toml::toml(value))),
                        None => out.push_str(&format!("# {} = {}\n", stringify!($field), crate::config::section::Toml::toml(&defaults.$field))),
                    }
                )+
            }
        }
    };
}

pub(super) use section;

/// How a value is written in the file.
pub(super) trait Toml {
    fn toml(&self) -> String;
}

impl Toml for u32 {
    fn toml(&self) -> String {
        self.to_string()
    }
}

/// Values that are strings in the file: how each is written.
macro_rules! quoted {
    ($($type:ty: |$value:ident| $text:expr),* $(,)?) => {$(
        impl crate::config::section::Toml for $type {
            fn toml(&self) -> String {
                let $value = self;
                toml::Value::String($text).to_string()
            }
        }
    )*};
}

pub(super) use quoted;

/// Words of a setting: each a variant.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $( Self::$variant => $word, )+ })
            }
        }
    };
}

pub(super) use words;

/// That none of these bounds is zero.
///
/// # Errors
/// When one is; names it and says what to write instead.
pub(super) fn none_is_zero(bounds: &[(&'static str, u32)]) -> Result<(), CommandError> {
    refuse_zero(bounds.iter().find(|(_, value)| *value == 0).map(|(name, _)| *name), "1")
}

/// That none of these lengths of time is zero.
///
/// # Errors
/// As [`none_is_zero`].
pub(super) fn none_is_instant(periods: &[(&'static str, Period)]) -> Result<(), CommandError> {
    refuse_zero(periods.iter().find(|(_, period)| period.0.is_zero()).map(|(name, _)| *name), "1ms")
}

fn refuse_zero(zero: Option<&'static str>, least: &str) -> Result<(), CommandError> {
    match zero {
        Some(name) => Err(CommandError::Setting { name, reason: format!("is 0: use at least {least}") }),
        None => Ok(()),
    }
}
