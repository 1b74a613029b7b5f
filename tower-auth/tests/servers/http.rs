//! The least of an HTTP/1.1 client: one connection for each request, over plain TCP.
use std::io;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) type Http =
    tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Full<Bytes>>, io::Error>;

pub(crate) fn client() -> Http {
    Http::new(tower::service_fn(send))
}

async fn send(request: Request<Full<Bytes>>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let authority = parts.uri.authority().ok_or_else(|| io::Error::other("no authority"))?;
    let mut stream = TcpStream::connect(authority.as_str()).await?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!("{} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n", parts.method);
    head.push_str(&format!("content-length: {}\r\n", body.len()));
    for (name, value) in &parts.headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().map_err(io::Error::other)?));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| io::Error::other("not an answer"))
}

fn parse(answer: &[u8]) -> Option<Response<Full<Bytes>>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut response = Response::builder().status(status).body(()).ok()?;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::try_from(name).ok()?;
        response.headers_mut().append(name, HeaderValue::try_from(value.trim()).ok()?);
    }
    let mut body = &answer[end + 4..];
    let mut data = Vec::new();
    if response.headers().get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let line = body.windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?, 16).ok()?;
            if size == 0 {
                break;
            }
            data.extend_from_slice(body.get(line + 2..line + 2 + size)?);
            body = body.get(line + 4 + size..)?;
        }
    } else {
        data.extend_from_slice(body);
    }
    Some(response.map(|()| Full::from(data)))
}
