# Filters of traffic control where the kernel has no links at interfaces: what holds governd's programs is
# put back when somebody takes it off, and goes when nobody needs it any more, however the daemon ended.
set -eu
GOVERND=$1
PATIENCE=1800
AGENT=/opt/bot
POLICIES=/opt/filters/policies
STATE=/opt/filters/state

if ! "$GOVERND" doctor | grep -q 'only filters of traffic control'; then
    echo "links hold the programs here"
    exit 0
fi

policy() {
    printf '%s\n' 'apiVersion: governd.dev/v1' 'kind: HostPolicy' 'metadata: {name: default}' \
        'spec: {mode: monitor}' --- 'apiVersion: governd.dev/v1' 'kind: Agent' 'metadata: {name: bot}' \
        'spec:' '  owner: {name: Dana Smith, mail: dana@acme.example}' "  mode: $1" \
        "  match: [{exe: $AGENT}]" '  egress: {default: deny}' > "$POLICIES/host.yaml"
}

begin() {
    "$GOVERND" run --policy "$POLICIES" --state-dir "$STATE" > /opt/filters/daemon.log 2>&1 &
    daemon=$!
}

end() {
    kill -9 "$daemon"
    wait "$daemon" || true
}

# Until a condition holds.
await() {
    deadline=$(($(date +%s) + PATIENCE))
    until "$@"; do
        if [ "$(date +%s)" -ge "$deadline" ]; then
            echo "never: $*"
            cat /opt/filters/daemon.log
            exit 1
        fi
        sleep 0.2
    done
}

elsewhere() {
    nsenter --net="/proc/$other/ns/net" "$@"
}

is_elsewhere() {
    [ "$(readlink /proc/self/ns/net)" != "$(readlink "/proc/$other/ns/net")" ]
}

is_covered() {
    tc filter show dev lo egress | grep -q 'governd-[a-z]*+clsact' &&
        elsewhere tc filter show dev lo egress | grep -q governd-wire
}

# And the qdisc that somebody else made stays.
is_clear() {
    ! tc filter show dev lo egress | grep -q governd- && ! tc qdisc show dev lo | grep -q clsact &&
        ! elsewhere tc filter show dev lo egress | grep -q governd- &&
        elsewhere tc qdisc show dev lo | grep -q clsact
}

is_told() {
    grep -rq '"tampering"' "$STATE"
}

mkdir -p "$POLICIES"
cp -L /usr/bin/python3 "$AGENT"
unshare --net sleep 100000 &
other=$!
await is_elsewhere
elsewhere tc qdisc add dev lo clsact

policy enforce
begin
await is_covered
echo "covered"
tc qdisc del dev lo clsact
await is_covered
await is_told
echo "put back and told"
end
is_covered
policy monitor
begin
await is_clear
echo "clear when nobody is enforced any more"
end
policy enforce
begin
await is_covered
end
"$GOVERND" stop --detach
is_clear
echo "clear when governd left"
kill "$other"
