use super::*;

#[test]
fn memory_of_a_returned_chunk_leaves_the_process() {
    // By a mapping of its own: what others free meanwhile does not matter.
    let piece: &mut MmapMut = Box::leak(Box::new(MmapMut::map_anon(CHUNKS_PER_PIECE * CHUNK).unwrap()));
    // A mark that nothing else has: the host lists the mapping by itself.
    piece.advise(Advice::DontFork).unwrap();
    piece.fill(7);
    let begin = format!("{:x}-", piece.as_ptr() as usize);
    let resident = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&begin));
        let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the mapping is there");
        rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    assert!(resident() >= CHUNKS_PER_PIECE * CHUNK);
    for chunk in piece.chunks_mut(CHUNK) {
        assert!(return_to_host(chunk));
    }
    assert!(resident() < CHUNK, "{} bytes stayed", resident());
    assert!(piece.iter().all(|&byte| byte == 0));
}

#[test]
fn many_free_chunks_do_not_stay_and_hold_zeros_when_taken_again() {
    let many: Vec<ChunkMemory> = (0..MAX_KEPT + 40)
        .map(|_| {
            let mut chunk = ChunkMemory::zeros();
            chunk.fill(9);
            chunk
        })
        .collect();
    drop(many);
    assert!(FREE.lock().used.len() <= MAX_KEPT);
    let again: Vec<ChunkMemory> = (0..MAX_KEPT + 40).map(|_| ChunkMemory::zeros()).collect();
    assert!(again.iter().all(|chunk| chunk.iter().all(|&byte| byte == 0)));
}

#[test]
fn a_chunk_is_zeros_whatever_it_was() {
    for round in 1..=3 {
        let mut many: Vec<ChunkMemory> = (0..CHUNKS_PER_PIECE + 3).map(|_| ChunkMemory::zeros()).collect();
        assert!(many.iter().all(|chunk| chunk.len() == CHUNK && chunk.iter().all(|&b| b == 0)));
        assert!(many.iter().all(|chunk| (chunk.as_ptr() as usize).is_multiple_of(4096)));
        many.iter_mut().for_each(|chunk| chunk.fill(round));
        assert!(*ChunkMemory::copy_of(&many[7]) == *many[7]);
    }
}
