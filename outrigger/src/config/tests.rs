//! What a node refuses to start with, and in which words.

use super::*;

fn three() -> Config {
    let cluster = Config::parse_cluster("1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103").unwrap();
    Config { initial_cluster: cluster, ..Config::default() }
}

fn refused(change: impl FnOnce(&mut Config)) -> String {
    let mut config = three();
    change(&mut config);
    config.validate().unwrap_err().to_string()
}

#[test]
fn the_defaults_fit_together() {
    assert_eq!(Config::default().validate(), Ok(()));
    assert_eq!(three().validate(), Ok(()));
}

#[test]
fn a_node_that_is_not_a_member_is_refused_with_the_members() {
    let said = refused(|config| config.id = 9);
    assert!(said.contains("node 9 is missing") && said.contains("1, 2, 3"), "{said}");
}

#[test]
fn an_address_used_twice_is_refused_with_both_nodes() {
    let said = refused(|config| drop(config.initial_cluster.insert(3, "127.0.0.1:7102".into())));
    assert!(said.contains("nodes 2 and 3") && said.contains("127.0.0.1:7102"), "{said}");
}

#[test]
fn broken_timing_is_refused_with_both_numbers() {
    let said = refused(|config| config.heartbeat_interval = Duration::from_millis(500));
    assert!(said.contains("heartbeat_interval 500ms") && said.contains("election_timeout_min 500ms"), "{said}");
    let said = refused(|config| config.election_timeout_max = Duration::from_millis(400));
    assert!(said.contains("500ms") && said.contains("400ms"), "{said}");
    assert!(refused(|config| config.request_timeout = Duration::ZERO).contains("request_timeout is 0"));
    let said = refused(|config| config.request_timeout = Duration::MAX);
    assert!(
        said.starts_with("request_timeout is ") && said.ends_with("the most is 31536000s, which is a year"),
        "{said}"
    );
    assert!(refused(|config| config.state_check_interval = Duration::MAX).contains("state_check_interval is"));
    assert!(refused(|config| config.election_timeout_min = Duration::ZERO).contains("election_timeout_min is 0"));
    assert!(refused(|config| config.limits.tail_bytes_max = 0).contains("tail_bytes_max is 0"));
    assert!(refused(|config| config.limits.append_bytes_max = 0).contains("append_bytes_max is 0"));
}

#[test]
fn a_pace_at_which_a_piece_takes_longer_than_a_second_is_refused_with_both_numbers() {
    let said = refused(|config| config.snapshot_bytes_per_second_max = (256 << 10) - 1);
    assert!(said.contains("is 262143, which is below snapshot_chunk_bytes_max 262144"), "{said}");
    for rate in [0, 256 << 10] {
        assert_eq!(Config { snapshot_bytes_per_second_max: rate, ..three() }.validate(), Ok(()));
    }
}

#[test]
fn limits_of_answers_that_are_none_or_contradict_each_other_are_refused() {
    assert!(refused(|config| config.limits.connection_answers_bytes_max = 0).contains("is 0"));
    assert!(refused(|config| config.limits.received_bytes_max = 0).contains("received_bytes_max is 0"));
    let said = refused(|config| config.limits.answers_bytes_max = 1000);
    assert!(said.contains("16777216") && said.contains("answers_bytes_max 1000"), "{said}");
}

#[test]
fn a_limit_that_no_frame_can_keep_is_refused_with_both_numbers() {
    let frame = 64 << 20;
    let said = refused(|config| config.limits.entry_bytes_max = frame);
    assert!(said.contains("entry_bytes_max is 67108864") && said.contains("67043328"), "{said}");
    let said = refused(|config| config.limits.append_bytes_max = frame - 1);
    assert!(said.contains("append_bytes_max is 67108863") && said.contains("33554432"), "{said}");
    let said = refused(|config| config.limits.snapshot_chunk_bytes_max = frame - 1);
    assert!(said.contains("snapshot_chunk_bytes_max is 67108863") && said.contains("33554432"), "{said}");
    let said = refused(|config| config.limits.requests_bytes_max = frame + 1);
    assert!(said.contains("requests_bytes_max is 67108865") && said.contains("67108864"), "{said}");
    let mut config = three();
    config.limits.entry_bytes_max = frame - (64 << 10);
    config.limits.append_bytes_max = frame / 2;
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn whoever_listens_where_nobody_calls_is_known() {
    let listens = |listen: &str, advertise: Option<&str>, named: &str| {
        let advertise_peer = advertise.map(ToOwned::to_owned);
        Config { listen_peer: listen.into(), advertise_peer, ..three() }.listens_elsewhere(named)
    };
    assert!(!listens("127.0.0.1:7101", None, "127.0.0.1:7101"));
    assert!(!listens("0.0.0.0:7101", None, "10.0.0.1:7101"));
    assert!(!listens("127.0.0.1:7101", None, "localhost:7101"));
    assert!(!listens("127.0.0.1:9", Some("10.0.0.1:7101"), "10.0.0.1:7101"), "something forwards");
    assert!(listens("127.0.0.1:9109", None, "127.0.0.1:9101"));
    assert!(listens("0.0.0.0:9109", None, "db1:9101"));
    assert!(listens("127.0.0.1:7101", None, "10.0.0.1:7101"));
    assert!(listens("127.0.0.1:7101", Some("10.0.0.2:7101"), "10.0.0.1:7101"));
}

#[test]
fn who_listens_everywhere_is_reached_where_the_cluster_names_it() {
    let address = |listen: &str, advertise: Option<&str>| {
        let config = Config { listen_peer: listen.into(), advertise_peer: advertise.map(Into::into), ..three() };
        config.peer_address().map(ToOwned::to_owned)
    };
    let named = three().initial_cluster[&1].clone();
    assert_eq!(address("0.0.0.0:9109", None), Some(named));
    assert_eq!(address("10.0.0.9:7101", None).as_deref(), Some("10.0.0.9:7101"));
    assert_eq!(address("0.0.0.0:9109", Some("db1:7101")).as_deref(), Some("db1:7101"));
    let joins = Config { listen_peer: "[::]:7101".into(), initial_cluster: BTreeMap::new(), ..three() };
    assert_eq!(joins.peer_address(), None);
}

#[test]
fn no_node_is_called_0() {
    assert_eq!(refused(|config| config.id = 0), "id is 0; it must be above 0");
    let said = refused(|config| drop(config.initial_cluster.insert(0, "10.0.0.9:7101".into())));
    assert_eq!(said, "the id of a node in initial_cluster is 0; it must be above 0");
    let said = refused(|config| config.join = [(0, "10.0.0.9:7101".to_owned())].into());
    assert_eq!(said, "the id of a node in join is 0; it must be above 0");
}

#[test]
fn an_address_that_nobody_can_use_is_refused() {
    assert!(refused(|config| config.listen_peer = "here".into()).contains("no port"));
    assert!(refused(|config| config.listen_peer = "::1:7101".into()).contains("brackets"));
    assert!(refused(|config| config.listen_peer = "host:70000".into()).contains("65535"));
    let said = refused(|config| config.listen_client = Some("0.0.0.0:7201".into()));
    assert!(said.contains("set advertise_client"), "{said}");
    let said = refused(|config| drop(config.initial_cluster.insert(1, "0.0.0.0:7101".into())));
    assert!(said.contains("node 1"), "{said}");
    let said = refused(|config| config.advertise_peer = Some("10.0.0.1:7101".into()));
    assert!(said.contains("10.0.0.1:7101") && said.contains("127.0.0.1:7101"), "{said}");
    let open = Config { listen_client: Some("[::]:7201".into()), advertise_client: Some("db1:7201".into()), ..three() };
    assert_eq!(open.validate(), Ok(()));
    assert_eq!(open.client_address(), Some("db1:7201"));
}

#[test]
fn who_joins_names_others_and_can_be_named_itself() {
    let join = |addresses: &[(u64, &str)], listen: &str| {
        refused(|config| {
            config.initial_cluster.clear();
            config.join = addresses.iter().map(|(id, address)| (*id, (*address).to_owned())).collect();
            config.listen_peer = listen.to_owned();
        })
    };
    assert!(join(&[(2, "10.0.0.2")], "10.0.0.1:7101").contains("node 2 in join"));
    assert!(join(&[(2, "10.0.0.2:0")], "10.0.0.1:7101").contains("port 0 is no place"));
    assert!(join(&[(1, "10.0.0.1:7101")], "10.0.0.1:7101").contains("no node but 1"));
    assert!(join(&[(2, "10.0.0.2:7101")], "0.0.0.0:7101").contains("set advertise_peer"));
    assert!(refused(|config| config.join = config.initial_cluster.clone()).contains("begins a new cluster or joins"));
}

#[test]
fn the_initial_cluster_is_read_or_refused_in_words() {
    assert_eq!(Config::parse_cluster("").unwrap(), BTreeMap::new());
    assert_eq!(Config::parse_cluster("4=[::1]:7101").unwrap()[&4], "[::1]:7101");
    assert!(Config::parse_cluster("1").unwrap_err().contains("no `=`"));
    assert!(Config::parse_cluster("a=b:1").unwrap_err().contains("not a node id"));
}

#[cfg(feature = "clap")]
#[test]
fn the_command_line_says_the_same_as_the_defaults() {
    use clap::Parser;
    assert_eq!(Config::try_parse_from(["node"]).unwrap(), Config::default());
    let given = ["node", "--id", "2", "--heartbeat-interval", "20ms", "--initial-cluster", "2=h:1"];
    let config = Config::try_parse_from(given).unwrap();
    assert_eq!((config.id, config.heartbeat_interval), (2, Duration::from_millis(20)));
    assert!(Config::try_parse_from(["node", "--request-timeout", "soon"]).unwrap_err().to_string().contains("150ms"));
}

#[test]
fn different_names_are_different_clusters() {
    let named = |name: &str| Config { cluster: name.to_owned(), ..Config::default() }.cluster_id();
    assert_ne!(named("a"), named("b"));
    assert_eq!(named("a"), 0xaf63_dc4c_8601_ec8c, "FNV-1a of one letter, as published");
}

#[test]
fn a_file_says_what_it_sets_and_nothing_unknown() {
    let text = r#"{"id": 2, "heartbeat_interval": "20ms", "limits": {"requests_max": 7}}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    assert_eq!((config.id, config.heartbeat_interval), (2, Duration::from_millis(20)));
    assert_eq!(config.limits, Limits { requests_max: 7, ..Limits::default() });
    let written = serde_json::to_string(&config).unwrap();
    assert!(written.contains(r#""request_timeout":"5s""#), "{written}");
    assert_eq!(serde_json::from_str::<Config>(&written).unwrap(), config);
    let refused = serde_json::from_str::<Config>(r#"{"hearbeat_interval": "20ms"}"#).unwrap_err().to_string();
    assert!(refused.contains("unknown field"), "{refused}");
    let refused = serde_json::from_str::<Config>(r#"{"request_timeout": "5"}"#).unwrap_err().to_string();
    assert!(refused.contains("150ms"), "{refused}");
}
