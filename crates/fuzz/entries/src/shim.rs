//! The messages of the preload library.

use dmlab_shim_proto::{Encode, HEADER_LEN, Header, REPLY_LEN, Reply, STAT_LEN, Stat, admin, front};

/// Takes `bytes` for a request's header with its payload behind it, and for the other fixed structs.
pub(crate) fn decode(bytes: &[u8]) {
    if let Some((head, payload)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = Header::from_bytes(head);
        assert_eq!(header.to_bytes(), *head);
        let encoded = |request: &dyn Encode| {
            let mut again = vec![0; payload.len()];
            let header = request.encode(&mut again).expect("what came out of a payload fits one of its size");
            (header, again)
        };
        if let Ok(request) = front::Request::decode(&header, payload) {
            let (header, again) = encoded(&request);
            assert_eq!(front::Request::decode(&header, &again), Ok(request));
        }
        if let Ok(request) = admin::Request::decode(&header, payload) {
            let (header, again) = encoded(&request);
            assert_eq!(admin::Request::decode(&header, &again), Ok(request));
        }
    }
    if let Some(reply) = bytes.first_chunk::<REPLY_LEN>().and_then(Reply::from_bytes) {
        assert_eq!(Reply::from_bytes(&reply.to_bytes()), Some(reply));
    }
    if let Some(bytes) = bytes.first_chunk::<STAT_LEN>() {
        let stat = Stat::from_bytes(bytes);
        assert_eq!(Stat::from_bytes(&stat.to_bytes()), stat);
    }
}

/// Requests with words, with strings, and with both.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let requests: [&dyn Encode; 6] = [
        &front::Request::Hello { protocol: dmlab_shim_proto::PROTOCOL },
        &front::Request::Open { flags: 0o2, mode: 0o600, path: b"/dev/ram0" },
        &front::Request::Read { file: 7, pos: 4096, len: 512, flags: 0, addresses: 0, lengths: 0 },
        &front::Request::Write { file: 7, pos: 0, flags: 0, addresses: 0, lengths: 0, data: b"some data" },
        &front::Request::Symlink { path: b"/dev/mapper/a", other: b"../dm-0" },
        &admin::Request::DmIoctl { cmd: 0xc138_fd07, data: &[0; 312] },
    ];
    let bytes = |request: &&dyn Encode| {
        let mut payload = vec![0; 1024];
        let header = request.encode(&mut payload).expect("1024 bytes are enough");
        payload.truncate(header.len as usize);
        [&header.to_bytes()[..], &payload].concat()
    };
    requests.iter().map(bytes).collect()
}
