ip address add "$ALLOWED/32" dev lo
ip address add "$FORBIDDEN/32" dev lo
! reaches "$ALLOWED" || fail "the quarantine ended with the host"
governd release aider
await is_enforced
# The log goes on where it ended, under the same key.
governd audit verify
governd audit query --agent aider --limit 1 --json | cmp - /etc/kept.json || fail "another log than before"
