# shellcheck shell=bash
# Sourced by tpu_pod.sh: keeps a run going on slices that come and go. It looks,
# every $poll seconds, at the slice and at what its workers answer.
# shellcheck disable=SC2154  # $poll and $worker are tpu_pod.sh's

# The state of the slice, or nothing when there is none. It is listed, not
# described: a describe that fails for want of network reads like a lost slice.
slice_state() {
  tpus tpu-vm list --format='value(name.basename(),state)' |
    awk -v name="$DIFJAX_TPU" '$1 == name {print $2}'
}

answers() {
  on_workers "$worker status" | sed -n 's/^difjax: //p'
}

# verdict ANSWER...: running, again, stopped, or the code to leave with. One
# worker that met a fault which would come back decides for all.
verdict() {
  local answer found=0
  for answer in "$@"; do
    case "$answer" in
      0) ;;
      running | stopped) found="$answer" ;;
      lost | 42) [ "$found" != 0 ] || found=again ;;
      *)
        if [ "$answer" -lt 128 ]; then
          echo "$answer"
          return
        fi
        [ "$found" != 0 ] || found=again
        ;;
    esac
  done
  echo "$found"
}

recreate() {
  echo "$(date +%T) $DIFJAX_TPU: making the slice (again)" >&2
  delete >/dev/null 2>&1 || : "there was nothing left to delete"
  create && setup && run "$@"
}

# look COMMAND...: one look; returns 0 to look again, 1 to stop with $code.
look() {
  local now found
  if ! now="$(slice_state)"; then
    echo "$(date +%T) gcloud does not answer; looking again" >&2
    return
  fi
  case "$now" in
    READY)
      if ! found="$(answers)" || [ -z "$found" ]; then
        deaf=$((deaf + 1))  # a machine that is gone for good is replaced
        [ "$deaf" -lt 10 ] || { deaf=0 && try recreate "$@"; }
        return
      fi
      deaf=0
      # shellcheck disable=SC2086  # one word an answer
      found="$(verdict $found)"
      case "$found" in
        running) ;;
        again) try run "$@" ;;
        stopped) code=42 && return 1 ;;
        *) code="$found" && return 1 ;;
      esac
      ;;
    '') is_queued || try recreate "$@" ;;
    PREEMPTED | TERMINATED | STOPPED) try recreate "$@" ;;
    *) ;;  # on its way
  esac
}

is_queued() {
  [ -n "${DIFJAX_QUEUED:-}" ] || return 1
  case "$(queue_state 2>/dev/null)" in
    '' | FAILED | SUSPENDED) return 1 ;;
  esac
}

# A failure here is the cloud's, such as no chips: the next look tries again.
try() {
  if [ "$left" -le 0 ]; then
    echo "$DIFJAX_TPU: giving up after ${DIFJAX_RESTARTS:-100} starts" >&2
    code=42
    return 1
  fi
  left=$((left - 1))
  "$@" || echo "$(date +%T) $1 failed; trying again in $poll s" >&2
}

watch() {
  local left="${DIFJAX_RESTARTS:-100}" code=0 deaf=0
  if [ -n "$dry_run" ]; then
    say_watch "$@"
    return
  fi
  while look "$@"; do
    sleep "$poll"
  done
  echo "$(date +%T) $DIFJAX_TPU: the run left with $code; the slice is still" \
    "there and costs money until: bash launch/tpu_pod.sh delete" >&2
  return "$code"
}

say_watch() {
  echo "# every $poll s"
  tpus tpu-vm list --format='value(name.basename(),state)'
  on_workers "$worker status"
  echo "# when the slice is READY and its run left with 42 or was killed"
  run "$@"
  echo "# when the slice was preempted or is not there"
  delete
  create
  setup
  run "$@"
}
