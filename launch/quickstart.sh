#!/usr/bin/env bash
# From a fresh machine to generated images: installs difjax into .venv, trains
# on scikit-learn's digits, samples, judges, and writes a report. Its last line
# is the report's path. Run again, it goes on where it stopped.
#
#   bash launch/quickstart.sh [--config.KEY=VALUE ...]
set -eu
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ensure_env
cd "$root"
workdir="${DIFJAX_WORKDIR:-$root/runs/quickstart}"
.venv/bin/difjax train --config=configs/quickstart.py --workdir="$workdir" "$@"
.venv/bin/difjax report --workdir="$workdir"
