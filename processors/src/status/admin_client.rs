//! Asks an admin port: `/readyz` once, `/metrics` twice.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::status::facts::{Readiness, ServiceAnswer, ServiceFacts, ServiceFailure, ServiceKind};
use crate::status::metric_samples::MetricSamples;

/// Most bytes of an answer. A page of metrics has some tens of kilobytes.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;

/// What the admin port at `address` (`host:port`) answers within `deadline`. The two reads of its metrics are
/// `apart`.
pub(super) async fn ask(address: &str, deadline: Duration, apart: Duration) -> ServiceFacts {
    let answer = tokio::time::timeout(deadline, answer(address, apart)).await;
    let answer = answer.unwrap_or(Err(ServiceFailure::Silent(deadline.as_secs())));
    ServiceFacts { address: address.to_owned(), answer }
}

async fn answer(address: &str, apart: Duration) -> Result<ServiceAnswer, ServiceFailure> {
    let (status, body) = get(address, "/readyz").await?;
    let unexpected = |path: &str, status: u16| {
        ServiceFailure::Failed(format!("{path} answers {status}, and not as an admin port does"))
    };
    let readiness = Readiness::read(status, &body).ok_or_else(|| unexpected("/readyz", status))?;
    let first = metrics(address).await?;
    tokio::time::sleep(apart).await;
    let last = metrics(address).await?;
    let kind = ServiceKind::of(&last).ok_or_else(|| unexpected("/metrics", 200))?;
    Ok(ServiceAnswer { kind, readiness, first, last })
}

async fn metrics(address: &str) -> Result<MetricSamples, ServiceFailure> {
    match get(address, "/metrics").await? {
        (200, page) => Ok(MetricSamples::read(&page)),
        (status, _) => Err(ServiceFailure::Failed(format!("/metrics answers {status}"))),
    }
}

/// Status and body of an answer.
async fn get(address: &str, path: &str) -> Result<(u16, String), ServiceFailure> {
    let answer = exchange(address, path).await.map_err(|error| {
        if error.kind() == ErrorKind::ConnectionRefused {
            ServiceFailure::Refused
        } else {
            ServiceFailure::Failed(error.to_string())
        }
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let no_http = || ServiceFailure::Failed("the answer is not one of HTTP".to_owned());
    status.map(|status| (status, body.to_owned())).ok_or_else(no_http)
}

async fn exchange(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // An admin port always answers to this name.
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const DEADLINE: Duration = Duration::from_millis(500);

    /// Asks a server that gives each connection the next of these answers.
    async fn asked(answers: Vec<&'static str>) -> Result<ServiceAnswer, ServiceFailure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            // Accepts, and never answers.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            facts = ask(&address, DEADLINE, Duration::ZERO) => facts.answer,
            () = serve => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn an_admin_port_is_asked_for_readiness_and_twice_for_its_metrics() {
        let ready = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nready\n";
        let first = "HTTP/1.1 200 OK\r\n\r\nclicktrail_audit_runs_total 1\n# EOF\n";
        let last = "HTTP/1.1 200 OK\r\n\r\nclicktrail_audit_runs_total 2\n# EOF\n";
        let answer = asked(vec![ready, first, last]).await.unwrap();
        assert_eq!((answer.kind, answer.readiness), (ServiceKind::Audit, Readiness::Ready(vec![])));
        let runs = |page: &MetricSamples| page.value("clicktrail_audit_runs_total");
        assert_eq!((runs(&answer.first), runs(&answer.last)), (Some(1.0), Some(2.0)));
    }

    #[tokio::test]
    async fn a_port_that_is_closed_silent_or_of_another_program_is_distinguished() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = ask(&closed.to_string(), DEADLINE, Duration::ZERO).await.answer;
        assert_eq!(refused.unwrap_err(), ServiceFailure::Refused);
        assert_eq!(asked(vec![]).await.unwrap_err(), ServiceFailure::Silent(0));
        for other in ["SSH-2.0-OpenSSH", "HTTP/1.1 200 OK\r\n\r\n<html>"] {
            let failure = asked(vec![other]).await.unwrap_err();
            assert!(matches!(failure, ServiceFailure::Failed(_)), "{failure:?}");
        }
    }
}
