# IO hints of a pool and its thin devices over striped data devices.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
show() { for d; do echo "$d $(/usr/sbin/blockdev --getiomin --getioopt --getmaxsect /dev/mapper/$d | tr '\n' ' ')"; done; }
dm create meta --table '0 8192 linear /dev/ram0 0'
for chunk in 16 96 128 192 256 1024; do
  dm create data --table "0 $((chunk * 256)) striped 2 $chunk /dev/ram1 0 /dev/ram2 0"
  for block in 128 256 384; do
    dm create pool --table "0 $((chunk * 256)) thin-pool /dev/mapper/meta /dev/mapper/data $block 0"
    dmsetup message pool 0 'create_thin 0'
    dm create t --table "0 3072 thin /dev/mapper/pool 0"
    show data pool t
    dmsetup remove t; dmsetup remove pool
    dd if=/dev/zero of=/dev/mapper/meta bs=4k count=1 oflag=direct 2>/dev/null
  done
  dmsetup remove data
done
