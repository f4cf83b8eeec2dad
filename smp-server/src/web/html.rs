//! Pieces of pages. What comes from settings is escaped wherever it stands.

use std::fmt;

/// Text as it stands in HTML, in an element or in a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A whole page. `main` is HTML; `head` too, for what a page has of its own.
pub(super) fn page(title: &str, head: &str, main: &str) -> String {
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         {head}\
         </head>\n\
         <body>\n\
         <main>\n\
         {main}\
         </main>\n\
         </body>\n\
         </html>\n",
        title = Escaped(title),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_escaped() {
        assert_eq!(
            Escaped("<b a=\"1\" c='2'>&ö").to_string(),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;ö"
        );
        let page = page("<script>", "", "<p>hello</p>\n");
        assert!(page.contains("<title>&lt;script&gt;</title>") && page.contains("<p>hello</p>"));
    }
}
