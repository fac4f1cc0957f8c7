# shellcheck shell=bash
# Sourced by the other launchers: makes .venv in the repository and installs
# difjax into it, once for each state of setup.cfg; and what they agree on.
#
#   DIFJAX_PYTHON    the Python to use (otherwise the first one >= 3.11)
#   DIFJAX_EXTRAS    extras to install, such as cuda or tpu; on other machines
#                    in place of a launcher's own, '' being none
#   DIFJAX_WORKDIR   quickstart.sh's work directory
#   DIFJAX_SECRETS   a file of KEY=VALUE lines, such as WANDB_API_KEY, that is
#                    copied to the machines; its lines are never printed
#
# Every process runs the same command, difjax train --config=... --workdir=...
# The work directory is a folder that all of them see, or each machine's own with
# --config.checkpoints.directory=gs://BUCKET/RUN for all. Cloud TPU, GKE's TPUs
# and Slurm tell a process its place; elsewhere these do:
#
#   DIFJAX_COORDINATOR=HOST:PORT   the machine of process 0, a free port on it
#   DIFJAX_NUM_PROCESSES=N         how many there are
#   DIFJAX_PROCESS_ID=I            which one this is, from 0
#
# A process leaves with 0 when done and with 42 when starting it again continues
# the run; 1 to 5 are faults that would come back (difjax/errors.py), 128 and
# above mean that it was killed. Launchers restart after 42 and 128 and above.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Compiled programs are kept, so that a second run starts at once.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$root/.cache/jax}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0.3}"

_find_python() {
  local candidate
  for candidate in ${DIFJAX_PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "difjax needs Python >= 3.11; set DIFJAX_PYTHON to one" >&2
  return 2
}

_make_venv() {  # a Python without ensurepip lends its own pip
  local python="$1"
  if "$python" -m venv "$root/.venv" >/dev/null 2>&1; then
    return
  fi
  rm -rf "$root/.venv"
  # shellcheck disable=SC2015  # either of the two may fail
  "$python" -m venv --without-pip "$root/.venv" &&
    "$python" -m pip --python "$root/.venv/bin/python" install --quiet pip ||
    {
      echo "$python can make no virtual environment: install its venv module" \
        "(python3-venv on Debian) or set DIFJAX_PYTHON" >&2
      return 2
    }
}

# ensure_env EXTRA...: difjax with these extras, in .venv.
# shellcheck disable=SC2120  # none is fine too
ensure_env() {
  local python extras stamp wanted
  # shellcheck disable=SC2046  # a word for each extra
  extras="$(printf '%s\n' "$@" $(tr , ' ' <<<"${DIFJAX_EXTRAS:-}") | sed '/^$/d' | sort -u |
    paste -sd, -)"
  stamp="$root/.venv/difjax-${extras:-base}.stamp"
  wanted="$(cat "$root/setup.cfg" "$root/pyproject.toml" | cksum)"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    return
  fi
  if ! "$root/.venv/bin/python" -c '' 2>/dev/null; then
    python="$(_find_python)" || return
    echo "making $root/.venv with $python" >&2
    _make_venv "$python" || return
  fi
  echo "installing difjax${extras:+[$extras]}, a minute or two" >&2
  "$root/.venv/bin/python" -m pip install -qq \
    --disable-pip-version-check --editable "$root${extras:+[$extras]}" || return
  printf '%s\n' "$wanted" >"$stamp"
}

# quoted WORD...: the words as one line that a shell reads back.
quoted() {
  local word line=''
  for word in "$@"; do
    case "$word" in
      '' | *[!A-Za-z0-9_./:=,@%+-]*)
        word="'$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'"
        ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# step COMMAND...: runs it; where $dry_run is set, prints it and does nothing.
step() {
  if [ -n "${dry_run:-}" ]; then
    quoted "$@"
  else
    "$@"
  fi
}

# What machines get of the repository, and the file that it travels in.
shipped=(difjax configs launch setup.cfg pyproject.toml README.md LICENSE)
bundle="$root/.cache/difjax.tar.gz"

pack() {
  step mkdir -p "$root/.cache" &&
    step tar -czf "$bundle" --exclude=__pycache__ -C "$root" "${shipped[@]}"
}

# need NAME WHAT: stops with one line unless the variable NAME is set.
need() {
  if [ -z "${!1:-}" ]; then
    echo "set $1: $2" >&2
    exit 2
  fi
}

# usage: prints the launcher's own header, which explains it.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
