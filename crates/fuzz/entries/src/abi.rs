//! The ioctl codec: every decoder on the same bytes.

use dmlab_abi::{
    DmFlags, Geometry, HEADER_SIZE, Header, NameEntry, TargetSpec, TargetSpecs, TargetVersion, decode_deps,
    decode_names, decode_status, decode_versions, encode_deps, encode_load_payload, encode_names,
    encode_versions, nul_terminated,
};
use dmlab_units::{DevT, Sector, Sectors};

/// Specs walked at most: what a request may claim is far more than its bytes hold.
const SPECS_MAX: usize = 1 << 16;

/// Takes `bytes` for a request and for the payload of each kind of reply.
pub(crate) fn decode(bytes: &[u8]) {
    if let Ok(mut header) = Header::decode(bytes) {
        let (start, count) = (header.data_start(), header.target_count());
        let walked = TargetSpecs::new(bytes, start, count).take(SPECS_MAX).count();
        assert!(walked <= bytes.len() + 1, "{walked} specs out of {} bytes", bytes.len());
        if let Some(text) = nul_terminated(bytes, start) {
            assert!(text.len() < bytes.len());
            let _ = Geometry::parse(text);
        }
        header.terminate_strings();
        assert!(header.name().len() <= 127 && header.uuid().len() <= 128);
        assert_eq!(Header::decode(header.as_bytes()).as_ref(), Ok(&header));
        let payload = bytes.get(start as usize..).unwrap_or_default();
        let specs = decode_status(payload, count);
        assert!(specs.len() <= bytes.len(), "{} status lines out of {} bytes", specs.len(), bytes.len());
    }
    if let Ok(names) = decode_names(bytes) {
        // A list ends at device 0; only bits that encode nothing can name it and go on.
        if names.iter().all(|entry| entry.dev.to_huge() != 0) {
            assert_eq!(decode_names(&encode_names(&names)).as_ref(), Ok(&names));
        }
    }
    if let Ok(versions) = decode_versions(bytes) {
        let again = decode_versions(&encode_versions(&versions));
        assert!(again.is_ok_and(|again| versions.is_empty() || again == versions));
    }
    if let Ok(devs) = decode_deps(bytes) {
        assert_eq!(decode_deps(&encode_deps(&devs, 0)), Ok(devs));
    }
}

/// A request and a reply of each kind.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let spec = |start, kind: &str, params: &str| TargetSpec {
        start: Sector(start),
        len: Sectors(8),
        target_type: kind.into(),
        params: params.into(),
    };
    let with = |payload: Vec<u8>| {
        let mut header = Header::request([4, 48, 0], (HEADER_SIZE + payload.len()) as u32, DmFlags::empty());
        header.set_target_count(2);
        header.set_name(b"a").expect("one byte");
        [&header.as_bytes()[..], &payload].concat()
    };
    let entry = |minor, uuid: Option<&str>| NameEntry {
        dev: DevT::new(254, minor),
        name: b"name".to_vec(),
        event_nr: 1,
        uuid: Some(uuid.map(|u| u.as_bytes().to_vec())),
    };
    vec![
        with(encode_load_payload(&[spec(0, "linear", "/dev/ram0 0"), spec(8, "zero", "")])),
        with(b"10 20 30 40\0".to_vec()),
        encode_names(&[entry(0, Some("U-1")), entry(300, None)]),
        encode_versions(
            &["linear", "zero"].map(|name| TargetVersion { name: name.into(), version: [1, 4, 0] }),
        ),
        encode_deps(&[DevT::new(1, 1), DevT::new(254, 3)], 0),
    ]
}
