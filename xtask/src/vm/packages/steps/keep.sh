# A person stops the agent, and the host goes down: what its disk has now is what it has afterwards.
governd quarantine aider
is_stopped() { ! reaches "$ALLOWED"; }
await is_stopped
systemctl stop governd
governd audit query --agent aider --limit 1 --json >/etc/kept.json
[ -s /etc/kept.json ] || fail "no record of the agent"
stty -F /dev/ttyS2 raw
# To a terminal itself tar would not write.
tar -C / -cz -f - etc var/lib/governd | cat >/dev/ttyS2
systemctl start governd
is_stopped || fail "the quarantine ended with the daemon"
governd release aider
await is_enforced
