#!/usr/bin/env bash
# Runs on each machine, where tpu_pod.sh, gpu_ssh.sh and SkyPilot put it.
#
#   worker.sh install            difjax with $DIFJAX_EXTRAS, and a Python for it
#   worker.sh run COMMAND...     with .venv first on the path, in the foreground
#   worker.sh start COMMAND...   the same in the background, detached
#   worker.sh status             running, stopped, lost, or its exit code
#   worker.sh logs               the end of what it printed
#   worker.sh stop               ends it, which saves, and waits for that
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
state="${DIFJAX_STATE:-$HOME/difjax-run}"

# TPU VMs come with Python 3.10; uv brings a newer one without root's help.
bring_python() {
  if _find_python >/dev/null 2>&1; then
    return
  fi
  python3 -m pip install --quiet --user uv
  "$HOME/.local/bin/uv" python install --quiet 3.12
  DIFJAX_PYTHON="$("$HOME/.local/bin/uv" python find 3.12)"
  export DIFJAX_PYTHON
}

install() {
  bring_python
  ensure_env
}

run() {
  cd "$root"
  export PATH="$root/.venv/bin:$PATH"
  if [ -f "$HOME/difjax-secrets" ]; then
    set -a
    # shellcheck disable=SC1091  # the user's own file, there or not
    source "$HOME/difjax-secrets"
    set +a
  fi
  exec "$@"
}

# Notes two processes: itself, which ends when the code is written, and the
# command's own, which SIGTERM has to reach.
keep() {
  local code=0
  echo "$$" >"$state/keeper"
  (run "$@") &
  echo "$!" >"$state/pid"
  wait "$!" || code=$?
  echo "$code" >"$state/code.new"
  mv "$state/code.new" "$state/code"
}

is_alive() {
  [ -f "$state/keeper" ] && kill -0 "$(cat "$state/keeper")" 2>/dev/null
}

status() {
  if is_alive; then  # asked first: a code appears before the keeper ends
    echo running
  elif [ -f "$state/stopped" ]; then
    echo stopped
  elif [ -f "$state/code" ]; then
    cat "$state/code"
  else
    echo lost
  fi
}

start() {
  if is_alive; then
    echo "a run is going on here: stop it first" >&2
    exit 2
  fi
  mkdir -p "$state"
  rm -f "$state"/{keeper,pid,code,stopped}
  # A session of its own outlives that of ssh.
  setsid bash "${BASH_SOURCE[0]}" keep "$@" </dev/null >>"$state/log" 2>&1 &
  until [ -f "$state/pid" ]; do
    sleep 0.1
  done
}

stop() {
  mkdir -p "$state"
  if is_alive; then
    kill -TERM "$(cat "$state/pid")" || : "it left by itself"
    echo "waiting until the run has saved" >&2
    while is_alive; do
      sleep 0.5
    done
  fi
  touch "$state/stopped"
}

verb="${1:-}"
shift || usage
case "$verb" in
  install | run | start | keep | stop) "$verb" "$@" ;;
  # A mark of its own tells the answer from what ssh prints around it.
  status) echo "difjax: $(status)" ;;
  logs) tail -n "${DIFJAX_LINES:-40}" "$state/log" ;;
  *) usage ;;
esac
