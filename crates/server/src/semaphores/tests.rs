use super::*;
use dmlab_shim_proto::{SemaphoreStatus, semaphore_commands as commands};

fn by(pid: i32) -> Caller {
    Caller { pid, uid: 0, gid: 0, now: 1000 + i64::from(pid) }
}

fn user(uid: u32, gid: u32) -> Caller {
    Caller { uid, gid, ..by(9) }
}

fn op(number: u16, by: i16) -> SemaphoreOperation {
    SemaphoreOperation::new(number, by)
}

fn ask(table: &mut Table, caller: Caller, set: i32, number: i32, command: i32) -> Result<i64, Errno> {
    let what = Command { number, command, argument: 0, data: &[] };
    table.control(caller, set, what).map(|(value, _)| value)
}

fn value(table: &mut Table, set: i32, number: i32) -> i64 {
    ask(table, by(1), set, number, commands::GETVAL).unwrap()
}

fn set_value(table: &mut Table, set: i32, number: i32, value: i32) -> Result<(i64, Vec<u8>), Errno> {
    table.control(by(1), set, Command { number, command: commands::SETVAL, argument: value, data: &[] })
}

/// Begins a wait of a process for operations.
fn wait(table: &mut Table, pid: i32, set: i32, operations: &[SemaphoreOperation]) -> WaitNumber {
    match table.operate(by(pid), set, operations.to_vec()) {
        Ok(Begun::Waits(number)) => number,
        other => panic!("does not wait: {other:?}"),
    }
}

fn with_set(len: i32) -> (Table, i32) {
    let mut table = Table::default();
    let set = table.get(by(1), 7, len, IPC_CREAT | 0o600).unwrap();
    (table, set)
}

#[test]
fn a_place_is_used_again_with_another_number() {
    let mut table = Table::default();
    let make = |table: &mut Table| table.get(by(1), IPC_PRIVATE, 1, 0o600).unwrap();
    let kept = make(&mut table);
    let first = make(&mut table);
    assert_eq!((kept, first), (0, 1));
    ask(&mut table, by(1), first, 0, commands::IPC_RMID).unwrap();
    assert_eq!(ask(&mut table, by(1), first, 0, commands::GETVAL), Err(Errno::EINVAL));
    // As on Linux, the places are used in turn.
    for expected in 2..64 {
        let set = make(&mut table);
        assert_eq!(set, expected);
        ask(&mut table, by(1), set, 0, commands::IPC_RMID).unwrap();
    }
    let again = make(&mut table);
    assert_eq!(again, 1 << 15 | 1);
    assert_eq!(ask(&mut table, by(1), first, 0, commands::GETVAL), Err(Errno::EINVAL));
    assert_eq!(ask(&mut table, by(1), 1, 0, commands::SEM_STAT), Ok(again.into()));
}

#[test]
fn operations_are_all_done_or_none() {
    let (mut table, set) = with_set(2);
    set_value(&mut table, set, 1, 4).unwrap();
    let short = [op(0, 2), op(1, -5).without_wait()];
    assert_eq!(table.operate(by(2), set, short.to_vec()), Err(Errno::EAGAIN));
    assert_eq!((value(&mut table, set, 0), value(&mut table, set, 1)), (0, 4));
    assert_eq!(table.operate(by(2), set, vec![op(0, 2), op(1, -4), op(0, -1)]), Ok(Begun::Done));
    assert_eq!((value(&mut table, set, 0), value(&mut table, set, 1)), (1, 0));
    assert_eq!(table.operate(by(2), set, vec![op(0, 32767)]), Err(Errno::ERANGE));
    assert_eq!(table.operate(by(2), set, vec![op(2, 1)]), Err(Errno::EFBIG));
    assert_eq!(table.operate(by(2), set, vec![op(0, 0); 501]), Err(Errno::E2BIG));
    assert_eq!(table.operate(by(2), set, Vec::new()), Err(Errno::EINVAL));
}

#[test]
fn waits_end_in_their_order_as_far_as_the_value_goes() {
    let (mut table, set) = with_set(2);
    let large = wait(&mut table, 2, set, &[op(0, -3)]);
    let small = wait(&mut table, 3, set, &[op(0, -1)]);
    assert_eq!(ask(&mut table, by(1), set, 0, commands::GETNCNT), Ok(2));
    table.operate(by(1), set, vec![op(0, 1)]).unwrap();
    assert_eq!(table.take_ended(), [(small, Ok(()))]);
    assert_eq!(ask(&mut table, by(1), set, 0, commands::GETPID), Ok(3));
    // One for zero goes before those that alter.
    set_value(&mut table, set, 1, 1).unwrap();
    let zero = wait(&mut table, 4, set, &[op(1, 0)]);
    assert_eq!(ask(&mut table, by(1), set, 1, commands::GETZCNT), Ok(1));
    table.operate(by(1), set, vec![op(1, -1), op(0, 3)]).unwrap();
    assert_eq!(table.take_ended(), [(zero, Ok(())), (large, Ok(()))]);
    let gone = wait(&mut table, 5, set, &[op(0, -1)]);
    table.leave(gone);
    table.operate(by(1), set, vec![op(0, 1)]).unwrap();
    assert_eq!((value(&mut table, set, 0), table.take_ended()), (1, Vec::new()));
}

#[test]
fn a_wait_moves_on_to_the_operation_that_blocks_it() {
    let (mut table, set) = with_set(2);
    let both = wait(&mut table, 2, set, &[op(0, -1), op(1, -1)]);
    table.operate(by(1), set, vec![op(0, 1)]).unwrap();
    assert_eq!(ask(&mut table, by(1), set, 0, commands::GETNCNT), Ok(0));
    assert_eq!(ask(&mut table, by(1), set, 1, commands::GETNCNT), Ok(1));
    ask(&mut table, by(1), set, 0, commands::IPC_RMID).unwrap();
    assert_eq!(table.take_ended(), [(both, Err(Errno::EIDRM))]);
    // Where the next operation must not wait, it ends there.
    let (mut table, set) = with_set(2);
    let both = wait(&mut table, 2, set, &[op(0, -1), op(1, -1).without_wait()]);
    table.operate(by(1), set, vec![op(0, 1)]).unwrap();
    assert_eq!(table.take_ended(), [(both, Err(Errno::EAGAIN))]);
    assert_eq!(value(&mut table, set, 0), 1);
}

#[test]
fn the_end_of_a_process_undoes_what_it_did() {
    let (mut table, set) = with_set(2);
    table.operate(by(2), set, vec![op(0, 5).undone(), op(1, 3).undone()]).unwrap();
    table.operate(by(2), set, vec![op(0, -1).undone()]).unwrap();
    table.operate(by(3), set, vec![op(0, -3)]).unwrap();
    // A value that is set is nobody's doing any more.
    set_value(&mut table, set, 1, 7).unwrap();
    let waiter = wait(&mut table, 4, set, &[op(0, 0)]);
    table.process_ended(2, 5000);
    assert_eq!((value(&mut table, set, 0), value(&mut table, set, 1)), (0, 7));
    assert_eq!(table.take_ended(), [(waiter, Ok(()))]);
    let most = op(0, 32767).undone();
    table.operate(by(5), set, vec![most, op(0, -32767)]).unwrap();
    assert_eq!(table.operate(by(5), set, vec![most]), Err(Errno::ERANGE));
}

#[test]
fn others_need_permission() {
    let mut table = Table::default();
    let set = table.get(user(10, 20), 7, 1, IPC_CREAT | 0o640).unwrap();
    assert_eq!(table.get(user(11, 20), 7, 1, 0o400), Ok(set));
    assert_eq!(table.get(user(11, 20), 7, 1, 0o600), Err(Errno::EACCES));
    assert_eq!(ask(&mut table, user(11, 20), set, 0, commands::GETVAL), Ok(0));
    assert_eq!(ask(&mut table, user(11, 21), set, 0, commands::GETVAL), Err(Errno::EACCES));
    assert_eq!(table.operate(user(11, 20), set, vec![op(0, 1)]), Err(Errno::EACCES));
    assert_eq!(table.operate(user(11, 20), set, vec![op(0, 0)]), Ok(Begun::Done));
    assert_eq!(ask(&mut table, user(11, 20), set, 0, commands::IPC_RMID), Err(Errno::EPERM));
    assert_eq!(ask(&mut table, user(11, 21), 0, 0, commands::SEM_STAT), Err(Errno::EACCES));
    assert_eq!(ask(&mut table, user(11, 21), 0, 0, commands::SEM_STAT_ANY), Ok(set.into()));
    let new = SemaphoreStatus { uid: 11, gid: 22, mode: 0o7604, ..SemaphoreStatus::default() };
    let change = Command { number: 0, command: commands::IPC_SET, argument: 0, data: &new.to_bytes() };
    assert_eq!(table.control(user(11, 20), set, change), Err(Errno::EPERM));
    table.control(user(10, 20), set, change).unwrap();
    let stat = Command { number: 0, command: commands::IPC_STAT, argument: 0, data: &[] };
    let (_, bytes) = table.control(user(11, 20), set, stat).unwrap();
    let status = SemaphoreStatus::from_bytes(&bytes.try_into().unwrap());
    assert_eq!((status.uid, status.gid, status.cuid, status.cgid, status.mode), (11, 22, 10, 20, 0o604));
    assert_eq!((status.key, status.len, status.ctime), (7, 1, 1009));
    assert_eq!(
        table.listing().lines().nth(1),
        Some("         7          0   604          1    11    22    10    20       1009       1009")
    );
}
