//! One HTTP exchange over a new connection: enrolment, and finding the agents' door. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

use super::{NetError, Step, Way};

/// Longest answer.
const BODY_MAX: usize = 256 * 1024;
/// Time for the whole exchange after the connection stands.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends a request whose address is whole, and reads the answer.
pub async fn exchange(way: &Way, request: Request<Bytes>) -> Result<Response<Bytes>, NetError> {
    let uri = request.uri().clone();
    let io = way.connect(&uri).await?;
    let failed = |detail: String| {
        NetError::new(
            Step::Http,
            format!("{uri}: {detail}"),
            "check that the address is the hub's and not another service's",
        )
    };
    let (mut head, body) = request.into_parts();
    if let Some(host) = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        head.headers.insert(http::header::HOST, host);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().map_err(|_| failed("its path cannot be sent".to_owned()))?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        let answer = async move {
            let (head, body) = sender.send_request(Request::from_parts(head, Full::new(body))).await?.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            Ok::<_, hyper::Error>((head, body.map(http_body_util::Collected::to_bytes)))
        };
        // The connection is driven while the answer is read, and ends when the sender, which moved in above, is gone.
        let (answer, ()) = futures_util::future::join(Box::pin(answer), connection_until(connection)).await;
        answer
    };
    match tokio::time::timeout(LIMIT, Box::pin(exchange)).await {
        Ok(Ok((head, Ok(body)))) => Ok(Response::from_parts(head, body)),
        Ok(Ok((_, Err(_)))) => Err(failed("its answer is too long or broke off".to_owned())),
        Ok(Err(error)) => Err(failed(format!("no HTTP answer: {error}"))),
        Err(_) => Err(failed(format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

async fn connection_until<T, B>(connection: hyper::client::conn::http1::Connection<T, B>)
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = connection.await;
}
