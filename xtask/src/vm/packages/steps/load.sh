# Starts the agent that tries a forbidden address without end, and an allowed one. It ends, and says what
# it counted, when the file is gone. It leaves most of the only processor to the upgrade:
# a development build takes an emulator long for each record.
touch /run/load
cat >/run/load.py <<'PYTHON'
import os, socket, sys, time
allowed, forbidden = sys.argv[1:]
def passes(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect((address, 9))
            return True
        except PermissionError:
            return False
tried = passed = refused = 0
while os.path.exists("/run/load"):
    tried += 1
    passed += passes(forbidden)
    refused += not passes(allowed)
    time.sleep(0.1)
print("tried", tried, "passed", passed, "refused", refused)
PYTHON
systemd-run --quiet --unit load --property StandardOutput=file:/run/load.txt \
    "$AGENT" /run/load.py "$ALLOWED" "$FORBIDDEN"
