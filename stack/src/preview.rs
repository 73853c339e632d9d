//! The preview: draws the dashboards of Grafana without Grafana, over the ClickHouse and the Prometheus of a stack.
//!
//! `page` builds what a browser loads; `server` serves it, and the API that the page asks. A request names a query
//! of a dashboard and a viewer's choices (`question`), never its text: `queries` expands it, sends it to a server
//! (`http_client`) and returns columns and rows (`answer`). `check` asks every query once.

mod answer;
pub(crate) mod check;
mod http_client;
pub(crate) mod page;
pub(crate) mod queries;
mod question;
pub(crate) mod server;
