# Partition tables, sound and damaged. `show DISK` reads its table and says what came of it.
show() {
	$BLKPG $1 rrpart
	grep "${1#/dev/}p" /proc/partitions
	news
}
gpt() {
	printf 'label: gpt\nlabel-id: 11111111-2222-3333-4444-555555555555\nsize=20480, name="first"\nsize=8192, name="swäp two"\n' | sfdisk -q $1
	news >/dev/null
}
dos() {
	dd if=/dev/zero of=/dev/ram7 bs=512 count=100 2>/dev/null
	printf 'label: dos\nstart=2048,size=20480\nstart=30000,size=4096\n' | sfdisk -q /dev/ram7
	news >/dev/null
}
put() { dd of=$1 bs=1 seek=$2 conv=notrunc 2>/dev/null; }
news >/dev/null
echo "## dos with logical partitions"
printf 'label: dos\nstart=2048, size=20480, type=83\nstart=22528, size=8192, type=82, bootable\nsize=40960, type=5\nsize=4096,type=83\nsize=6144,type=8e\n' | sfdisk -q /dev/ram1
show /dev/ram1
echo "## gpt"
gpt /dev/ram2
show /dev/ram2
dd if=/dev/zero of=/dev/ram2 bs=1M count=1 2>/dev/null
echo "## nothing"
show /dev/ram2
echo "## gpt: first header"; gpt /dev/ram5; dd if=/dev/zero of=/dev/ram5 bs=512 seek=1 count=1 2>/dev/null; show /dev/ram5
echo "## gpt: entries"; gpt /dev/ram5 2>/dev/null; printf x | put /dev/ram5 1100; show /dev/ram5
echo "## gpt: second header"; gpt /dev/ram5 2>/dev/null; dd if=/dev/zero of=/dev/ram5 bs=512 seek=524287 count=1 2>/dev/null; show /dev/ram5
echo "## gpt: guard"; gpt /dev/ram5 2>/dev/null; dd if=/dev/zero of=/dev/ram5 bs=512 count=1 2>/dev/null; show /dev/ram5
echo "## gpt: guard of another size"; gpt /dev/ram5 2>/dev/null; printf '\1\0\0\0' | put /dev/ram5 458; show /dev/ram5
echo "## gpt: guard elsewhere"; gpt /dev/ram5 2>/dev/null; printf '\2\0\0\0' | put /dev/ram5 454; show /dev/ram5
echo "## gpt of a smaller disk"; truncate -s 32M $TMP/s; printf 'label: gpt\nsize=20480\nsize=8192\n' | sfdisk -q $TMP/s; dd if=$TMP/s of=/dev/ram6 bs=1M 2>/dev/null; show /dev/ram6
echo "## gpt of a larger disk"; truncate -s 512M $TMP/s2; printf 'label: gpt\nsize=20480\nsize=8192\nsize=1000000\n' | sfdisk -q $TMP/s2; dd if=$TMP/s2 of=/dev/ram6 bs=1M count=4 2>/dev/null; show /dev/ram6
echo "## dos of a larger disk"; truncate -s 1G $TMP/s3; printf 'label: dos\nstart=2048,size=20480\nstart=500000,size=100000\nstart=700000,size=10000\nstart=800000,type=5\nstart=802000,size=100\n' | sfdisk -q $TMP/s3; dd if=$TMP/s3 of=/dev/ram6 bs=1M count=4 2>/dev/null; show /dev/ram6
echo "## dos: boot indicator 1"; dos; printf '\1' | put /dev/ram7 446; show /dev/ram7
echo "## dos: boot indicator 2"; dos; printf '\1' | put /dev/ram7 462; show /dev/ram7
echo "## dos: fat"; dos; printf '\1' | put /dev/ram7 446; printf '\1\0\2' | put /dev/ram7 14; printf '\370' | put /dev/ram7 21; show /dev/ram7
echo "## dos: no end mark"; dos; printf '\0' | put /dev/ram7 510; show /dev/ram7
echo "## dos: overlapping"; dos; printf '\0\10\0\0\0\20\0\0' | put /dev/ram7 470; show /dev/ram7
echo "## dos: a chain"; dd if=/dev/zero of=/dev/ram7 bs=1M count=1 2>/dev/null; printf 'label: dos\nstart=2048,size=80000,type=f\nstart=4096,size=2048\nstart=10000,size=2048\nstart=20000,size=2048\n' | sfdisk -q /dev/ram7; show /dev/ram7
echo "## loop"
truncate -s 64M $TMP/f; printf 'label: gpt\nsize=20480\nsize=8192\n' | sfdisk -q $TMP/f
losetup /dev/loop0 $TMP/f; news; losetup -d /dev/loop0; news
losetup -P /dev/loop0 $TMP/f; news; grep loop0 /proc/partitions; losetup -d /dev/loop0; news
