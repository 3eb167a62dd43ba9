"""Checks Kubernetes objects against the published schemas, which refuse unknown fields.

python3 validate.py VERSION... < objects.yaml: prints `KIND/NAME` for each object, or `VERSION KIND/NAME: why`, and
fails, for each that does not fit. Objects of other groups than Kubernetes' own have no schema there: `skipped`.
"""

import functools
import sys

import kubernetes_validate
import yaml

# Megabytes, which are read again for each object otherwise.
utils = kubernetes_validate.utils
utils.schema_contents = functools.cache(utils.schema_contents)

OWN_GROUP = "governd.dev/"

failed = False
objects = [each for each in yaml.safe_load_all(sys.stdin) if each]
for each in objects:
    name = f"{each['kind']}/{each['metadata']['name']}"
    if each["apiVersion"].startswith(OWN_GROUP):
        print(f"{name} skipped")
        continue
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except Exception as error:
            failed = True
            print(f"{version} {name}: {error}")
    print(name)
sys.exit(failed)
