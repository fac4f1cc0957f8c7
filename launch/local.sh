#!/usr/bin/env bash
# N processes on this machine, which find each other as those of a pod would,
# under the supervisor, which starts them again after 42 or a kill.
#
#   bash launch/local.sh [--dry-run] [--processes=N] [--restarts=R] \
#     [--backoff=S] difjax train --config=... --workdir=...
#
# --dry-run prints the command and does nothing. On the CPU each process has
# JAX_NUM_CPU_DEVICES devices.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

dry_run=''
if [ "${1:-}" = --dry-run ]; then
  dry_run=1
  shift
fi
flags=()
while [ $# -gt 0 ] && [ "$1" != "${1#--}" ]; do
  flags+=("$1")
  shift
done
[ $# -gt 0 ] || usage
command=(difjax supervise ${flags[@]+"${flags[@]}"} -- "$@")
if [ -n "$dry_run" ]; then
  quoted "${command[@]}"
  exit
fi
ensure_env
cd "$root"
export PATH="$root/.venv/bin:$PATH"
exec "${command[@]}"  # SIGTERM is for the supervisor
