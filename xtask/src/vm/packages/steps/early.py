import socket

# This machine has none of these addresses yet: what the policy lets pass ends with "unreachable". In quarantine
# not even a socket is made.
for address in ("192.0.2.10", "192.0.2.66"):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect((address, 9))
            print(address, "passed")
    except PermissionError:
        print(address, "refused")
    except OSError as error:
        print(address, "unreachable", error)
