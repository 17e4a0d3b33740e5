# Sourced by every NN-*.sh here. Needs: busybox sh or dash, dmsetup, fio, /dev/ram0 (data) and /dev/ram1 (log), both zero.
# OUT is where images go. Direct io of known size, one at a time, so that every run writes the same log.
OUT=${OUT:-/job/out}
M=/dev/mapper
DS=${DS:-8192}        # data sectors, a multiple of 64
LS=${LS:-16384}       # log sectors, likewise
T=$(mktemp -d)
start() { # [DATA_DEVICE]: the device "l" on a log of LS sectors
  dmsetup create log --table "0 $LS linear /dev/ram1 0"
  dmsetup create l --table "0 $DS log-writes ${1:-/dev/ram0} $M/log"
}
wr() { # DEV BYTES_PER_WRITE OFFSET COUNT FILL [FIO_OPTION...]: direct writes of one byte value, given as 0xNN
  wd=$1 wb=$2 wo=$3 wc=$4 wf=$5; shift 5
  fio --name=w --filename=$M/$wd --allow_file_create=0 --rw=write --ioengine=psync --direct=1 --bs=$wb --offset=$wo \
    --size=$((wb * wc)) --buffer_pattern=$wf "$@" >$T/fio 2>&1 || cat $T/fio
}
forced() { wr "$@" --sync=dsync; }
flush() { dd if=/dev/zero of=$M/$1 bs=4096 count=0 conv=notrunc,fsync 2>/dev/null; }
buffered() { # DEV SKIP_KIB COUNT_KIB LETTER: through the page cache, then fsync
  head -c $(($3 * 1024)) /dev/zero | tr '\0' "$4" | dd of=$M/$1 bs=1024 seek=$2 conv=notrunc,fsync 2>/dev/null
}
trim() { blkdiscard -o $2 -l $3 $M/$1; }
mark() { dmsetup message l 0 mark "$1"; }
status() { dmsetup status l >>$OUT/$NAME.status; }
finish() { # [DATA_DEVICE]: the log, and the hash of the data as they are in the end
  status
  dmsetup remove l
  dmsetup remove log
  dd if=/dev/ram1 of=$OUT/$NAME.img bs=32768 count=$((LS / 64)) 2>/dev/null
  dd if=${1:-/dev/ram0} bs=32768 count=$((DS / 64)) 2>/dev/null | sha256sum | cut -d' ' -f1 >>$OUT/$NAME.status
  rm -rf $T
}
