#!/usr/bin/env bash
# A managed job of SkyPilot: it finds the machines, and finds others when they
# are taken away.
#
#   bash launch/sky/sky.sh [--dry-run] VERB
#
#   tpu COMMAND...   starts the run on the machines of tpu.yaml
#   gpu COMMAND...   on those of gpu.yaml
#   status, logs     of the job
#   stop             cancels it; its machines go
#
# COMMAND is difjax train --config=... --workdir=runs/NAME
# --config.checkpoints.directory=gs://BUCKET/RUN. --dry-run prints the
# command and does nothing.
#
#   DIFJAX_JOB            the job's name, difjax
#   DIFJAX_SECRET_NAMES   variables of this shell to hand over, "WANDB_API_KEY";
#                         SkyPilot reads their values itself
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"
source "$here/../env.sh"

launch() {
  local chip="$1" secret
  shift
  local flags=(--name "$job" --env "DIFJAX_COMMAND=$(quoted "$@")")
  for secret in ${DIFJAX_SECRET_NAMES:-}; do
    flags+=(--secret "$secret")
  done
  # SkyPilot takes the working directory from where it is called.
  cd "$root"
  step sky jobs launch --yes --detach-run "${flags[@]}" "launch/sky/$chip.yaml"
}

dry_run=''
if [ "${1:-}" = --dry-run ]; then
  dry_run=1
  shift
fi
verb="${1:-}"
shift || usage
job="${DIFJAX_JOB:-difjax}"
case "$verb" in
  tpu | gpu)
    [ $# -gt 0 ] || usage
    launch "$verb" "$@"
    ;;
  status) step sky jobs queue ;;
  logs) step sky jobs logs --name "$job" --no-follow ;;
  stop) step sky jobs cancel --name "$job" --yes ;;
  *) usage ;;
esac
