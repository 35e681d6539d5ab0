#!/usr/bin/env bash
# The connections of loopfsd are for all: a user who connects as each of his sub-ids gets those of one user, and others and root
# still get theirs.
# run-as: root
# serial: yes
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/loopfsd_lib.sh"
require python3 setpriv
helper=$TEST_FOLDER/tests/system/helpers/connection_hog.py
start_daemon 412000
ask_as() { setpriv "--reuid=$1" "--regid=$1" --clear-groups timeout 10 "$LOOPFS" ls --socket "$SOCKET"; }
wait_for 20 ask_as 0

mkfifo hold
exec 3<>hold
/usr/bin/python3 "$helper" "$SOCKET" 12345 20 <hold >got 3>&- &
hog=$!
wait_for 30 test -s got
echo "a user with 20 sub-ids got $(cat got) connections"
assert_status 0 ask_as 0
assert_status 0 ask_as 54321
assert_eq "$(cat got)" 32
assert_status 1 ask_as 12345
assert_match "$output" 'user 12345 has 32 connections, the most that one may have'
exec 3>&-
wait $hog
wait_for 10 ask_as 12345
