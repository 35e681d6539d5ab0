#!/usr/bin/env bash
# Bytes through a device: dd in every mode, past the end, discard and zero-out keeping the image sparse, and
# fio with its own checksums over buffered, direct, mapped and io_uring I/O.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require dd fio perl

head -c 8M /dev/urandom >data
truncate -s 16M a.img
inside() {
  # range COMMAND START LENGTH: BLKDISCARD or BLKZEROOUT
  range() {
    # shellcheck disable=SC2016 # perl's
    perl -e 'sysopen(my $device, "/dev/loop0", 2) or die "open: $!\n";
      ioctl($device, hex $ARGV[0], my $range = pack("QQ", @ARGV[1, 2])) or die "$!\n"' "$@"
  }
  losetup /dev/loop0 a.img
  dd if=data of=/dev/loop0 bs=64k conv=fsync status=none
  cmp -n 8388608 data /dev/loop0
  dd if=data of=/dev/loop0 bs=64k oflag=direct seek=128 status=none
  cmp -n 8388608 -i 0:8388608 data /dev/loop0
  dd if=/dev/loop0 bs=1M iflag=direct status=none | cmp - a.img
  cmp a.img /dev/loop0

  # the end of the device
  assert_eq "$(dd if=/dev/loop0 bs=1M skip=15 status=none | wc -c)" 1048576
  assert_status 1 dd if=data of=/dev/loop0 bs=1M seek=15 count=2 conv=notrunc
  assert_match "$output" "No space left on device"
  assert_eq "$(stat -c %s a.img)" 16777216 "the backing file does not grow"

  # holes
  sync
  before=$(stat -c %b a.img)
  # not blkdiscard, which wants fstat to say block device: docs/differences.md
  range 1277 0 4194304
  assert_eq "$(head -c 4M /dev/loop0 | tr -d "\0" | wc -c)" 0
  [ "$(stat -c %b a.img)" -le $((before - 4 * 2048)) ] || fail "discard left no hole"
  range 127F 4194304 4194304
  assert_eq "$(head -c 8M /dev/loop0 | tr -d "\0" | wc -c)" 0
  cmp -n 7340032 -i 0:8388608 data /dev/loop0

  verify=(--name=v --filename=/dev/loop0 --size=16M --verify=crc32c --rw=randwrite --verify_fatal=1)
  fio "${verify[@]}" --ioengine=psync --bsrange=4k-64k >fio.log || { cat fio.log; fail "fio psync"; }
  fio "${verify[@]}" --ioengine=psync --direct=1 --bs=4k >fio.log || { cat fio.log; fail "fio direct"; }
  fio "${verify[@]}" --ioengine=libaio --direct=1 --iodepth=16 --bs=4k >fio.log || { cat fio.log; fail "fio libaio"; }
  # fio's mmap engine begins its verification of a block device with MADV_REMOVE, which on a kernel's loop device, too,
  # punches what it has just written: another engine has to look.
  fio "${verify[@]}" --ioengine=mmap --bs=4k --do_verify=0 >fio.log || { cat fio.log; fail "fio mmap"; }
  fio "${verify[@]}" --ioengine=psync --bs=4k --verify_only >fio.log || { cat fio.log; fail "fio mmap, verification"; }
  fio "${verify[@]}" --ioengine=io_uring --iodepth=8 --bs=4k >fio.log 2>&1 ||
    grep -qiE "not permitted|not supported|not loadable" fio.log || { cat fio.log; fail "fio io_uring"; }
  sync /dev/loop0
  cmp a.img /dev/loop0
}
in_sandbox inside
