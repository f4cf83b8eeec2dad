//! Which path shows what, and what every answer forbids the browser.

use std::sync::{Arc, Weak};

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, get_service};
use tower_http::services::ServeDir;

use super::{Web, html, links};
use crate::server::Server;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/link.js");

/// What holds for every answer: nothing from elsewhere, no frames, no word to other sites.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// The file that tells phones which app opens links of this host; it has no ending that says its type.
const APP_LINKS: &str = "/.well-known/apple-app-site-association";

/// All pages of `web`, for as long as its server is there.
pub(super) fn router(server: &Arc<Server>, web: &Web) -> Router {
    let seen: Weak<Server> = Arc::downgrade(server);
    let index = async move || match seen.upgrade().and_then(|server| Some(server.web()?.information_page())) {
        Some(page) => Html(page.to_string()).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    let text = |kind: &'static str, text: &'static str| get(async move || ([(CONTENT_TYPE, kind)], text));
    let files =
        |name: &str| get_service(ServeDir::new(web.files.join(name)).append_index_html_on_directories(false));
    Router::new()
        .route("/", get(index.clone()))
        .route("/index.html", get(index))
        .route("/style.css", text("text/css; charset=utf-8", STYLE))
        .route("/link.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/{kind}", get(link))
        .route("/{kind}/", get(link))
        .nest_service("/media", files("media"))
        .nest_service("/.well-known", files(".well-known"))
        .fallback(async || not_found())
        .layer(from_fn(with_headers))
}

async fn link(Path(kind): Path<String>) -> Response {
    links::page(&kind).map_or_else(not_found, |page| Html(page).into_response())
}

fn not_found() -> Response {
    let main = "<header>\n<h1>Not found</h1>\n<p class=\"lead\">There is no such page here.</p>\n</header>\n\
                <footer><p><a href=\"/\">About this server</a></p></footer>\n";
    (StatusCode::NOT_FOUND, Html(html::page("Not found", "", main))).into_response()
}

async fn with_headers(request: Request, next: Next) -> Response {
    let is_app_links = request.uri().path() == APP_LINKS;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.extend(HEADERS);
    if is_app_links && headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
