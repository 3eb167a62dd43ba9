# What the steps share. Each step is a script of its own that ends at the first command that fails.
set -eu

# Of the documentation's own addresses (RFC 5737); this machine has both, and no network.
ALLOWED=192.0.2.10
FORBIDDEN=192.0.2.66
AGENT=/opt/agents/aider
PINS=/sys/fs/bpf/governd
# Seconds that an emulator may take for what takes one.
PATIENCE=1800

fail() {
    echo "failed: $*"
    systemctl status --no-pager --lines 0 governd || true
    journalctl --no-pager --lines 40 --unit governd || true
    exit 1
}

# Waits until a command succeeds.
await() {
    deadline=$(($(date +%s) + PATIENCE))
    while [ "$(date +%s)" -lt "$deadline" ]; do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 1
    done
    fail "in vain for $PATIENCE s: $*"
}

is_active() { [ "$(systemctl is-active governd)" = active ]; }
runs_version() { is_active && governd status | grep -qF "$1, pid"; }
main_pid() { systemctl show --property MainPID --value governd; }
# Whether another process took the place of one, and is ready: it is none while systemd ends the old one.
runs_instead_of() {
    new=$(main_pid)
    [ "$new" != 0 ] && [ "$new" != "$1" ] && is_active
}

# Whether the agent gets through to an address. Connecting a datagram socket asks the same question as
# any connection and needs no server.
reaches() {
    "$AGENT" -c '
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    try: s.connect((sys.argv[1], 9))
    except PermissionError: sys.exit(1)
' "$1"
}

is_enforced() { reaches "$ALLOWED" && ! reaches "$FORBIDDEN"; }
