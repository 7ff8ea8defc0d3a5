//! What a client makes of its own sessions, against nodes that are played by hand.

use outrigger_engine::SessionId;

use super::*;
use crate::runtime::sessions::WINDOW;

/// Serves a registration: the session has this id.
async fn register(conversation: &mut Conversation, session: u64) {
    let request = conversation.request().await;
    assert_eq!(request.operation, Operation::RegisterSession);
    let body = protocol::encode_number(session);
    conversation.reply(request.id, Outcome::Done { applied: LogIndex(0), body }).await;
}

/// The next request, which must write under this number.
async fn write(conversation: &mut Conversation, session: u64, sequence: u64) -> u64 {
    let request = conversation.request().await;
    assert_eq!(request.operation, Operation::WriteOnce { session: SessionId(session), sequence });
    request.id
}

async fn client(nodes: &[&Played]) -> Client<Sum> {
    Client::connect(nodes.iter().map(|node| node.address.clone())).await.unwrap()
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_sent_again_under_its_number() {
    let (one, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&one, &other]).await;
    let nodes = async {
        let mut conversation = one.accept().await;
        register(&mut conversation, 17).await;
        write(&mut conversation, 17, 1).await;
        drop(conversation);
        let mut conversation = other.accept().await;
        let id = write(&mut conversation, 17, 1).await;
        conversation.reply(id, done(5)).await;
        let id = write(&mut conversation, 17, 2).await;
        conversation.reply(id, Outcome::Unknown { reason: "the leader is silent".to_owned() }).await;
        let id = write(&mut conversation, 17, 2).await;
        conversation.reply(id, done(6)).await;
    };
    let writes = async { (client.write(5).await, client.write(1).await) };
    assert_eq!(tokio::join!(nodes, writes).1, (Ok(5), Ok(6)));
}

#[tokio::test]
async fn a_session_that_expired_while_the_client_was_idle_is_replaced() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let played = async {
        let mut conversation = node.accept().await;
        register(&mut conversation, 17).await;
        let id = write(&mut conversation, 17, 1).await;
        conversation.reply(id, done(5)).await;
        let id = write(&mut conversation, 17, 2).await;
        conversation.reply(id, Outcome::Denied(Denied::Expired)).await;
        register(&mut conversation, 90).await;
        let id = write(&mut conversation, 90, 1).await;
        conversation.reply(id, done(6)).await;
    };
    let writes = async { (client.write(5).await, client.write(1).await) };
    assert_eq!(tokio::join!(played, writes).1, (Ok(5), Ok(6)));
}

/// Found by reading: each of them was tried, from the third on with a pause, and a hundred of them cost a write its time.
#[tokio::test]
async fn when_one_session_has_expired_those_behind_it_are_not_tried() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let mut together: JoinSet<_> = (0..=WINDOW)
        .map(|_| {
            let client = client.clone();
            async move { client.write(1).await }
        })
        .collect();
    let played = async {
        let mut conversation = node.accept().await;
        let (mut session, mut waiting) = (17, Vec::new());
        while waiting.len() <= usize::try_from(WINDOW).unwrap() {
            let request = conversation.request().await;
            if request.operation == Operation::RegisterSession {
                let body = protocol::encode_number(session);
                conversation.reply(request.id, Outcome::Done { applied: LogIndex(0), body }).await;
                session += 1;
            } else {
                waiting.push(request.id);
            }
        }
        assert_eq!(session, 19, "two sessions hold them all");
        for id in waiting {
            conversation.reply(id, done(1)).await;
        }
        let id = write(&mut conversation, 17, WINDOW + 1).await;
        conversation.reply(id, Outcome::Denied(Denied::Expired)).await;
        register(&mut conversation, 90).await;
        let id = write(&mut conversation, 90, 1).await;
        conversation.reply(id, done(6)).await;
    };
    let writes = async {
        while let Some(response) = together.join_next().await {
            assert_eq!(response.unwrap(), Ok(1));
        }
        client.write(1).await
    };
    assert_eq!(tokio::join!(played, writes).1, Ok(6));
}

#[tokio::test]
async fn a_session_that_expired_while_a_write_was_in_doubt_leaves_it_so() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let played = async {
        let mut conversation = node.accept().await;
        register(&mut conversation, 17).await;
        let id = write(&mut conversation, 17, 1).await;
        conversation.reply(id, Outcome::Unknown { reason: "the leader is silent".to_owned() }).await;
        let id = write(&mut conversation, 17, 1).await;
        conversation.reply(id, Outcome::Denied(Denied::Expired)).await;
        register(&mut conversation, 90).await;
        let id = write(&mut conversation, 90, 1).await;
        conversation.reply(id, Outcome::Unknown { reason: "the leader is silent".to_owned() }).await;
        let id = write(&mut conversation, 90, 1).await;
        conversation.reply(id, Outcome::Denied(Denied::NotKept)).await;
    };
    let (_, error) = tokio::join!(played, async {
        let error = client.write(5).await.unwrap_err();
        let not_kept = client.write(6).await.unwrap_err();
        assert_eq!((&not_kept, not_kept.outcome()), (&ClientError::ResponseNotKept, crate::Outcome::Applied));
        error
    });
    assert_eq!((&error, error.outcome()), (&ClientError::SessionExpired { in_doubt: true }, crate::Outcome::Unknown));
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn more_writes_at_once_than_a_session_has_room_for_take_another_session() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let writers: Vec<_> = (0..=WINDOW)
        .map(|_| {
            tokio::spawn({
                let client = client.clone();
                async move { client.write(1).await }
            })
        })
        .collect();
    let mut conversation = node.accept().await;
    register(&mut conversation, 17).await;
    let (mut waiting, mut registered) = (Vec::new(), false);
    while waiting.len() <= usize::try_from(WINDOW).unwrap() {
        let request = conversation.request().await;
        match request.operation {
            Operation::RegisterSession => {
                assert!(!std::mem::replace(&mut registered, true), "one more is enough");
                let body = protocol::encode_number(18);
                conversation.reply(request.id, Outcome::Done { applied: LogIndex(0), body }).await;
            }
            Operation::WriteOnce { session, sequence } => waiting.push((session.0, sequence, request.id)),
            other => panic!("{other:?}"),
        }
    }
    let mut numbers: Vec<_> = waiting.iter().map(|(session, sequence, _)| (*session, *sequence)).collect();
    numbers.sort_unstable();
    let expected: Vec<_> = (1..=WINDOW).map(|sequence| (17, sequence)).chain([(18, 1)]).collect();
    assert_eq!(numbers, expected);
    for (_, _, id) in waiting {
        conversation.reply(id, done(1)).await;
    }
    for writer in writers {
        assert_eq!(writer.await.unwrap(), Ok(1));
    }
}

#[tokio::test]
async fn sessions_that_expire_as_soon_as_they_begin_are_not_begun_without_end() {
    let node = Played::listen().await;
    let client = client(&[&node]).await;
    let played = async {
        let mut conversation = node.accept().await;
        for session in 17..20 {
            register(&mut conversation, session).await;
            let id = write(&mut conversation, session, 1).await;
            conversation.reply(id, Outcome::Denied(Denied::Expired)).await;
        }
        let expired = Instant::now();
        register(&mut conversation, 20).await;
        assert!(expired.elapsed() >= Duration::from_millis(90), "another one after {:?}", expired.elapsed());
        let id = write(&mut conversation, 20, 1).await;
        conversation.reply(id, done(5)).await;
    };
    assert_eq!(tokio::join!(played, client.write(5)).1, Ok(5));
}

#[tokio::test]
async fn a_write_in_doubt_is_tried_elsewhere_and_stays_so_when_it_is_refused_there() {
    let (one, other) = (Played::listen().await, Played::listen().await);
    let client = client(&[&one, &other]).await;
    let played = async {
        let mut conversation = one.accept().await;
        register(&mut conversation, 17).await;
        let id = write(&mut conversation, 17, 1).await;
        conversation.reply(id, Outcome::Unknown { reason: "the leader is silent".to_owned() }).await;
        let mut conversation = other.accept().await;
        let id = write(&mut conversation, 17, 1).await;
        conversation.reply(id, Outcome::Never { reason: reason() }).await;
    };
    let error = tokio::join!(played, client.write(5)).1.unwrap_err();
    assert_eq!((&error, error.outcome()), (&ClientError::Unknown { reason: reason() }, crate::Outcome::Unknown));
}

/// It may have been applied: whoever is told that it was not writes it again, in another session.
#[tokio::test]
async fn a_write_whose_connection_breaks_for_good_is_in_doubt() {
    let node = Played::listen().await;
    let client = client(&[&node]).await.with_timeout(Duration::from_secs(1));
    let played = async {
        let mut conversation = node.accept().await;
        register(&mut conversation, 17).await;
        write(&mut conversation, 17, 1).await;
        drop((conversation, node));
    };
    let error = tokio::join!(played, client.write(5)).1.unwrap_err();
    assert_eq!(error.outcome(), crate::Outcome::Unknown, "{error}");
}

/// Nothing was sent: there is no doubt, whatever the client asked for on the way.
#[tokio::test]
async fn a_write_for_which_no_session_could_be_registered_is_not_applied() {
    let node = Played::listen().await;
    let client = client(&[&node]).await.with_timeout(Duration::from_millis(300));
    drop(node);
    let error = client.write(5).await.unwrap_err();
    assert!(matches!(error, ClientError::NotApplied { .. }), "{error}");
}
