killed=$(main_pid)
kill -KILL "$killed"
is_enforced || fail "not enforced while no daemon runs"
is_restarted() { is_active && [ "$(main_pid)" != "$killed" ]; }
await is_restarted
is_enforced || fail "not enforced after the restart"
