#!/usr/bin/env bash
# A TPU slice on Cloud TPU VMs, from nothing to nothing.
#
#   bash launch/tpu_pod.sh [--dry-run] VERB
#
#   create, setup         the slice; difjax on all of its workers
#   run COMMAND...        in the background of all workers, supervised
#   watch COMMAND...      creates, sets up and runs what is not there, again
#                         when the slice was preempted, until the run is done
#   status, logs          of every worker
#   stop                  the run, which saves; the slice stays
#   delete                the slice, and with it the cost
#
# COMMAND is difjax train --config=... --workdir=runs/NAME
# --config.checkpoints.directory=gs://BUCKET/RUN. --dry-run prints the
# commands and does nothing. Beside what env.sh names:
#
#   DIFJAX_TPU        the slice's name
#   DIFJAX_ZONE       such as us-west4-a
#   DIFJAX_PROJECT    otherwise gcloud's own
#   DIFJAX_TPU_TYPE   such as v5litepod-16, v6e-8, v4-32
#   DIFJAX_RUNTIME    the VM's image, otherwise the one for the type
#   DIFJAX_SPOT=1     cheaper, may be preempted
#   DIFJAX_QUEUED=1   waits in Google's queue until there are chips
#   DIFJAX_RESTARTS   how often watch starts again before it gives up, 100
#   DIFJAX_POLL       seconds between two looks, 60
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

tpus() { step gcloud compute tpus "$@" "${place[@]}"; }

worker='bash difjax/launch/worker.sh'
on_workers() { tpus tpu-vm ssh "$DIFJAX_TPU" --worker=all --command="$1"; }

runtime() {
  case "$DIFJAX_TPU_TYPE" in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) echo tpu-ubuntu2204-base ;;
  esac
}

create() {
  need DIFJAX_TPU_TYPE "the kind and size of the slice, such as v5litepod-16"
  local image="${DIFJAX_RUNTIME:-$(runtime)}"
  local flags=(--accelerator-type="$DIFJAX_TPU_TYPE")
  if [ -n "${DIFJAX_SPOT:-}" ]; then
    flags+=(--spot)
  fi
  if [ -n "${DIFJAX_QUEUED:-}" ]; then
    tpus queued-resources create "$DIFJAX_TPU" --node-id="$DIFJAX_TPU" \
      --runtime-version="$image" "${flags[@]}" && wait_in_queue
  else
    tpus tpu-vm create "$DIFJAX_TPU" --version="$image" "${flags[@]}"
  fi
}

queue_state() {
  tpus queued-resources describe "$DIFJAX_TPU" --format='value(state.state)'
}

wait_in_queue() {
  local now
  while :; do
    now="$(queue_state)" || return
    if [ -n "$dry_run" ]; then
      echo "$now"
      return
    fi
    case "$now" in
      ACTIVE) return ;;
      FAILED | SUSPENDED | SUSPENDING)
        echo "the queued request $DIFJAX_TPU is $now" >&2
        return 1
        ;;
    esac
    echo "$(date +%T) $DIFJAX_TPU: ${now:-not known yet}" >&2
    sleep "$poll"
  done
}

setup() {
  pack &&
    tpus tpu-vm scp "$bundle" "$DIFJAX_TPU:difjax.tar.gz" --worker=all &&
    send_secrets &&
    on_workers "mkdir -p difjax && tar -xzf difjax.tar.gz -C difjax &&\
 DIFJAX_EXTRAS=${DIFJAX_EXTRAS-tpu,gcs} bash difjax/launch/worker.sh install"
}

send_secrets() {
  [ -n "${DIFJAX_SECRETS:-}" ] || return 0
  on_workers 'install -m 600 /dev/null difjax-secrets' &&
    tpus tpu-vm scp "$DIFJAX_SECRETS" "$DIFJAX_TPU:difjax-secrets" --worker=all
}

# On the workers a supervisor starts again after 42; watch is for whole slices.
run() {
  on_workers "$worker start $(quoted difjax supervise -- "$@")"
}

delete() {
  if [ -n "${DIFJAX_QUEUED:-}" ]; then
    tpus queued-resources delete "$DIFJAX_TPU" --force
  else
    tpus tpu-vm delete "$DIFJAX_TPU"
  fi
}

source "$(dirname "${BASH_SOURCE[0]}")/tpu_watch.sh"

dry_run=''
if [ "${1:-}" = --dry-run ]; then
  dry_run=1
  shift
fi
verb="${1:-}"
shift || usage
need DIFJAX_TPU "a name for the slice"
need DIFJAX_ZONE "the zone, such as us-west4-a"
poll="${DIFJAX_POLL:-60}"
place=(--zone="$DIFJAX_ZONE" --quiet)
if [ -n "${DIFJAX_PROJECT:-}" ]; then
  place+=(--project="$DIFJAX_PROJECT")
fi
case "$verb" in
  create | setup | delete) "$verb" ;;
  run | watch)
    [ $# -gt 0 ] || usage
    "$verb" "$@"
    ;;
  status | logs | stop) on_workers "$worker $verb" ;;
  *) usage ;;
esac
