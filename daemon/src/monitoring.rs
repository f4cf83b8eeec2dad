//! What is told to monitoring: `/metrics` for Prometheus, `/health` and `/ready` for whoever restarts or routes.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// The text format of Prometheus.
const EXPOSITION_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A program that can be monitored.
pub trait Monitored: Send + Sync + 'static {
    /// All its metrics, in the text format of Prometheus.
    fn metrics(self: Arc<Self>) -> impl Future<Output = String> + Send;

    /// Whether it does its work now; why not, in words for people.
    fn readiness(self: Arc<Self>) -> impl Future<Output = Result<(), String>> + Send;
}

/// The pages of monitoring.
pub fn router<M: Monitored>(monitored: Arc<M>) -> Router {
    let for_metrics = monitored.clone();
    Router::new()
        .route(
            "/metrics",
            get(async move || ([(header::CONTENT_TYPE, EXPOSITION_FORMAT)], for_metrics.metrics().await)),
        )
        // Whoever answers is alive.
        .route("/health", get(async || "alive\n"))
        .route(
            "/ready",
            get(async move || match monitored.readiness().await {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()).into_response(),
                Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
            }),
        )
}
