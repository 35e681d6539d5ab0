#!/usr/bin/env bash
# Interactive use on a terminal: job control inside, the sandbox as a job of the shell outside, Ctrl-C once.
# run-as: nobody root
. "$(dirname "$0")/lib.sh"
require script

# A terminal with an interactive bash on it, driven through a fifo.
mkfifo keys
: >screen
# The runner started us in the background, with SIGINT and SIGQUIT ignored.
script -qefc 'env --default-signal=INT,QUIT PS1="OUTER> " bash --norc --noprofile --noediting -i' screen <keys >/dev/null 2>&1 &
terminal=$!
trap 'kill -HUP $terminal 2>/dev/null || true' EXIT
exec 9>keys
seen=0

press() { printf %b "$1" >&9; }
type_line() { press "$1\n"; }
new() { tail -c +$((seen + 1)) screen | tr -d '\r'; }
shows() { new | grep -qE -e "$1"; }
# expect REGEX: waits for a line that matches and forgets what came before.
expect() {
  local deadline=$((SECONDS + 60))
  until shows "$1"; do
    [ $SECONDS -lt $deadline ] || fail "no '$1' on the screen; since the last match: $(new)"
    read -r -t 0.02 <> <(:) || true
  done
}
# Ctrl-C and Ctrl-\\ throw away what is typed behind them: wait for the prompt.
interrupt() { # KEY PROMPT
  forget
  press "$1"
  expect "^(\\^.)?$2\$"
  forget
}
forget() { seen=$(stat -c %s screen); }
# The mark is split in the text, so that the echo of what is typed does not match.
settle() { # waits until the shell in front has taken what was typed
  mark=$((${mark:-0} + 1))
  type_line "echo mark''-$mark"
  expect "^(.*> )?mark-$mark"
  forget
}

settle
# A shell in the sandbox with job control of its own.
type_line "$LOOPFS run -- bash --norc --noprofile --noediting -i"
type_line "PS1='INN''ER> '"
expect 'INNER> '
forget
type_line 'tty'
expect '^/dev/console'
type_line 'sleep 61'
wait_for 10 pgrep -fx 'sleep 61'
press '\x1a'
expect 'Stopped +sleep 61'
forget
type_line 'fg'
expect '^sleep 61'
interrupt '\x03' 'INNER> '
type_line "echo st''atus=\$?"
expect 'status=130'
forget
# It can be suspended as a job of the shell outside, and comes back.
type_line 'suspend -f'
expect 'Stopped.*run -- bash'
forget
settle
type_line 'fg'
expect 'run -- bash'
settle
type_line 'exit 5'
settle
type_line "\"$LOOPFS\" run -- sh -c 'exit 6'; echo st''atus=\$?"
expect 'status=6'
forget

# A plain command: Ctrl-C reaches it once, Ctrl-Z and fg work, Ctrl-\ ends it.
type_line "\"$LOOPFS\" run -- bash -c 'trap \"n=\\\$((n+1))\" INT; echo rea''dy; for i in 1 2 3 4 5 6; do sleep 0.1; done; echo cou''nt=\$n'"
expect '^ready'
press '\x03'
expect '^(\^C)?count=1'
forget
type_line "$LOOPFS run -- sleep 62"
wait_for 10 pgrep -fx 'sleep 62'
press '\x1a'
expect 'Stopped.*sleep 62'
forget
type_line 'bg'
settle
type_line 'fg'
expect 'sleep 62'
interrupt '\x03' 'OUTER> '
type_line "echo st''atus=\$?"
expect 'status=130'
forget
type_line "(ulimit -c 0; exec $LOOPFS run -- sleep 63)"
wait_for 10 pgrep -fx 'sleep 63'
interrupt '\x1c' '.*OUTER> '
type_line "echo st''atus=\$?"
expect 'status=131'
forget

# In the background it stops when it reads the terminal.
type_line "$LOOPFS run -- cat &"
expect '\[1\]'
settle
wait_for 10 bash -c "ps -o stat= -C cat | grep -q T"
settle
type_line 'fg'
type_line "he''llo"
expect "^he''llo"
press '\x04'
settle

# A shell without job control gets its terminal back from a shell in the sandbox that had taken it.
type_line "sh -c '\"$LOOPFS\" run -- bash --norc -ic \"exit 0\"; read x; echo g''ot=\$x'"
type_line 'abc'
expect 'got=abc'
forget

type_line 'exit'
exec 9>&-
wait $terminal || true
