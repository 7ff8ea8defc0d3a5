//! The store against a plain model of itself, its hash against one computed from scratch, its limits at their edges.

use super::*;

/// What any change must leave true: the running sum equals the sum computed anew.
fn assert_sound(store: &Store) {
    let digests = store.entries.iter().map(|(key, entry)| {
        assert_eq!(entry.digest, digest(key, &entry.current.value, entry.current.revision));
        entry.digest
    });
    assert_eq!(digests.fold(0, u64::wrapping_add), store.digests);
    assert!(store.entries.values().all(|entry| (1..=store.revision).contains(&entry.current.revision)));
}

fn put(store: &mut Store, key: &'static str, value: &'static str) -> u64 {
    match store.apply(Command::put(key, value)) {
        Ok(Change::Done { revision }) => revision,
        other => panic!("put {key}: {other:?}"),
    }
}

fn compare_and_swap(key: &'static str, expected: Option<&'static str>, value: &'static str) -> Command {
    Command::CompareAndSwap { key: key.into(), expected: expected.map(Bytes::from), value: value.into() }
}

fn keys(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|(key, _)| std::str::from_utf8(key).unwrap()).collect()
}

#[test]
fn a_put_is_read_back_with_its_revision() {
    let mut store = Store::default();
    assert_eq!(store.value(b"city"), None);
    assert_eq!(put(&mut store, "city", "Oslo"), 1);
    assert_eq!(put(&mut store, "lake", "Mjøsa"), 2);
    assert_eq!(put(&mut store, "city", "Bergen"), 3);
    assert_eq!(store.value(b"city"), Some(&Versioned { value: "Bergen".into(), revision: 3 }));
    assert_eq!(store.value(b"lake"), Some(&Versioned { value: "Mjøsa".into(), revision: 2 }));
    assert_sound(&store);
}

#[test]
fn deleting_takes_a_revision_only_when_something_went() {
    let mut store = Store::default();
    put(&mut store, "city", "Oslo");
    assert_eq!(store.apply(Command::Delete { key: "lake".into() }), Ok(Change::Absent));
    assert_eq!(store.summary().revision, 1);
    assert_eq!(store.apply(Command::Delete { key: "city".into() }), Ok(Change::Done { revision: 2 }));
    assert_eq!(store.value(b"city"), None);
    assert_eq!((store.summary().keys, store.digests), (0, 0));
}

#[test]
fn compare_and_swap_changes_only_what_is_as_expected() {
    let mut store = Store::default();
    assert_eq!(store.apply(compare_and_swap("city", Some("Oslo"), "Bergen")), Ok(Change::Absent));
    assert_eq!(store.apply(compare_and_swap("city", None, "Oslo")), Ok(Change::Done { revision: 1 }));
    assert_eq!(store.apply(compare_and_swap("city", None, "Bergen")), Ok(Change::NotEqual { revision: 1 }));
    assert_eq!(store.apply(compare_and_swap("city", Some("Rome"), "Bergen")), Ok(Change::NotEqual { revision: 1 }));
    assert_eq!(store.value(b"city").unwrap().value, "Oslo");
    assert_eq!(store.apply(compare_and_swap("city", Some("Oslo"), "Bergen")), Ok(Change::Done { revision: 2 }));
    assert_eq!(store.value(b"city").unwrap().value, "Bergen");
    assert_sound(&store);
}

#[test]
fn keys_and_values_are_refused_just_beyond_their_limits() {
    let mut store = Store::default();
    let bytes = |length: usize| Bytes::from(vec![b'x'; length]);
    assert!(store.apply(Command::put(bytes(KEY_BYTES_MAX), bytes(VALUE_BYTES_MAX))).is_ok());
    let before = store.clone();
    for (command, refusal) in [
        (Command::put("", "v"), Refusal::KeyEmpty),
        (Command::Delete { key: Bytes::new() }, Refusal::KeyEmpty),
        (
            Command::put(bytes(KEY_BYTES_MAX + 1), "v"),
            Refusal::KeyTooLong { bytes: KEY_BYTES_MAX + 1, bytes_max: KEY_BYTES_MAX },
        ),
        (
            Command::CompareAndSwap { key: "k".into(), expected: None, value: bytes(VALUE_BYTES_MAX + 1) },
            Refusal::ValueTooLong { bytes: VALUE_BYTES_MAX + 1, bytes_max: VALUE_BYTES_MAX },
        ),
    ] {
        assert_eq!(store.apply(command), Err(refusal));
    }
    assert_eq!(store, before);
    let message = Refusal::KeyTooLong { bytes: 5000, bytes_max: KEY_BYTES_MAX }.to_string();
    assert_eq!(message, "the key has 5000 bytes, the limit is 4096: shorten it");
}

#[test]
fn a_range_holds_the_keys_with_the_prefix_in_order() {
    let mut store = Store::default();
    for key in ["b", "a/2", "a", "a/1", "a/10", "a0", "A/1"] {
        put(&mut store, key, key);
    }
    assert_eq!(keys(&store.range(b"a/", None, 100)), ["a/1", "a/10", "a/2"]);
    assert_eq!(keys(&store.range(b"", None, 100)), ["A/1", "a", "a/1", "a/10", "a/2", "a0", "b"]);
    assert_eq!(keys(&store.range(b"c", None, 100)), [""; 0]);
    // A start before the prefix is no way to smuggle other keys in.
    assert_eq!(keys(&store.range(b"a/", Some(b"A"), 100)), ["a/1", "a/10", "a/2"]);
    assert_eq!(keys(&store.range(b"a/", Some(b"a/10"), 100)), ["a/2"]);
}

#[test]
fn pages_join_to_the_whole_range() {
    let mut store = Store::default();
    for number in 0..25 {
        store.apply(Command::put(format!("k{number:02}"), "v")).unwrap();
    }
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.range(b"k", after.as_deref(), 10);
        after = page.entries.last().map(|(key, _)| key.clone());
        all.extend(page.entries);
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert_eq!((pages, all.len()), (3, 25));
    assert!(all.is_sorted_by(|(one, _), (other, _)| one < other));
    assert!(store.range(b"k", None, 0).more, "a limit of zero hides keys, and says so");
}

#[test]
fn a_page_is_bounded_in_bytes_and_in_keys() {
    let mut store = Store::default();
    let value = Bytes::from(vec![0; RANGE_BYTES_MAX / 2]);
    for key in ["k1", "k2", "k3"] {
        store.apply(Command::put(key, value.clone())).unwrap();
    }
    let page = store.range(b"k", None, 100);
    assert_eq!((keys(&page), page.more), (vec!["k1", "k2"], true));
    for number in 0..=RANGE_KEYS_MAX {
        store.apply(Command::put(format!("n{number:06}"), "")).unwrap();
    }
    let page = store.range(b"n", None, usize::MAX);
    assert_eq!((page.entries.len(), page.more), (RANGE_KEYS_MAX, true));
}

#[test]
fn the_hash_tells_states_apart_and_forgets_the_way() {
    let mut store = Store::default();
    let empty = store.summary();
    put(&mut store, "city", "Oslo");
    let first = store.summary();
    assert_ne!(first.hash, empty.hash);
    put(&mut store, "city", "Oslo");
    assert_ne!(store.summary().hash, first.hash, "the revision counts");

    let (mut one, mut other) = (Store::default(), Store::default());
    put(&mut one, "a", "1");
    put(&mut one, "b", "2");
    put(&mut other, "b", "2");
    put(&mut other, "a", "1");
    assert_ne!(one.summary().hash, other.summary().hash, "nodes with another order of entries differ");
}

#[test]
fn random_commands_keep_the_store_equal_to_a_plain_map() {
    let (mut store, mut model) = (Store::default(), BTreeMap::new());
    let mut random = 1;
    for _ in 0..5_000 {
        random = mix(random);
        let key = Bytes::from(format!("k{}", random % 40));
        let value = Bytes::from(format!("v{}", (random >> 16) % 4));
        let expected = Bytes::from(format!("v{}", (random >> 24) % 4));
        match (random >> 32) % 3 {
            0 => {
                store.apply(Command::put(key.clone(), value.clone())).unwrap();
                model.insert(key, value);
            }
            1 => {
                let change = store.apply(Command::Delete { key: key.clone() }).unwrap();
                assert_eq!(change == Change::Absent, model.remove(&key).is_none());
            }
            _ => {
                let swap = Command::CompareAndSwap {
                    key: key.clone(),
                    expected: Some(expected.clone()),
                    value: value.clone(),
                };
                let is_equal = model.get(&key) == Some(&expected);
                assert_eq!(matches!(store.apply(swap).unwrap(), Change::Done { .. }), is_equal);
                if is_equal {
                    model.insert(key, value);
                }
            }
        }
        let page = store.range(b"", None, 100);
        assert!(page.entries.iter().map(|(key, entry)| (key, &entry.value)).eq(&model));
    }
    assert_sound(&store);
}

#[test]
fn what_travels_survives_encoding() {
    let mut store = Store::default();
    put(&mut store, "city", "Oslo");
    let bytes = postcard::to_stdvec(&store).unwrap();
    assert_eq!(postcard::from_bytes::<Store>(&bytes).unwrap(), store);

    let command = compare_and_swap("city", Some("Oslo"), "Bergen");
    let bytes = postcard::to_stdvec(&command).unwrap();
    assert_eq!(postcard::from_bytes::<Command>(&bytes).unwrap(), command);

    let answer = store.query(Query::Range { prefix: Bytes::new(), after: None, limit: 1 });
    let bytes = postcard::to_stdvec(&answer).unwrap();
    assert_eq!(postcard::from_bytes::<Answer>(&bytes).unwrap(), answer);
}
