//! What browsers see: the information page, the pages of links, and the operator's own files.

use serde::Deserialize;

use super::section::section;
use super::value::{FilePath, Port};

section! {
    /// What browsers see: the information page, and the pages that links open.
    Web / WebLayer in "Web pages" {
        /// Port of plain HTTP, or `off`.
        http ("web-http", "SMP_SERVER_WEB_HTTP"): Port = Port(None),
        /// Port of HTTPS, or `off`. One that is also among the ports above, such as 443, is shared: browsers name the server and see the pages, clients do not and are served as before.
        https ("web-https", "SMP_SERVER_WEB_HTTPS"): Port = Port(None),
        /// Certificates for browsers, the server's own first, from an authority that browsers know: PEM, relative to the directory. Read again on reload.
        certificate ("web-certificate", "SMP_SERVER_WEB_CERTIFICATE"): FilePath = "web.crt".into(),
        /// Private key of that certificate: PEM.
        private_key ("web-private-key", "SMP_SERVER_WEB_PRIVATE_KEY"): FilePath = "web.key".into(),
        /// Directory whose `media` and `.well-known` are served to everybody; nothing else in it is.
        files ("web-files", "SMP_SERVER_WEB_FILES"): FilePath = "www".into(),
    }
}

impl Web {
    /// Whether pages are served anywhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.http.0.is_some() || self.https.0.is_some()
    }
}
