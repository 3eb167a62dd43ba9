killed=$(main_pid)
kill -KILL "$killed"
is_enforced || fail "not enforced while no daemon runs"
await runs_instead_of "$killed"
is_enforced || fail "not enforced after the restart"
