//! What a browser shows when somebody opens a link (smp.md §16.3). What the link says stands behind `#`, which browsers
//! do not send: only the script of the page sees it.

use super::html::page as html_page;

/// A kind of link.
struct Kind {
    path: &'static str,
    title: &'static str,
    lead: &'static str,
    /// What our terminal client does with it: words before the link.
    command: Option<&'static str>,
}

const CONTACT: &str = "Somebody gives you an address at which they can be reached.";
const INVITATION: &str = "Somebody invites you to a conversation. The link works once.";
const JOIN: Option<&str> = Some("conclave join");

const KINDS: [Kind; 7] = [
    Kind { path: "a", title: "Contact address", lead: CONTACT, command: None },
    Kind { path: "c", title: "Channel", lead: "Somebody invites you to a channel.", command: JOIN },
    Kind { path: "g", title: "Group", lead: "Somebody invites you to a group.", command: JOIN },
    Kind {
        path: "r",
        title: "Chat relay",
        lead: "This is the address of a relay, which serves groups and channels of their owners.",
        command: Some("conclave relay add NAME"),
    },
    Kind { path: "i", title: "Invitation", lead: INVITATION, command: None },
    Kind { path: "contact", title: "Contact address", lead: CONTACT, command: None },
    Kind { path: "invitation", title: "Invitation", lead: INVITATION, command: None },
];

/// The page of links with this path; letters may be capital.
pub(super) fn page(path: &str) -> Option<String> {
    KINDS.iter().find(|kind| kind.path.eq_ignore_ascii_case(path)).map(render)
}

fn render(kind: &Kind) -> String {
    let Kind { title, lead, command, .. } = kind;
    let command = command.map_or(String::new(), |command| {
        format!("<p>In a terminal: <code>{command} '…'</code>, with the link between the quotes.</p>\n")
    });
    let main = format!(
        "<header>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n</header>\n\
         <noscript>\n<section>\n<h2>Open it</h2>\n\
         <p>Your browser runs no scripts, so copy the whole address of this page, and paste it into your app where it \
         asks for a link.</p>\n</section>\n</noscript>\n\
         <section id=\"incomplete\" hidden>\n<h2>The link is not complete</h2>\n\
         <p>The part behind <code>#</code> is missing: ask for the link again, and copy all of it.</p>\n</section>\n\
         <section id=\"complete\" hidden>\n<h2>Open it</h2>\n\
         <p><a id=\"open\" class=\"button\" href=\"#\">Open in the app</a></p>\n\
         <figure>\n<div id=\"code\"></div>\n\
         <figcaption>Or scan this with the app on another device.</figcaption>\n</figure>\n\
         <p class=\"field\"><label for=\"link\">Or paste the link into the app:</label>\n\
         <input id=\"link\" readonly spellcheck=\"false\" autocomplete=\"off\">\n\
         <button id=\"copy\" type=\"button\">Copy</button>\n\
         <span id=\"copied\" role=\"status\"></span></p>\n{command}</section>\n\
         <section>\n<h2>Good to know</h2>\n\
         <p>Who you are invited by, and to what, stands in the part of the link that stays in your browser: this \
         server does not see it.</p>\n\
         <p>Apps: Conclave, or <a href=\"https://simplex.chat/downloads/\" rel=\"noopener noreferrer\">SimpleX \
         Chat</a>.</p>\n</section>\n\
         <footer><p><a href=\"/\">About this server</a></p></footer>\n"
    );
    html_page(title, "<script src=\"/link.js\" defer></script>\n", &main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_link_has_a_page_and_nothing_else() {
        for path in ["a", "c", "g", "r", "i", "C", "contact", "invitation"] {
            assert!(page(path).is_some(), "{path}");
        }
        for path in ["", "b", "ac", "index.html", "..", "contacts"] {
            assert!(page(path).is_none(), "{path}");
        }
        assert!(page("r").unwrap().contains("conclave relay add NAME '…'"));
        assert!(!page("a").unwrap().contains("In a terminal"));
    }
}
