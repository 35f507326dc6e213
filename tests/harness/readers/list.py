"""Reads an archive with Python's tarfile: argv is the mode, the archive and an empty folder to unpack into.

Prints each file's digest; the streaming mode unpacks as well, with the filter that refuses what is unsafe.
"""

import hashlib
import pathlib
import sys
import tarfile

mode, archive, folder = sys.argv[1:]
with tarfile.open(archive, mode) as tar:
    if mode == "r|gz":
        tar.extractall(folder, filter="data")
        for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file()):
            print(hashlib.sha256(path.read_bytes()).hexdigest(), "", path.relative_to(folder))
    else:
        for member in tar:
            if member.isfile():
                print(hashlib.sha256(tar.extractfile(member).read()).hexdigest(), "", member.name)
            elif not member.isdir():
                sys.exit(f"{member.name} has type {member.type!r}")
