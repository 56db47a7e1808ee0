"""What a release is made of and held to; nothing of it is installed with the package.

source        the tracked files, and clean copies of a commit
contents      which files a wheel and an sdist hold, and nothing else
dist          both, built twice under different circumstances, byte for byte equal      make dist
environments  bare environments with the wheel and at most one extra
bare          the command, from the wheel alone and outside any checkout                make test-release
extras        whether what each extra brings agrees with itself                         make check-extras
declared      what pyproject.toml asks for, and why (reasons.toml)
licences      how a package may be used, and whether that goes with ours
dependencies  the page of all that is installed, with version, licence and size         make dependencies
sbom          the same for machines, in CycloneDX                                       make sbom
"""
