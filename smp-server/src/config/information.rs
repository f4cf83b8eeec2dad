//! What everybody is told about the server (smp.md §18.3 INFORMATION, §18.5). Everything here ends up in a page, so
//! links are of few kinds and everything has a length.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::section::{quoted, section, words};
use super::value::ValueError;
use crate::error::CommandError;

/// Longest value, bytes: one of these is a name or an address.
const VALUE_BYTES_MAX: usize = 1024;

section! {
    /// What everybody is told about the server, on its information page. Every value may be left out.
    Information / InformationLayer in "Information" {
        /// Where the source code of the server is: an https address. Required when anything else is said here.
        source_code ("source-code", "SMP_SERVER_SOURCE_CODE"): WebAddress = WebAddress::default(),
        /// Where the conditions of use are: an https address.
        usage_conditions ("usage-conditions", "SMP_SERVER_USAGE_CONDITIONS"): WebAddress = WebAddress::default(),
        /// Where amendments to them are.
        condition_amendments ("condition-amendments", "SMP_SERVER_CONDITION_AMENDMENTS"): WebAddress = WebAddress::default(),
        /// The country where the server is: two letters.
        server_country ("server-country", "SMP_SERVER_SERVER_COUNTRY"): Country = Country::default(),
        /// Who operates the server: a person or an organisation.
        operator ("operator", "SMP_SERVER_OPERATOR"): Text = Text::default(),
        /// The operator's country: two letters.
        operator_country ("operator-country", "SMP_SERVER_OPERATOR_COUNTRY"): Country = Country::default(),
        /// The operator's website: an https address.
        website ("website", "SMP_SERVER_WEBSITE"): WebAddress = WebAddress::default(),
        /// The administrator's contact link: simplex: or https.
        admin_simplex ("admin-simplex", "SMP_SERVER_ADMIN_SIMPLEX"): Link = Link::default(),
        /// The administrator's email address.
        admin_email ("admin-email", "SMP_SERVER_ADMIN_EMAIL"): Email = Email::default(),
        /// Where the administrator's PGP key is: an https address.
        admin_pgp ("admin-pgp", "SMP_SERVER_ADMIN_PGP"): WebAddress = WebAddress::default(),
        /// The fingerprint of that key.
        admin_pgp_fingerprint ("admin-pgp-fingerprint", "SMP_SERVER_ADMIN_PGP_FINGERPRINT"): Text = Text::default(),
        /// Where complaints are taken: a contact link.
        complaints_simplex ("complaints-simplex", "SMP_SERVER_COMPLAINTS_SIMPLEX"): Link = Link::default(),
        /// The same by email.
        complaints_email ("complaints-email", "SMP_SERVER_COMPLAINTS_EMAIL"): Email = Email::default(),
        /// Where the PGP key for complaints is: an https address.
        complaints_pgp ("complaints-pgp", "SMP_SERVER_COMPLAINTS_PGP"): WebAddress = WebAddress::default(),
        /// The fingerprint of that key.
        complaints_pgp_fingerprint ("complaints-pgp-fingerprint", "SMP_SERVER_COMPLAINTS_PGP_FINGERPRINT"): Text = Text::default(),
        /// Who provides the machine.
        hosting ("hosting", "SMP_SERVER_HOSTING"): Text = Text::default(),
        /// The provider's country: two letters.
        hosting_country ("hosting-country", "SMP_SERVER_HOSTING_COUNTRY"): Country = Country::default(),
        /// What kind of machine it is: `virtual`, `dedicated`, `colocation`, `owned`, or `unsaid`.
        hosting_type ("hosting-type", "SMP_SERVER_HOSTING_TYPE"): HostingType = HostingType::Unsaid,
    }
}

impl Information {
    /// Whether anything is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), CommandError> {
        let wanting = |name, reason: &str| Err(CommandError::Setting { name, reason: reason.to_owned() });
        if self.source_code.0.is_none() && !self.is_empty() {
            return wanting(
                "source_code",
                "is required when other information is given: say where the code is",
            );
        }
        for (name, depends, on) in [
            (
                "condition_amendments",
                self.condition_amendments.0.is_some(),
                self.usage_conditions.0.is_some(),
            ),
            ("operator_country", self.operator_country.0.is_some(), self.operator.0.is_some()),
            ("hosting_country", self.hosting_country.0.is_some(), self.hosting.0.is_some()),
            ("admin_pgp_fingerprint", self.admin_pgp_fingerprint.0.is_some(), self.admin_pgp.0.is_some()),
            (
                "complaints_pgp_fingerprint",
                self.complaints_pgp_fingerprint.0.is_some(),
                self.complaints_pgp.0.is_some(),
            ),
        ] {
            if depends && !on {
                return wanting(
                    name,
                    "says something about what is not given: give that too, or leave it out",
                );
            }
        }
        for (name, key, fingerprint) in [
            ("admin_pgp", self.admin_pgp.0.is_some(), self.admin_pgp_fingerprint.0.is_some()),
            ("complaints_pgp", self.complaints_pgp.0.is_some(), self.complaints_pgp_fingerprint.0.is_some()),
        ] {
            if key && !fingerprint {
                return wanting(name, "needs the key's fingerprint, so that people can compare it");
            }
        }
        Ok(())
    }
}

/// Values that may be absent, which are written empty then.
macro_rules! optional {
    ($( $(#[doc = $doc:literal])+ $name:ident: |$text:ident| $is_right:expr, $expected:literal; )+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name(pub Option<String>);

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str($text: &str) -> Result<Self, ValueError> {
                if $text.is_empty() {
                    return Ok(Self(None));
                }
                if $text.len() <= VALUE_BYTES_MAX && $is_right {
                    return Ok(Self(Some($text.to_owned())));
                }
                Err(ValueError::Information { text: $text.to_owned(), expected: $expected })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_deref().unwrap_or_default())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        quoted! { $name: |value| value.to_string() }
    )+};
}

optional! {
    /// A name or the like: one line.
    Text: |text| !text.chars().any(char::is_control), "one line of text";
    /// A page: an https address.
    WebAddress: |text| is_address(text, "https://"), "an address that begins with https://";
    /// A contact: a link of this network.
    Link: |text| is_address(text, "https://") || is_address(text, "simplex:/"),
        "a link that begins with simplex:/ or https://";
    /// An email address.
    Email: |text| is_email(text), "an email address";
    /// A country's code.
    Country: |text| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        "the two capital letters of a country";
}

fn is_address(text: &str, scheme: &str) -> bool {
    text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()) && is_unspaced(text)
}

fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    parts.is_some_and(|(who, place)| !who.is_empty() && !place.is_empty() && !place.contains('@'))
        && is_unspaced(text)
        // What mailto: understands as more than an address.
        && !text.contains(['?', '&', '#', '%', ',', ':'])
}

fn is_unspaced(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>`\\".contains(&byte))
}

words! {
    /// What kind of machine the server runs on.
    HostingType {
        /// Nothing is said.
        Unsaid = "unsaid",
        /// A virtual machine.
        Virtual = "virtual",
        /// A machine of the provider's.
        Dedicated = "dedicated",
        /// The operator's machine at the provider's.
        Colocation = "colocation",
        /// The operator's machine at the operator's.
        Owned = "owned",
    }
}

quoted! { HostingType: |value| value.to_string() }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_of_safe_kinds() {
        for wrong in
            ["javascript:alert(1)", "http://a.example", "https://", "https://a b", "https://a\"b", "//a"]
        {
            assert!(wrong.parse::<WebAddress>().is_err() && wrong.parse::<Link>().is_err(), "{wrong}");
        }
        assert_eq!(
            "https://a.example/b?c=d".parse::<WebAddress>().unwrap().to_string(),
            "https://a.example/b?c=d"
        );
        assert!("simplex:/a#x".parse::<WebAddress>().is_err());
        assert!("simplex:/a#x".parse::<Link>().is_ok() && "https://a.example/a#x".parse::<Link>().is_ok());
        assert!("simplex:/".parse::<Link>().is_err());
        assert_eq!("".parse::<Link>(), Ok(Link(None)));
        assert!(format!("https://{}", "a".repeat(VALUE_BYTES_MAX)).parse::<WebAddress>().is_err());
    }

    #[test]
    fn addresses_of_people_are_no_commands_of_mail_programs() {
        assert!("admin@smp.example.org".parse::<Email>().is_ok());
        for wrong in ["admin", "@b", "a@", "a@b@c", "a@b?bcc=c", "a@b,c@d", "a b@c", "a%0a@b"] {
            assert!(wrong.parse::<Email>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn countries_are_codes() {
        assert!("SE".parse::<Country>().is_ok());
        assert!("se".parse::<Country>().is_err() && "Sweden".parse::<Country>().is_err());
    }

    #[test]
    fn what_is_said_needs_the_source_code_and_what_it_is_about() {
        let told = |text: &str| {
            let file = format!("[information]\n{text}");
            toml::from_str::<crate::config::SettingsLayer>(&file)
                .unwrap()
                .settle()
                .map_err(|error| error.to_string())
        };
        let code = "source_code = \"https://code.example\"\n";
        assert!(told("").is_ok() && told(code).is_ok());
        assert!(told("operator = \"A\"").unwrap_err().contains("source_code"));
        assert!(told(&format!("{code}operator = \"A\"\noperator_country = \"SE\"")).is_ok());
        for (name, text) in [
            ("operator_country", "operator_country = \"SE\""),
            ("hosting_country", "hosting_country = \"SE\""),
            ("condition_amendments", "condition_amendments = \"https://a.example\""),
            ("admin_pgp_fingerprint", "admin_pgp_fingerprint = \"00\""),
            ("complaints_pgp", "complaints_pgp = \"https://a.example\""),
        ] {
            assert!(told(&format!("{code}{text}")).unwrap_err().contains(name), "{name}");
        }
    }
}
