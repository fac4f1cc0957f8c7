#!/usr/bin/env bash
# A run as a JobSet on a GKE cluster: fills names into jobset-tpu.yaml or
# jobset-gpu.yaml and hands them to kubectl.
#
#   bash launch/gke/gke.sh [--dry-run] VERB
#
#   image              builds and pushes the image
#   apply COMMAND...   starts the run
#   status, logs       of every pod
#   stop, resume       suspends the JobSet, which saves; goes on
#   delete             the JobSet
#
# COMMAND is difjax train --config=... --workdir=runs/NAME
# --config.checkpoints.directory=gs://BUCKET/RUN. --dry-run prints the
# commands and the filled file and does nothing. Beside what env.sh names:
#
#   DIFJAX_JOB           the JobSet's name, difjax
#   DIFJAX_IMAGE         the image, REGION-docker.pkg.dev/PROJECT/REPO/difjax
#   DIFJAX_CHIP          tpu or gpu, otherwise tpu
#   DIFJAX_NODES         machines of one slice, or of the run on GPUs
#   DIFJAX_PER_NODE      chips or GPUs of one machine: 4 and 8
#   DIFJAX_ACCELERATOR   the nodes' label, tpu-v5-lite-podslice for one
#   DIFJAX_TOPOLOGY      the slice, 4x4; TPUs only
#   DIFJAX_SLICES        how many slices, 1; TPUs only
#   DIFJAX_RESTARTS      how often the JobSet starts again, 100
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"
source "$here/../env.sh"

# Replaces each ${NAME} by the variable of that name; an unset one is an error.
fill() {
  awk '{
    while (match($0, /\$\{[A-Z_]+\}/)) {
      name = substr($0, RSTART + 2, RLENGTH - 3)
      if (!(name in ENVIRON)) {
        print "set " name > "/dev/stderr"
        exit 2
      }
      printf "%s%s", substr($0, 1, RSTART - 1), ENVIRON[name]
      $0 = substr($0, RSTART + RLENGTH)
    }
    print
  }' "$1"
}

# json WORD...: the words as a list that YAML reads.
json() {
  local word line=''
  for word in "$@"; do
    word="$(printf '%s' "$word" | sed 's/\\/\\\\/g; s/"/\\"/g')"
    line="$line${line:+, }\"$word\""
  done
  printf '[%s]' "$line"
}

send() {  # a file on standard input, which a dry run shows
  if [ -n "$dry_run" ]; then
    echo "$(quoted "$@") <<'YAML'"
    cat
    echo YAML
  else
    "$@"
  fi
}

secrets() {
  if [ -n "${DIFJAX_SECRETS:-}" ]; then
    step kubectl delete secret "$DIFJAX_JOB" --ignore-not-found
    step kubectl create secret generic "$DIFJAX_JOB" \
      --from-env-file="$DIFJAX_SECRETS"
  fi
}

apply() {
  local filled
  need DIFJAX_IMAGE "the image that 'gke.sh image' pushed"
  DIFJAX_COMMAND="$(json "$@")"
  export DIFJAX_COMMAND
  filled="$(fill "$here/jobset-$DIFJAX_CHIP.yaml")"
  secrets
  step kubectl apply --filename="$here/rbac.yaml"
  send kubectl apply --filename=- <<<"$filled"
}

image() {
  need DIFJAX_IMAGE "where to push it, REGION-docker.pkg.dev/PROJECT/REPO/NAME"
  step docker build --tag "$DIFJAX_IMAGE" --file "$here/Dockerfile" \
    --build-arg EXTRAS="${DIFJAX_EXTRAS-$extras}" "$root"
  step docker push "$DIFJAX_IMAGE"
}

suspend() {
  step kubectl patch jobset "$DIFJAX_JOB" --type=merge \
    --patch="{\"spec\": {\"suspend\": $1}}"
}

dry_run=''
if [ "${1:-}" = --dry-run ]; then
  dry_run=1
  shift
fi
verb="${1:-}"
shift || usage
export DIFJAX_CHIP="${DIFJAX_CHIP:-tpu}" DIFJAX_JOB="${DIFJAX_JOB:-difjax}"
export DIFJAX_RESTARTS="${DIFJAX_RESTARTS:-100}"
export DIFJAX_SLICES="${DIFJAX_SLICES:-1}"
export DIFJAX_IMAGE DIFJAX_NODES DIFJAX_ACCELERATOR DIFJAX_TOPOLOGY
case "$DIFJAX_CHIP" in
  tpu) extras=tpu,gcs per_node=4 ;;
  gpu) extras=cuda,gcs per_node=8 ;;
  *) echo "DIFJAX_CHIP is tpu or gpu, not $DIFJAX_CHIP" >&2 && exit 2 ;;
esac
export DIFJAX_PER_NODE="${DIFJAX_PER_NODE:-$per_node}"
mine=(--selector="jobset.sigs.k8s.io/jobset-name=$DIFJAX_JOB")
case "$verb" in
  image) image ;;
  apply)
    [ $# -gt 0 ] || usage
    apply "$@"
    ;;
  status) step kubectl get jobset,pods "${mine[@]}" --output=wide ;;
  logs)
    step kubectl logs "${mine[@]}" --prefix --tail="${DIFJAX_LINES:-40}" \
      --max-log-requests=1024
    ;;
  stop) suspend true ;;
  resume) suspend false ;;
  delete) step kubectl delete jobset "$DIFJAX_JOB" ;;
  *) usage ;;
esac
