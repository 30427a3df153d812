#!/usr/bin/env bash
# Makes everything that is handed out into dist/: source distribution, wheel, BOSH release, and their checksums.
#
#   make release
#
# The version is that of agent/c2c_auditor/__init__.py. The BOSH release takes the bosh CLI (github.com/cloudfoundry/bosh-cli) on the PATH, or Go 1.25
# or newer, with which the version that the tests pin is built. Run it in a clean checkout: a release of what is not committed is nobody's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly python=.venv/bin/python
version=$("$python" -c 'import c2c_auditor; print(c2c_auditor.__version__)')
[[ -z $(git status --porcelain 2>/dev/null) ]] || echo "c2c-auditor: this checkout has uncommitted changes; they go into the release" >&2

"$python" packaging/stage_release.py
rm -rf dist
mkdir dist
cp bosh-release/src/c2c_auditor/c2c_auditor-"$version"-*.whl dist/
"$python" -c 'import sys; sys.path.insert(0, "packaging"); import pathlib, stage_release; stage_release.build_sdist(pathlib.Path("dist"))'
bosh=$(PYTHONPATH=tests "$python" -c 'from support.bosh_cli import bosh_cli; print(bosh_cli())')
"$bosh" --non-interactive create-release --force --dir=bosh-release --version="$version" --tarball="$PWD/dist/c2c-auditor-bosh-$version.tgz"
(cd dist && sha256sum -- * >SHA256SUMS)
ls -l dist
