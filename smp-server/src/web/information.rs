//! The information page (smp.md §18.5): what the server does and who is responsible for it. Made when the server
//! starts and when its settings are read again.

use std::fmt::Write as _;

use protocol::smp::host::Host;

use super::html::{Escaped, page as html_page};
use crate::config::{Engine, HostingType, Information, Period};
use crate::server::Server;

/// The page of this server, whose clients are given `address`.
pub(super) fn page(server: &Server, information: &Information, address: &str) -> String {
    let settings = &server.settings;
    let facts = Facts {
        address,
        onion: settings.listen.hosts.0.iter().filter(|_| settings.web.http.0.is_some()).find_map(|host| {
            match host {
                Host::Onion(name) => Some(format!("http://{name}.onion/")),
                _ => None,
            }
        }),
        is_kept: settings.storage.engine != Engine::Memory,
        message_ttl: settings.times.message_ttl,
        counts: settings.monitoring.daily_statistics.0 || settings.monitoring.http.0.is_some(),
        new_queues: settings.access.new_queues.0,
        has_password: server.create_password.is_some(),
    };
    render(&facts, information)
}

/// What the server does.
struct Facts<'a> {
    address: &'a str,
    /// Where the page is for users of Tor.
    onion: Option<String>,
    is_kept: bool,
    message_ttl: Period,
    counts: bool,
    new_queues: bool,
    has_password: bool,
}

fn render(facts: &Facts<'_>, told: &Information) -> String {
    let mut main = String::from(
        "<header>\n<h1>Messaging server</h1>\n\
         <p class=\"lead\">It passes messages on in one-way queues, without accounts, and cannot read them.</p>\n\
         </header>\n",
    );
    let _ = write!(
        main,
        "<section>\n<h2>Address</h2>\n<p>Add it to your app to receive messages here.</p>\n\
         <pre tabindex=\"0\"><code>{}</code></pre>\n</section>\n",
        Escaped(facts.address)
    );
    let stored = if facts.is_kept { "Queues and messages" } else { "In memory only" };
    let yes_no = |yes: bool| Value::Text(if yes { "Yes" } else { "No" });
    let ttl = facts.message_ttl.in_words();
    section(
        &mut main,
        "What it does",
        &[
            ("Kept over a restart", Value::Text(stored)),
            ("Messages wait for at most", Value::Text(&ttl)),
            ("New queues", yes_no(facts.new_queues)),
            ("Password for new queues", yes_no(facts.has_password)),
            (
                "Counts for statistics",
                Value::Text(if facts.counts { "Yes, of nobody in particular" } else { "No" }),
            ),
            ("Software", Value::Text(concat!("Conclave smp-server ", env!("CARGO_PKG_VERSION")))),
            ("Source code", Value::Link(&told.source_code.0)),
            ("For users of Tor", Value::Link(&facts.onion)),
        ],
    );
    let hosting_type = match told.hosting_type {
        HostingType::Unsaid => None,
        kind => Some(kind.to_string()),
    };
    section(
        &mut main,
        "Who is responsible",
        &[
            ("Operator", Value::Entity(&told.operator.0, &told.operator_country.0)),
            ("Website", Value::Link(&told.website.0)),
            ("Conditions of use", Value::Link(&told.usage_conditions.0)),
            ("Amendments", Value::Link(&told.condition_amendments.0)),
            ("Country of the server", Value::Maybe(&told.server_country.0)),
            ("Hosting", Value::Entity(&told.hosting.0, &told.hosting_country.0)),
            ("Kind of hosting", Value::Maybe(&hosting_type)),
        ],
    );
    section(
        &mut main,
        "Administrator",
        &[
            ("Contact", Value::Link(&told.admin_simplex.0)),
            ("Email", Value::Email(&told.admin_email.0)),
            ("PGP key", Value::Link(&told.admin_pgp.0)),
            ("Fingerprint", Value::Code(&told.admin_pgp_fingerprint.0)),
        ],
    );
    section(
        &mut main,
        "Complaints",
        &[
            ("Contact", Value::Link(&told.complaints_simplex.0)),
            ("Email", Value::Email(&told.complaints_email.0)),
            ("PGP key", Value::Link(&told.complaints_pgp.0)),
            ("Fingerprint", Value::Code(&told.complaints_pgp_fingerprint.0)),
        ],
    );
    html_page("Messaging server", "", &main)
}

/// One value of the page.
enum Value<'a> {
    Text(&'a str),
    Maybe(&'a Option<String>),
    Code(&'a Option<String>),
    /// Settings let no other schemes through than https and simplex.
    Link(&'a Option<String>),
    Email(&'a Option<String>),
    /// A name, and its country.
    Entity(&'a Option<String>, &'a Option<String>),
}

impl Value<'_> {
    /// Its HTML, if there is anything to say.
    fn html(&self) -> Option<String> {
        Some(match self {
            Self::Text(text) => Escaped(text).to_string(),
            Self::Maybe(text) => Escaped(text.as_deref()?).to_string(),
            Self::Code(text) => format!("<code>{}</code>", Escaped(text.as_deref()?)),
            Self::Link(link) => anchor(link.as_deref()?, link.as_deref()?),
            Self::Email(email) => anchor(&format!("mailto:{}", email.as_deref()?), email.as_deref()?),
            Self::Entity(name, country) => {
                let name = Escaped(name.as_deref()?).to_string();
                match country {
                    Some(country) => format!("{name}, {}", Escaped(country)),
                    None => name,
                }
            }
        })
    }
}

fn anchor(to: &str, text: &str) -> String {
    format!("<a href=\"{}\" rel=\"noopener noreferrer\">{}</a>", Escaped(to), Escaped(text))
}

/// A list of what is known; nothing when nothing is.
fn section(out: &mut String, heading: &str, entries: &[(&str, Value<'_>)]) {
    let rows: String = entries
        .iter()
        .filter_map(|(name, value)| Some(format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", value.html()?)))
        .collect();
    if !rows.is_empty() {
        let _ = write!(out, "<section>\n<h2>{heading}</h2>\n<dl>\n{rows}</dl>\n</section>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        address: "smp://hash@smp.example.org",
        onion: None,
        is_kept: true,
        message_ttl: Period::hours(21 * 24),
        counts: false,
        new_queues: true,
        has_password: true,
    };

    fn told(file: &str) -> Information {
        let file = format!("[information]\n{file}");
        toml::from_str::<crate::config::SettingsLayer>(&file).unwrap().settle().unwrap().information
    }

    #[test]
    fn what_is_not_told_has_no_place_on_the_page() {
        let page = render(&FACTS, &Information::default());
        for part in ["smp://hash@smp.example.org", "<dd>Queues and messages</dd>", "<dd>21 days</dd>"] {
            assert!(page.contains(part), "{part} in {page}");
        }
        for absent in ["Operator", "Administrator", "Complaints", "Tor", "href=\"http"] {
            assert!(!page.contains(absent), "{absent} in {page}");
        }
    }

    #[test]
    fn what_is_told_is_shown_escaped_and_linked() {
        let page = render(
            &FACTS,
            &told(
                "source_code = \"https://code.example/?a&b\"\noperator = \"<script>alert('1')</script>\"\n\
                 operator_country = \"SE\"\nadmin_email = \"admin@smp.example.org\"\n\
                 complaints_simplex = \"simplex:/a#x\"\nhosting_type = \"owned\"",
            ),
        );
        for part in [
            "<a href=\"https://code.example/?a&amp;b\" rel=\"noopener noreferrer\">",
            "<dd>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;, SE</dd>",
            "<a href=\"mailto:admin@smp.example.org\"",
            "<a href=\"simplex:/a#x\"",
            "<dd>owned</dd>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("<script"));
    }
}
