//! `unstriped` against a plain model: a striped device written down as a list of sectors.

mod kit;

use std::sync::Arc;

use dmlab_abi::DmFlags;
use dmlab_block::{Bio, SyncIo};
use dmlab_machine::BlockDevice;
use dmlab_units::{DevT, Sector};
use kit::Kit;
use proptest::prelude::*;

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
struct Shape {
    stripes: u64,
    chunk: u64,
    /// Of the target.
    chunks: u64,
    stripe: u64,
    offset: u64,
    /// Sectors of another target before it.
    before: u64,
}

fn shape() -> impl Strategy<Value = Shape> {
    (1..9u64, 1..40u64, 1..12u64, any::<prop::sample::Index>(), 0..100u64, 0..20u64).prop_map(
        |(stripes, chunk, chunks, stripe, offset, before)| {
            let stripe = stripe.index(stripes as usize) as u64;
            Shape { stripes, chunk, chunks, stripe, offset, before }
        },
    )
}

impl Shape {
    fn len(&self) -> u64 {
        self.chunk * self.chunks
    }

    /// The sectors of the striped device that are this stripe's, in their order: chunk by chunk, each for the next stripe.
    fn sectors(&self) -> Vec<u64> {
        let mut sectors = Vec::new();
        let (mut sector, mut owner) = (self.offset, 0);
        while sectors.len() < self.len() as usize {
            if owner == self.stripe {
                sectors.extend(sector..sector + self.chunk);
            }
            sector += self.chunk;
            owner = (owner + 1) % self.stripes;
        }
        sectors
    }
}

fn read(device: &Arc<BlockDevice>, at: u64, len: u64) -> Vec<u8> {
    let mut buf = vec![0xee; len as usize * SECTOR];
    SyncIo::default().read(device, Sector(at), &mut buf, |bio| bio).unwrap();
    buf.chunks(SECTOR).map(|sector| sector[0]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Reads and writes of any length reach the stripe's sectors, each its own, and no others.
    #[test]
    fn it_shows_one_stripe(
        shape in shape(),
        ios in prop::collection::vec((any::<prop::sample::Index>(), 1..100u64, prop::option::of(any::<u8>())), 1..20),
    ) {
        let kit = Kit::new();
        let (len, before) = (shape.len(), shape.before);
        let Shape { stripes, chunk, stripe, offset, .. } = shape;
        let mut table = format!("{before} {len} unstriped {stripes} {chunk} {stripe} 1:0 {offset}");
        if before > 0 {
            table = format!("0 {before} linear 1:1 0\n{table}");
        }
        let dev = kit.create("u", &table);
        let device = kit.machine.registry().get(dev).unwrap();
        let disk = kit.machine.registry().get(DevT::new(1, 0)).unwrap();
        let sectors = shape.sectors();
        let span = offset + (len + chunk) * stripes;
        let mut model: Vec<u8> = (0..span).map(|sector| sector as u8).collect();
        let bytes: Vec<u8> = model.iter().flat_map(|&byte| [byte; SECTOR]).collect();
        SyncIo::default().submit(&disk, Bio::write(Sector(0), &bytes)).unwrap();
        for (at, io_len, byte) in ios {
            let at = at.index(len as usize) as u64;
            let io_len = io_len.min(len - at);
            let own = &sectors[at as usize..(at + io_len) as usize];
            match byte {
                Some(byte) => {
                    let data = vec![byte; io_len as usize * SECTOR];
                    SyncIo::default().submit(&device, Bio::write(Sector(before + at), &data)).unwrap();
                    own.iter().for_each(|&sector| model[sector as usize] = byte);
                }
                None => {
                    let want: Vec<u8> = own.iter().map(|&sector| model[sector as usize]).collect();
                    prop_assert_eq!(read(&device, before + at, io_len), want);
                }
            }
            prop_assert_eq!(&read(&disk, 0, span), &model);
        }
    }
}

#[test]
fn large_numbers_are_shown_with_a_sign() {
    let kit = Kit::new();
    kit.create("u", "0 64 unstriped 4294967295 1 4294967294 1:0 0");
    assert_eq!(kit.status("u", DmFlags::STATUS_TABLE), "0 64 unstriped -1 1 -2 1:0 0");
}
