# Opens every image of the folder IMAGES and says what it finds. The images are not changed; a copy is.
IMAGES=${IMAGES:-/job/in/images}
load() { dd if=/dev/zero of=/dev/$2 bs=1M count=4 2>/dev/null; dd if="$1" of=/dev/$2 bs=4k oflag=direct conv=notrunc 2>/dev/null; }
hash() { dd if=$1 bs=64k iflag=direct 2>/dev/null | sha256sum | cut -c1-64; }
for image in "$IMAGES"/0*.origin.img; do
  name=${image##*/}; name=${name%.origin.img}; cow=$IMAGES/$name.img
  load "$image" ram0; load "$cow" ram1; size=$(($(wc -c <"$cow") / 512))
  dmsetup create real --table '0 2048 linear /dev/ram0 0'; dmsetup create cow --table "0 $size linear /dev/ram1 0"
  dmsetup create s --table '0 2048 snapshot /dev/mapper/real /dev/mapper/cow P 0'
  echo "$name: $(dmsetup status s), $(dmsetup table s | cut -d ' ' -f 6-)"
  echo "$name: holds $(hash /dev/mapper/s)"
  dmsetup remove s
  dmsetup create s --table '0 2048 snapshot-merge /dev/mapper/real /dev/mapper/cow P 0'
  sleep 1; echo "$name: $(dmsetup status s)"
  echo "$name: merged $(hash /dev/mapper/real), its store $(hash /dev/mapper/cow)"
  dmsetup remove s; dmsetup remove cow; dmsetup remove real
done
awk 'BEGIN { for (i = 0; i < 16448; i++) printf "%063d\n", 7 }' >ones # a leg in which every sector tells that it was copied
for image in "$IMAGES"/1*.img; do
  name=${image##*/}; name=${name%.img}
  set -- 2048 64; [ $name != 13-many-regions ] || set -- 2056 16
  load ones ram0; dd if=/dev/zero of=/dev/ram1 bs=1M count=4 2>/dev/null; load "$image" ram2
  for d in 0 1; do dmsetup create leg$d --table "0 $1 linear /dev/ram$d 0"; done
  dmsetup create log --table '0 64 linear /dev/ram2 0'
  dmsetup create m --table "0 $1 mirror disk 2 /dev/mapper/log $2 2 /dev/mapper/leg0 0 /dev/mapper/leg1 0"
  sleep 1; echo "$name: $(dmsetup status m)"
  copied='' region=0
  while [ $((region * $2)) -lt $1 ]; do
    [ "$(dd if=/dev/mapper/leg1 bs=4k skip=$((region * $2 / 8)) count=1 iflag=direct 2>/dev/null | head -c 1)" != 0 ] || copied="$copied $region"
    region=$((region + 1)); done
  dmsetup remove m; echo "$name: copied regions${copied:- none}, log $(hash /dev/mapper/log)"
  dmsetup remove log; dmsetup remove leg0; dmsetup remove leg1
done
