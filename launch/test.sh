#!/usr/bin/env bash
# Makes the environment with the test extra and runs the suite.
#
#   bash launch/test.sh [--slow] [pytest arguments]
#
# --slow adds the tests that take minutes: processes that are killed again and
# again, programs compiled for TPU pods.
set -eu
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
marks=(-m 'not slow')
if [ "${1:-}" = --slow ]; then
  marks=()
  shift
fi
ensure_env test
cd "$root"
# A file stays on one core, which shares what its fixtures compile.
exec .venv/bin/python -m pytest --numprocesses logical --dist loadfile \
  ${marks[@]+"${marks[@]}"} "$@"
