//! Connecting to an address that may be a name of several places.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Looks the address up, and connects to whichever of its places answers first; whoever calls gives it up after `patience`.
pub(crate) async fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    connect_to_any(lookup_host(address).await?.collect(), patience).await
}

/// Each place is tried a while after the one before, or at once when all before have failed: of one that is silent, as a host that is
/// gone or an address that is not routed, nothing may come within `patience`. The last is begun within half of that.
async fn connect_to_any(places: Vec<SocketAddr>, patience: Duration) -> io::Result<TcpStream> {
    let head_start = patience / 2 / u32::try_from(places.len()).unwrap_or(u32::MAX).max(1);
    let mut attempts = JoinSet::new();
    let mut failed = None;
    for place in places {
        attempts.spawn(TcpStream::connect(place));
        if let Ok(Some(stream)) = timeout(head_start, next(&mut attempts, &mut failed)).await {
            return Ok(stream);
        }
    }
    let no_place = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    // Those that are still tried are given up with the set.
    next(&mut attempts, &mut failed).await.ok_or_else(|| failed.unwrap_or_else(no_place))
}

/// The next connection; `None` when all that are tried have failed.
async fn next(attempts: &mut JoinSet<io::Result<TcpStream>>, failed: &mut Option<io::Error>) -> Option<TcpStream> {
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other) {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) | Err(error) => *failed = Some(error),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A place that says nothing: its backlog is full, so that the kernel drops whatever comes.
    async fn silent() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let place = listener.local_addr().unwrap();
        let mut connected = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(place)).await {
            connected.push(stream.unwrap());
        }
        (place, (listener, connected))
    }

    async fn alive() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    /// Found by reading: places were tried one after another, each for as long as a connection may take.
    #[tokio::test]
    async fn a_place_behind_silent_ones_is_reached_in_time() {
        let ((first, _first), (second, _second)) = (silent().await, silent().await);
        let (place, _listener) = alive().await;
        let connected = timeout(PATIENCE, connect_to_any(vec![first, second, place], PATIENCE)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), place);
    }

    #[tokio::test]
    async fn places_that_refuse_are_passed_over_at_once_and_the_reason_is_told() {
        let (gone, listener) = alive().await;
        drop(listener);
        let (place, _listener) = alive().await;
        let hour = Duration::from_secs(3600);
        let connected = timeout(PATIENCE, connect_to_any(vec![gone, gone, place], hour)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), place);
        let refused = timeout(PATIENCE, connect_to_any(vec![gone, gone], hour)).await;
        assert_eq!(refused.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let nowhere = connect_to_any(Vec::new(), hour).await;
        assert_eq!(nowhere.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
