#!/usr/bin/env bash
# GPU machines that ssh reaches, one process a machine over all of its GPUs.
#
#   bash launch/gpu_ssh.sh [--dry-run] VERB
#
#   setup             difjax on every machine
#   run COMMAND...    in the background of every machine, supervised
#   status, logs      of every machine
#   stop              the run, which saves
#
# COMMAND is difjax train --config=... --workdir=... with a directory that all
# machines see. --dry-run prints the commands and does nothing. Beside what
# env.sh names:
#
#   DIFJAX_HOSTS   the machines, "gpu-a gpu-b"; the first is the coordinator, by
#                  a name or address that the others reach too
#   DIFJAX_PORT    a free port on the first one, 8476
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# It asks for no password: a launcher that waits for one looks like a hang.
on_host() { step ssh -o BatchMode=yes "$1" "$2"; }

on_hosts() {
  local host failed=0
  for host in "${hosts[@]}"; do
    echo "# $host"
    on_host "$host" "$1" || failed=1
  done
  return "$failed"
}

copy() { step scp -q -o BatchMode=yes "$1" "$2"; }

setup() {
  local host
  pack
  for host in "${hosts[@]}"; do
    copy "$bundle" "$host:difjax.tar.gz"
    if [ -n "${DIFJAX_SECRETS:-}" ]; then
      on_host "$host" 'install -m 600 /dev/null difjax-secrets'
      copy "$DIFJAX_SECRETS" "$host:difjax-secrets"
    fi
    on_host "$host" "mkdir -p difjax && tar -xzf difjax.tar.gz -C difjax &&\
 DIFJAX_EXTRAS=${DIFJAX_EXTRAS-cuda} bash difjax/launch/worker.sh install"
  done
}

run() {
  local i place
  for i in "${!hosts[@]}"; do
    place="DIFJAX_COORDINATOR=${hosts[0]#*@}:${DIFJAX_PORT:-8476}"
    place+=" DIFJAX_NUM_PROCESSES=${#hosts[@]} DIFJAX_PROCESS_ID=$i"
    on_host "${hosts[i]}" "$place bash difjax/launch/worker.sh start \
$(quoted difjax supervise -- "$@")"
  done
}

dry_run=''
if [ "${1:-}" = --dry-run ]; then
  dry_run=1
  shift
fi
verb="${1:-}"
shift || usage
need DIFJAX_HOSTS 'the machines, such as "gpu-a gpu-b"'
read -ra hosts <<<"$DIFJAX_HOSTS"
case "$verb" in
  setup) setup ;;
  run)
    [ $# -gt 0 ] || usage
    run "$@"
    ;;
  status | logs | stop) on_hosts "bash difjax/launch/worker.sh $verb" ;;
  *) usage ;;
esac
