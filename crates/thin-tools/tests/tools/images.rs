//! Images recorded from Linux, and metadata made here.

use dmlab_thin_tools::{
    Block, BytesMetadata, CheckOptions, Device, DumpOptions, Metadata, Pool, Report, Run, Sink, XmlSink,
    check, dump, read_xml, restore,
};
use dmlab_units::{DataBlock, MetaBlock, Sectors, ThinBlock, ThinId};
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../conformance/golden/thin-metadata")
}

fn read(path: PathBuf) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    } else {
        (&file).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// Names of all recorded images.
pub(crate) fn names() -> Vec<String> {
    let files =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        files.filter_map(|file| file.strip_suffix(".img.gz").map(str::to_owned)).collect();
    names.sort();
    assert!(names.len() >= 18, "{names:?}");
    names
}

/// An image that another program wrote.
pub(crate) fn written(name: &str) -> BytesMetadata {
    BytesMetadata::new(read(folder().join(format!("../thin-writers/{name}.img.gz"))))
}

pub(crate) fn image(name: &str) -> BytesMetadata {
    BytesMetadata::new(read(folder().join(format!("{name}.img.gz"))))
}

/// What `thin_dump` said of an image when it was recorded.
pub(crate) fn recorded_xml(name: &str) -> String {
    let plain = folder().join(format!("{name}.xml"));
    let path = if plain.exists() { plain } else { folder().join(format!("{name}.xml.gz")) };
    String::from_utf8(read(path)).unwrap()
}

pub(crate) fn xml_of(metadata: &BytesMetadata, options: &DumpOptions) -> String {
    let mut xml = Vec::new();
    dump(metadata, options, &mut XmlSink::new(&mut xml)).unwrap();
    String::from_utf8(xml).unwrap()
}

pub(crate) fn restored(xml: &str, nr_blocks: u64) -> BytesMetadata {
    let mut metadata = BytesMetadata::zeroed(nr_blocks);
    let mut sink = restore(&mut metadata).unwrap();
    read_xml(xml.as_bytes(), &mut sink).unwrap();
    drop(sink);
    metadata
}

pub(crate) fn report(metadata: &BytesMetadata) -> Report {
    check(metadata, CheckOptions::default()).unwrap()
}

pub(crate) fn assert_clean(metadata: &BytesMetadata) {
    let report = report(metadata);
    let problems: Vec<String> =
        report.problems.iter().chain(&report.remarks).map(ToString::to_string).collect();
    assert!(report.is_clean() && report.remarks.is_empty() && report.counts_compared, "{problems:#?}");
}

/// A pool with `devices` devices of `mappings` scattered mappings each; blocks are shared between devices now and then.
pub(crate) fn made(devices: u64, mappings: u64, nr_blocks: u64) -> BytesMetadata {
    let mut metadata = BytesMetadata::zeroed(nr_blocks);
    let mut sink = restore(&mut metadata).unwrap();
    let nr_data_blocks = devices * mappings + 1000;
    let data_block_size = Sectors(128);
    sink.pool(&Pool { time: 3, transaction: 7, flags: 0, version: 2, data_block_size, nr_data_blocks })
        .unwrap();
    for id in 0..devices {
        let id = ThinId(id * 3);
        let (mapped_blocks, transaction, creation_time, snap_time) = (mappings, 1, 2, 3);
        sink.device(&Device { id, mapped_blocks, transaction, creation_time, snap_time }).unwrap();
        for i in 0..mappings {
            // The first tenth is the same in all devices.
            let data = if i < mappings / 10 { i } else { (i * 7919 + id.0 * 13) % nr_data_blocks };
            let (begin, data) = (ThinBlock(i * 2), DataBlock(data));
            sink.run(&Run { begin, data, length: 1, time: (i % 3) as u32 }).unwrap();
        }
        sink.end_device().unwrap();
    }
    sink.end_pool().unwrap();
    drop(sink);
    metadata
}

#[test]
fn recorded_images_are_clean_and_dump_as_recorded() {
    for name in names() {
        let metadata = image(&name);
        assert_clean(&metadata);
        assert_eq!(xml_of(&metadata, &DumpOptions::default()), recorded_xml(&name), "{name}");
    }
}

#[test]
fn what_is_restored_from_a_dump_dumps_the_same() {
    for name in names() {
        let xml = recorded_xml(&name);
        let metadata = restored(&xml, 512);
        assert_clean(&metadata);
        assert_eq!(xml_of(&metadata, &DumpOptions::default()), xml, "{name}");
    }
    let metadata = made(5, 70_000, 3000);
    assert_clean(&metadata);
    let xml = xml_of(&metadata, &DumpOptions::default());
    assert_eq!(xml_of(&restored(&xml, 3000), &DumpOptions::default()), xml);
}

#[test]
fn definitions_are_used_where_they_are_referred_to() {
    let xml = r#"<superblock uuid="" time="1" transaction="0" flags="0" version="2" data_block_size="128" nr_data_blocks="100">
  <def name="a"><range_mapping origin_begin="5" data_begin="50" length="3" time="0"/></def>
  <device dev_id="1" mapped_blocks="3" transaction="0" creation_time="0" snap_time="1"><ref name="a"/></device>
  <device dev_id="2" mapped_blocks="4" transaction="0" creation_time="1" snap_time="1">
    <ref name="a"/><single_mapping origin_block="9" data_block="9" time="1"/>
  </device>
</superblock>"#;
    let metadata = restored(xml, 64);
    assert_clean(&metadata);
    let run = "<range_mapping origin_begin=\"5\" data_begin=\"50\" length=\"3\" time=\"0\"/>";
    assert_eq!(xml_of(&metadata, &DumpOptions::default()).matches(run).count(), 2);
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let fail = |xml: &str, nr_blocks| {
        let mut metadata = BytesMetadata::zeroed(nr_blocks);
        let mut sink = restore(&mut metadata).unwrap();
        read_xml(xml.as_bytes(), &mut sink).unwrap_err().to_string()
    };
    let pool = |body: &str| {
        format!(
            r#"<superblock time="0" transaction="0" data_block_size="128" nr_data_blocks="10"><device dev_id="4" mapped_blocks="1" transaction="0" creation_time="0" snap_time="0">{body}</device></superblock>"#
        )
    };
    let map = |at, data| format!(r#"<single_mapping origin_block="{at}" data_block="{data}" time="0"/>"#);
    let beyond = fail(&pool(&map(3, 10)), 64);
    assert_eq!(beyond, "thin device 4: virtual block 3 maps to data block 10, there are 10");
    let twice = fail(&pool(&(map(3, 1) + &map(3, 2))), 64);
    assert_eq!(twice, "thin device 4: virtual block 3 is mapped twice");
    assert!(fail(&pool(&map(3, 1)), 5).contains("more than the 5 blocks"));
    assert!(fail("<superblock", 64).contains("byte 0"));
    assert!(fail("<superblock time=\"x\">", 64).contains("`time` is `x`"));
    assert!(fail("<device/>", 64).contains("<device> may not stand outside of <superblock>"));
    assert!(fail(&pool("<ref name=\"q\"/>"), 64).contains("nothing is defined as `q`"));
    assert_eq!(fail("", 64), "the text ends before </superblock>");
}

/// A device of exabytes that begins with metadata.
struct Vast(BytesMetadata);

impl Metadata for Vast {
    fn nr_blocks(&self) -> u64 {
        u64::MAX / 4096
    }

    fn read(&self, block: MetaBlock, into: &mut Block) -> std::io::Result<()> {
        if block.0 < self.0.nr_blocks() {
            return self.0.read(block, into);
        }
        into.fill(0);
        Ok(())
    }
}

#[test]
fn the_end_of_a_device_that_is_too_large_costs_nothing() {
    let metadata = Vast(image("11-rand1400"));
    assert!(check(&metadata, CheckOptions::default()).unwrap().is_clean());
}

#[test]
fn a_restored_index_block_holds_nothing_but_its_entries() {
    use dmlab_formats::index::{INDEX, IndexBlock};
    let metadata = restored(&recorded_xml("05-snapshots"), 512);
    let superblock = dmlab_thin_tools::read_superblock(&metadata, MetaBlock(0)).unwrap();
    let block = superblock.metadata_space_map.bitmap_root;
    let (mut found, mut wanted) = ([0; 4096], [0; 4096]);
    metadata.read(block, &mut found).unwrap();
    IndexBlock::decode(&found).encode(&mut wanted);
    INDEX.seal(block, &mut wanted);
    assert!(found == wanted, "bytes between the fields are zero");
}
