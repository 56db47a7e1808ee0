"""Check that a wheel installs exactly the three packages, typed, and nothing else into site-packages."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
top = {name.split("/")[0] for name in names}
expected = {"secagg", "dp", "protocols"}
strangers = {name for name in top - expected if not name.endswith(".dist-info")}
untyped = [package for package in expected if f"{package}/py.typed" not in names]
if strangers or not expected <= top or untyped:
    sys.exit(f"wheel holds {sorted(top)}; unexpected {sorted(strangers)}; without py.typed {untyped}")
print(f"wheel holds {sorted(expected)} and nothing else, {len(names)} files")
