#!/usr/bin/env bash
# Makes the environment with the test extra and runs the whole suite.
#
#   bash launch/test.sh [pytest arguments]
set -eu
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ensure_env test
cd "$root"
# A file stays on one core, which shares what its fixtures compile.
exec .venv/bin/python -m pytest --numprocesses logical --dist loadfile "$@"
