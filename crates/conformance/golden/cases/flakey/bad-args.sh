# Wrong flakey arguments and features, and odd ones that are taken.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }

for a in '' '0 1' 'x 1 1' '0 x 1' '0 1 x' '0 0 0' '0 4294967295 1' '0 4294967295 2' '0 1 1 12' '0 1 1 x' '0 1 1 2 error_reads' '0 1 1 1 foo' \
  '0 1 1 2 error_reads error_reads' '0 1 1 2 drop_writes drop_writes' '0 1 1 2 drop_writes error_writes' '0 1 1 2 error_writes drop_writes' '0 1 1 2 error_writes error_writes' \
  '0 1 1 1 corrupt_bio_byte' '0 1 1 2 corrupt_bio_byte 1' '0 1 1 2 corrupt_bio_byte 1 r 65 0' '0 1 1 4 corrupt_bio_byte 1 r 65 0' '0 1 1 4 corrupt_bio_byte 1 w 1' \
  '0 1 1 5 corrupt_bio_byte 0 r 65 0' '0 1 1 5 corrupt_bio_byte 1 R 65 0' '0 1 1 5 corrupt_bio_byte 1 rx 65 0' '0 1 1 5 corrupt_bio_byte 1 r 256 0' '0 1 1 5 corrupt_bio_byte 1 r 255 x' \
  '0 1 1 5 corrupt_bio_byte x r 255 0' '0 1 1 5 corrupt_bio_byte 1 w 255 4294967295' '0 1 1 6 drop_writes corrupt_bio_byte 1 w 255 0' '0 1 1 6 corrupt_bio_byte 1 w 255 0 error_writes' \
  '0 1 1 1 random_read_corrupt' '0 1 1 1 random_write_corrupt 5' '0 1 1 2 random_read_corrupt x' '0 1 1 2 random_write_corrupt 1000000001' '0 1 1 4 random_read_corrupt 0 random_write_corrupt 0' \
  '0 5 5 1 ERROR_READS' '0 5 5 0 junk more' '0 5 5 1 drop_writes junk' '0 5 5 2 random_read_corrupt 5 drop_writes' '0 5 5 6 error_reads corrupt_bio_byte 1 r 5 0' \
  '0 5 5 10 corrupt_bio_byte 1 r 5 0 corrupt_bio_byte 2 r 6 0' '0 5 5 4 random_read_corrupt 1 random_read_corrupt 2' '524280 5 5'; do
  dm create f --table "0 64 flakey /dev/ram0 $a" && { dm table f; dmsetup remove f; }; done
dm create f --table '0 64 flakey /dev/nope 0 1 1'
dm create f --table '0 64 flakey /dev/nope 0 1 1 1 foo'
