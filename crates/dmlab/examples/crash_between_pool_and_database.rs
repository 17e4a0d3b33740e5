//! A daemon that dies between telling the pool of a new device and writing that into its own database.
//!
//! Container engines keep a database of which thin device belongs to which image. Pool and database are two places: a crash
//! between the two updates leaves a device that the database does not know, and the next `create_thin` of the same
//! number fails with EEXIST ("device already exists in pool", as users report it) at every start from then on. The cure
//! is the pool's transaction number, which exists for this: the database is written first, with the number that the
//! pool is going to have; after a crash the two numbers tell which side is ahead.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use dmlab::control::{PoolStatus, ThinPool};
use dmlab::units::{Errno, Sectors};
use dmlab::{Lab, Pool};
use std::collections::BTreeSet;
use std::error::Error;

/// What the daemon has on disk of its own.
#[derive(Clone, Debug, Default)]
struct Database {
    devices: BTreeSet<u64>,
    /// The device that is being made, and the pool's transaction once it is.
    pending: Option<(u64, u64)>,
    transaction: u64,
}

impl Database {
    fn next_id(&self) -> u64 {
        self.devices.last().map_or(0, |last| last + 1)
    }
}

/// Whether the daemon goes on; it may die at each step.
type Alive = bool;

fn create_carelessly(pool: &Pool<'_>, db: &mut Database, dies_between: bool) -> Result<Alive, dmlab::Error> {
    let id = db.next_id();
    pool.create_thin(id)?;
    if dies_between {
        return Ok(false);
    }
    db.devices.insert(id);
    Ok(true)
}

/// In four steps; it dies after `steps` of them.
fn create_carefully(pool: &Pool<'_>, db: &mut Database, steps: u32) -> Result<Alive, dmlab::Error> {
    let (id, next) = (db.next_id(), db.transaction + 1);
    for step in 1..=steps {
        match step {
            1 => db.pending = Some((id, next)),
            2 => pool.create_thin(id)?,
            3 => pool.message(&format!("set_transaction_id {} {next}", db.transaction))?,
            _ => {
                db.devices.insert(id);
                (db.pending, db.transaction) = (None, next);
            }
        }
    }
    Ok(steps == 4)
}

/// What the daemon does when it starts.
fn recover(pool: &Pool<'_>, db: &mut Database) -> Result<(), Box<dyn Error>> {
    let Some((id, next)) = db.pending.take() else { return Ok(()) };
    let PoolStatus::Working { transaction, .. } = pool.status()? else { return Err("the pool works".into()) };
    if transaction == next {
        // The pool had it all: so has the database now.
        db.devices.insert(id);
        db.transaction = next;
    } else if let Err(error) = pool.delete(id)
        && error.errno() != Some(Errno::ENODATA)
    {
        return Err(error.into());
    }
    Ok(())
}

fn new_pool(lab: &Lab) -> Result<Pool<'_>, dmlab::Error> {
    lab.create_pool("pool", Sectors(65536), &ThinPool::new("/dev/ram0", "/dev/ram1", Sectors(128)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let lab = Lab::new(1);
    let (pool, mut db) = (new_pool(&lab)?, Database::default());
    create_carelessly(&pool, &mut db, true)?;
    for start in 1..=2 {
        let again = create_carelessly(&pool, &mut db, false);
        println!("start {start} after the crash: {}", again.as_ref().unwrap_err());
        assert_eq!(again.unwrap_err().errno(), Some(Errno::EEXIST));
    }

    // The careful daemon, killed after each step there is, each time from the same beginning.
    let lab = Lab::new(1);
    new_pool(&lab)?;
    for steps in 0..=4 {
        let lab = lab.fork()?;
        let (pool, mut db) = (lab.pool("pool"), Database::default());
        let alive = create_carefully(&pool, &mut db, steps)?;
        if !alive {
            recover(&pool, &mut db)?;
        }
        let before = db.devices.len();
        assert!(create_carefully(&pool, &mut db, 4)?, "the next device is made");
        println!(
            "killed after step {steps}: {before} devices known, the next one is {:?}",
            db.devices.last()
        );
        assert_eq!(db.devices.len(), before + 1);
    }
    Ok(())
}

#[test]
fn the_example_runs() {
    main().expect("what it asserts holds");
}
