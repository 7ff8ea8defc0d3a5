//! The peer's network: a request to another node is a call of that node's handle, in the same process.
//!
//! Appends go through the peer's own pipelined stream (`Raft::stream_append`), the fastest path it has;
//! nothing is encoded, copied, delayed or timed out.

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

use futures_util::{Stream, StreamExt};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::{Handle, Types};

/// The handles of all nodes, by id; filled once all have been created.
#[derive(Clone, Default)]
pub(super) struct Router {
    handles: Arc<OnceLock<Vec<Handle>>>,
}

impl Router {
    /// Makes the nodes reachable. The first call counts.
    pub(super) fn connect(&self, handles: Vec<Handle>) {
        let first = self.handles.set(handles).is_ok();
        assert!(first, "a router connects its nodes once");
    }
}

impl RaftNetworkFactory<Types> for Router {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        Link { router: self.clone(), target }
    }
}

/// The way from one node to another.
pub(super) struct Link {
    /// Where the handle is found when it is first needed: links may be older than nodes.
    router: Router,
    /// The id of the node at the other end, its place in the router.
    target: u64,
}

impl Link {
    fn peer(&self) -> Result<&Handle, Unreachable<Types>> {
        let place = usize::try_from(self.target).unwrap_or(usize::MAX);
        self.router
            .handles
            .get()
            .and_then(|handles| handles.get(place))
            .ok_or_else(|| unreachable(&io::Error::new(io::ErrorKind::NotFound, "no such node yet")))
    }
}

/// What the peer's replication calls a target that does not answer.
fn unreachable(cause: &(impl std::error::Error + 'static)) -> Unreachable<Types> {
    Unreachable::new(cause)
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(self.peer()?.append_entries(request).await.map_err(|error| unreachable(&error))?)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let opened = self.peer().map_err(RPCError::from).map(|peer| {
            let answers = peer.stream_append(input).map(|answer| answer.map_err(|error| unreachable(&error).into()));
            Box::pin(answers) as BoxStream<'s, _>
        });
        Box::pin(async { opened })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.peer()?.vote(request).await.map_err(|error| unreachable(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, ()>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let cause = io::Error::new(io::ErrorKind::Unsupported, "the benchmark sends no snapshots");
        Err(unreachable(&cause).into())
    }
}
